"""What the stages that train or use a network have in common."""

import gc
from typing import Any

import numpy as np
import torch

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import COMMAND, UserError
from lj_vae_hpc.model.registry import objection
from lj_vae_hpc.run.files import point
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.sampling.ensemble import ensembles_of, fingerprint
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.schema import Layout
from lj_vae_hpc.training.batches import Read
from lj_vae_hpc.training.checkpoint import load_facts
from lj_vae_hpc.training.loop import State
from lj_vae_hpc.training.network import Network
from lj_vae_hpc.training.splits import Rows, Splits

MOST_CHAINS_COUNTED = 1_000_000  # more are enough for any split


def check_networks(config: RunConfig) -> None:
    """Whether the networks can be used as the configuration asks; needs no data.

    Raises:
        UserError: naming the key, what is wrong and what is accepted.
    """
    problem = objection(config.representation, config.model)
    if problem:
        raise UserError(f"configuration: {problem}")


def check_splits(config: RunConfig) -> None:
    """Whether the data that a configuration asks for will be enough for their splits; needs no data.

    Raises:
        UserError: naming the key, what is wrong and what is accepted.
    """
    sampling = config.sampling
    if sampling.configurations // sampling.samples_per_chain <= MOST_CHAINS_COUNTED:
        layout = Layout(sampling.gamma_values, sampling.configurations, sampling.samples_per_chain)
        Splits.of(layout, config.training)


def new_network(config: RunConfig, device: torch.device) -> tuple[Network, torch.optim.Optimizer]:
    """A network with the weights that the seed gives, and its optimizer; a GPU first takes back what others left."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
    torch.manual_seed(config.seed % 2**63)
    network = Network.of(config)
    network.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    rate, decay = config.training.learning_rate, config.training.weight_decay
    return network, torch.optim.AdamW(network.module.parameters(), lr=rate, weight_decay=decay, fused=True)


def first_state(network: Network, config: RunConfig, read: Read, training: Rows) -> State:
    """Sets what of a new network depends on data, and gives the state that training starts from."""
    row, first = config.model.reference_state, training[: network.rows_for_components]
    network.start(read(first), None if row is None else read(np.array([row])))
    return State(untrained=network.constant_error(read(first[:1024])))


def model_facts(config: RunConfig) -> dict[str, Any]:
    """The sections that weights depend on, and must agree with when they are used again."""
    return config.model_dump(mode="json", include={"system", "representation", "model", "objective"})


def data_facts(data: Dataset) -> dict[str, Any]:
    """What weights were trained on."""
    layout = data.layout
    return {
        "gammas": list(layout.gammas), "configurations": layout.configurations, "ensembles": data.names(),
        "content": str(data.attributes["content"]),
    }  # fmt: skip


def _holds(data: dict[str, Any], trained: dict[str, Any]) -> bool:
    """Whether a data set is what weights were trained on, or that and what has been added since."""
    same = data["content"] == trained["content"] and data["configurations"] >= trained["configurations"]
    return same and set(trained["ensembles"]) <= set(data["ensembles"])


def find_moved_data(run: RunDir, owner: RunDir) -> None:
    """Links a run with a model to its data again, if they were moved and are those of another run now.

    They may have grown before they were moved.

    Args:
        run: the run, which has a model, and no data where they were.
        owner: the other one.

    Raises:
        UserError: the model or the data cannot be read.
    """
    if not run.data.is_symlink() or not owner.dataset.exists():
        return
    trained = load_facts(run.model / "checkpoint.safetensors")["data"]
    with Dataset(owner.dataset) as data:
        if _holds(data_facts(data), trained):
            point(run.data, owner.data)


def check_data(run: RunDir, config: RunConfig, ranks: int) -> None:
    """Everything about the networks and the data set that can be checked before any work.

    Raises:
        UserError: networks that cannot be used like this; data that are missing, damaged, made for another
            configuration, or too few for their splits; more ranks than rows of a batch.
    """
    check_networks(config)
    if not run.dataset.exists():
        raise UserError(f"no data set in {run.path}; run `{COMMAND} generate -o {run.path}` first")
    with Dataset(run.dataset) as data:
        if data.n_particles != config.system.n_particles:
            raise UserError(
                f"{data.path} holds configurations of {data.n_particles} particles, system.n_particles is "
                f"{config.system.n_particles}"
            )
        # The data set of another run has that run's seed.
        seed = int(data.attributes["seed"]) if run.data.is_symlink() else config.seed
        ensembles, content = ensembles_of(seed, config.system, config.sampling), data.attributes["content"]
        if data.attributes["fingerprint"] != fingerprint(ensembles, config.sampling.configurations, content):
            raise UserError(
                f"{data.path} is not the data set that seed, system and sampling ask for; run `{COMMAND} generate -o "
                f"{run.path}`, which samples only what is missing"
            )
        Splits.of(data.layout, config.training)
        row = config.model.reference_state
        if row is not None and row >= data.rows:
            raise UserError(f"model.reference_state: {data.path} has no row {row}; its rows are 0 to {data.rows - 1}")
    if ranks > config.training.batch_size:
        raise UserError(
            f"training.batch_size {config.training.batch_size} is smaller than the {ranks} ranks; start fewer ranks or "
            "increase it"
        )
