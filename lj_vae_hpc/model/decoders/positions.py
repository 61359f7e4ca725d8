"""Fully connected layers that give coordinates, so that every output is the sample of a possible configuration."""

from torch import Tensor, nn

from lj_vae_hpc.config.model import Model
from lj_vae_hpc.config.representation import Representation
from lj_vae_hpc.model.base import Decoder, hidden_layers, no_positions


class Network(Decoder):
    """Gives coordinates."""

    gives_positions = True

    @classmethod
    def objection(cls, representation: Representation, model: Model) -> str | None:
        """It needs a representation that is formed of coordinates."""
        return no_positions(representation, "positions")

    def __init__(self, inputs: int, shape: tuple[int, ...], model: Model, n_particles: int) -> None:
        super().__init__(inputs, shape, model, n_particles)
        output = nn.Linear(model.width, 2 * n_particles)
        self.layers = nn.Sequential(*hidden_layers(inputs, model), output, nn.Unflatten(1, (n_particles, 2)))

    def forward(self, z: Tensor) -> Tensor:
        """(B, inputs) to (B, N, 2)."""
        coordinates: Tensor = self.layers(z)
        return coordinates
