"""Fully connected layers that give the entries of a sample."""

import math

from torch import nn

from lj_vae_hpc.config.model import Model
from lj_vae_hpc.model.base import Decoder, hidden_layers


class Network(Decoder):
    """Gives the entries of every representation."""

    def __init__(self, inputs: int, shape: tuple[int, ...], model: Model, n_particles: int) -> None:
        super().__init__(inputs, shape, model, n_particles)
        output = nn.Linear(model.width, math.prod(shape))
        self.layers = nn.Sequential(*hidden_layers(inputs, model), output, nn.Unflatten(1, shape))
