"""What a training needs of memory, estimated before anything is allocated."""

import math
import os

import torch

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.training.network import Network

BYTES_PER_WEIGHT = 16  # the weight, its gradient and two moments of AdamW, in single precision
BYTES_PER_NUMBER = 4


def needed_bytes(config: RunConfig, ranks: int = 1) -> tuple[int, int]:
    """The least that one rank needs for the weights, and for its part of one batch and of the distances in it.

    Args:
        config: of networks that fit together.
        ranks: that share a batch.
    """
    with torch.device("meta"):  # shapes without numbers
        network = Network.of(config)
    weights = sum(weight.numel() for weight in network.module.parameters())
    encoding, sampling = network.encoding, config.sampling
    numbers = 3 * math.prod(encoding.shape) * encoding.samples  # the sample, its reconstruction, their difference
    if encoding.matrix is not None:
        numbers = max(numbers, 3 * config.system.n_particles**2)
    rows = min(config.training.batch_size, sampling.configurations * len(sampling.gamma_values))
    return BYTES_PER_WEIGHT * weights, BYTES_PER_NUMBER * numbers * -(-rows // ranks)


def check_memory(config: RunConfig, ranks: int = 1, ranks_here: int = 1) -> None:
    """Whether the training may fit into the memory of this machine.

    Args:
        config: of networks that fit together.
        ranks: that share a batch.
        ranks_here: those of them that share this machine.

    Raises:
        UserError: it cannot.
    """
    weights, batch = (ranks_here * size for size in needed_bytes(config, ranks))
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if weights + batch > there:
        raise UserError(
            f"configuration: training needs at least {weights / 1e9:,.1f} GB for the weights (model.latent_dim, "
            f"model.width, model.depth, model.channels) and {batch / 1e9:,.1f} GB for a batch (training.batch_size, "
            f"system.n_particles) on {ranks_here} ranks of this machine, which has {there / 1e9:,.1f} GB"
        )
