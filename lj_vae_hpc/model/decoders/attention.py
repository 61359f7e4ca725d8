"""A transformer in which each place in the order of particles asks with an embedding of its own."""

import torch
from torch import Tensor, nn

from lj_vae_hpc.config.model import Model
from lj_vae_hpc.config.representation import Representation
from lj_vae_hpc.model.attention import transformer, uneven_width
from lj_vae_hpc.model.base import Decoder


class Network(Decoder):
    """Gives coordinates."""

    gives_positions = True

    @classmethod
    def objection(cls, representation: Representation, model: Model) -> str | None:
        """It needs a representation that is formed of coordinates, and a width that its heads share."""
        return super().objection(representation, model) or uneven_width(model)

    def __init__(self, inputs: int, shape: tuple[int, ...], model: Model, n_particles: int) -> None:
        super().__init__(inputs, shape, model, n_particles)
        self.places = nn.Parameter(torch.randn(n_particles, model.width))
        self.embed = nn.Linear(inputs, model.width)
        self.layers = transformer(model)
        self.output = nn.Linear(model.width, 2)

    def forward(self, z: Tensor) -> Tensor:
        """(B, inputs) to (B, N, 2)."""
        coordinates: Tensor = self.output(self.layers(self.places + self.embed(z).unsqueeze(1)))
        return coordinates
