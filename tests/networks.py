"""Small networks, started on small configurations."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lj_vae_hpc.config.load import load
from lj_vae_hpc.config.system import System
from lj_vae_hpc.sampling.chains import Chains
from lj_vae_hpc.sampling.streams import stream
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.network import Network

SMALL = ("system.n_particles=8", "system.box_side=5", "model.latent_dim=6")
GAMMAS = (0.1, 1.0)


def small_configurations() -> Configurations:
    """256 configurations of 8 particles at two values of γ."""
    gamma = np.tile(GAMMAS, 128)
    chains = Chains(stream("7"), System(n_particles=8, box_side=5), gamma, 0.4, np.arange(256))
    chains.run(100)
    return Configurations(chains.positions.astype(np.float32), gamma)


def network_of(path: Path | None, *overrides: str, data: Configurations) -> Network:
    """A small network of a configuration, started on the data."""
    torch.manual_seed(0)
    config = load(path, (*SMALL, "sampling.gammas=[0.1, 1.0]", *overrides))
    network = Network.of(config)
    row = config.model.reference_state
    network.start(data, None if row is None else data.part(slice(row, row + 1)))
    return network


def loss_of(network: Network, data: Configurations, seed: int = 0) -> Tensor:
    """Mean loss with the noise of a seed."""
    x, condition = network.inputs(data)
    noise = torch.randn(len(x), network.module.latent_dim, generator=torch.Generator().manual_seed(seed))
    return network.per_configuration(network.criterion(x, network.module(x, condition, noise)).loss).mean()
