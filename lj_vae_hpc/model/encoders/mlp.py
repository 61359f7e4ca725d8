"""Fully connected layers."""

import math

from torch import nn

from lj_vae_hpc.config.model import Model
from lj_vae_hpc.model.base import Encoder, hidden_layers


class Network(Encoder):
    """Works on every representation."""

    def __init__(self, shape: tuple[int, ...], model: Model) -> None:
        super().__init__(shape, model)
        self.features = model.width
        self.layers = nn.Sequential(nn.Flatten(), *hidden_layers(math.prod(shape), model))
