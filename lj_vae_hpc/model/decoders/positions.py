"""Fully connected layers that give coordinates, so that every output is the sample of a possible configuration."""

from torch import nn

from lj_vae_hpc.config.model import Model
from lj_vae_hpc.model.base import Decoder, hidden_layers


class Network(Decoder):
    """Gives coordinates."""

    gives_positions = True

    def __init__(self, inputs: int, shape: tuple[int, ...], model: Model, n_particles: int) -> None:
        super().__init__(inputs, shape, model, n_particles)
        output = nn.Linear(model.width, 2 * n_particles)
        self.layers = nn.Sequential(*hidden_layers(inputs, model), output, nn.Unflatten(1, (n_particles, 2)))
