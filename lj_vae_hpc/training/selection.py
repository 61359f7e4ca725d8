"""What makes one trained network better than another, whatever its λ and latent dimension."""

import math

import numpy as np
import torch

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.training.batches import WINDOW_ROWS
from lj_vae_hpc.training.loop import Trainer


@torch.no_grad()
def description_length(trainer: Trainer, config: RunConfig) -> dict[str, float]:
    """The variational bound on -log p(x) per configuration of the validation split, in nats; smaller is better.

    Half of P log(2 π e MSE), plus the KL divergence summed over latent dimensions: P = M (M - 1) / 2 distances of the
    matrix, or the entries of a sample where there is none, under a normal likelihood whose variance is the best one,
    which is the mean squared error itself (Rybkin et al., arXiv:2006.13202). z is drawn from q(z|x), so a code that is
    too noisy costs squared error, one that is too precise costs KL, and a latent dimension has to earn what it costs. λ
    does not occur in it.

    Returns:
        nats; mse, the mean squared error with z drawn from q(z|x), of distances where there are any; kl, in nats,
        summed over latent dimensions.
    """
    network, rows = trainer.network, trainer.validation
    module, criterion, encoding = network.module.eval(), network.criterion.analytic, network.encoding
    sums, dimension = np.zeros(2), config.model.latent_dim
    generator = torch.Generator().manual_seed(config.seed % 2**63)  # the same numbers in every epoch and trial
    for start in range(0, len(rows), WINDOW_ROWS):
        window = trainer.read(rows[start : start + WINDOW_ROWS])
        for at in range(0, len(window.gamma), trainer.batches.batch_size):
            part = window.part(slice(at, at + trainer.batches.batch_size))
            noise = torch.randn(len(part.gamma), encoding.samples, dimension, generator=generator)
            each = trainer._forward(module, criterion, part, noise)
            sums += [float(each.squared_error.sum()), float(each.kl.sum())]
    error, kl = sums / len(rows)
    side = config.system.n_particles + 2 * config.representation.landmarks
    entries = side * (side - 1) / 2 if config.representation.has_positions else math.prod(encoding.shape)
    if config.representation.kind == "coordinates" or module.gives_positions:
        error *= side / (side - 1)  # the zeros of the diagonal of what is formed from coordinates are no distances
    entries *= encoding.samples
    return {"nats": 0.5 * entries * math.log(2 * math.pi * math.e * max(error, 1e-30)) + kl, "mse": error, "kl": kl}
