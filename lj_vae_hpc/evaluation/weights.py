"""The network of a run with its best weights."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.model.convolution import warm_up
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.training import checkpoint
from lj_vae_hpc.training.hardware import choose_device
from lj_vae_hpc.training.network import Network
from lj_vae_hpc.training.setup import model_facts

if TYPE_CHECKING:
    from lj_vae_hpc.parallel.world import World


@dataclass(frozen=True)
class Weights:
    """Which weights they are.

    Attributes:
        sha256: of their file.
        epoch: after which they were best.
        trained: facts of the data that they were trained on (setup.data_facts).
    """

    sha256: str
    epoch: int
    trained: dict[str, Any]

    @property
    def gammas(self) -> Sequence[float]:
        """γ that they were trained on, ascending."""
        gammas: Sequence[float] = self.trained["gammas"]
        return gammas


def best_weights(run: RunDir) -> Path:
    """The file of the best weights."""
    return run.model / "best.safetensors"


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_network(world: "World", run: RunDir, config: RunConfig) -> tuple[Network, Weights]:
    """The network with its best weights, on this rank's device.

    Raises:
        UserError: no weights, or those of another system, representation or network.
    """
    torch.set_num_threads(world.threads_per_rank())
    device = choose_device(config.training, world)
    path = best_weights(run)
    tensors, facts = world.on_root(lambda: checkpoint.load(path))
    world.on_root(lambda: checkpoint.check_facts(facts, model_facts(config), path))
    weights = Weights(world.on_root(lambda: digest(path)), facts["epoch"], facts["data"])
    network = Network.of(config, weights.gammas)
    world.node_by_node(lambda: warm_up(network.module, device))
    world.on_root(lambda: checkpoint.restore(tensors, network.module, None, path))
    checkpoint.restore(tensors, network.module, None, path)
    network.module.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network, weights
