"""What a training needs of memory, estimated before anything is allocated."""

import math
import os

import torch

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.training.network import Network

BYTES_PER_WEIGHT = 16  # the weight, its gradient and two moments of AdamW, in single precision


def needed_bytes(config: RunConfig, ranks: int = 1) -> tuple[int, int]:
    """At least what one rank needs for the weights, and for its part of one batch.

    Args:
        config: of networks that fit together.
        ranks: that share a batch.
    """
    with torch.device("meta"):  # shapes without numbers
        network = Network.of(config)
    weights = sum(weight.numel() for weight in network.module.parameters())
    model, encoding = config.model, network.encoding
    numbers = 4 * math.prod(encoding.shape)  # the sample, its reconstruction, and their differences
    if encoding.matrix is not None:
        numbers += 3 * config.system.n_particles**2
    for name in (model.encoder, model.decoder):
        if name == "conv":
            numbers += sum(model.channels) * math.prod(encoding.shape[1:])
        elif name == "attention":
            numbers += model.depth * config.system.n_particles**2
        elif not name.startswith("conv"):
            numbers += model.depth * model.width
    rows = min(config.training.batch_size, config.sampling.configurations * len(config.sampling.gamma_values))
    return BYTES_PER_WEIGHT * weights, 4 * numbers * encoding.samples * -(-rows // ranks)


def memory_objection(config: RunConfig, ranks: int = 1) -> str | None:
    """Why the training cannot fit into this machine's memory; None if it may."""
    weights, batch = needed_bytes(config, ranks)
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if weights + batch <= there:
        return None
    return (
        f"training needs at least {weights / 1e9:,.1f} GB for the weights (model.latent_dim, model.width, model.depth, "
        f"model.channels) and {batch / 1e9:,.1f} GB for a batch (training.batch_size, system.n_particles), and this "
        f"machine has {there / 1e9:,.1f} GB"
    )
