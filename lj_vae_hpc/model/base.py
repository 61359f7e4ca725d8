"""What every encoder and every decoder is."""

from typing import ClassVar

from torch import Tensor, nn

from lj_vae_hpc.config.model import Model
from lj_vae_hpc.config.representation import Representation


class Encoder(nn.Module):
    """A network from samples `(B, *shape)` to `(B, features)`.

    Args:
        shape: of one sample.
        model: the section of the configuration.

    Attributes:
        features: how many.
    """

    features: int

    @classmethod
    def objection(cls, representation: Representation, model: Model) -> str | None:
        """What forbids this network, as `key: what is wrong and what is accepted`; None where nothing does."""
        return None

    def __init__(self, shape: tuple[int, ...], model: Model) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """The features."""
        raise NotImplementedError


class Decoder(nn.Module):
    """A network from `(B, inputs)` to the entries of samples `(B, *shape)`, or to coordinates `(B, n_particles, 2)`.

    Args:
        inputs: latent dimensions and conditions.
        shape: of one sample.
        model: the section of the configuration.
        n_particles: N.

    Attributes:
        gives_positions: whether it gives coordinates of ordered particles, of which the sample is then formed.
    """

    gives_positions: ClassVar[bool] = False

    @classmethod
    def objection(cls, representation: Representation, model: Model) -> str | None:
        """What forbids this network, as `key: what is wrong and what is accepted`; None where nothing does."""
        return None

    def __init__(self, inputs: int, shape: tuple[int, ...], model: Model, n_particles: int) -> None:
        super().__init__()

    def forward(self, z: Tensor) -> Tensor:
        """The entries, or the coordinates."""
        raise NotImplementedError

    @property
    def last(self) -> nn.Linear:
        """The last linear layer; where it vanishes, the output is the same for all inputs."""
        return [module for module in self.modules() if isinstance(module, nn.Linear)][-1]


def not_an_image(representation: Representation) -> str | None:
    """What forbids networks whose samples are (1, M, M): the end of their objection, after a verb."""
    if representation.kind in ("distance_matrix", "occupancy_grid"):
        return None
    return f"the entries of a distance_matrix or an occupancy_grid, not {representation.kind}; mlp takes everything"


def no_positions(representation: Representation, name: str) -> str | None:
    """The objection of decoders that give coordinates."""
    if representation.has_positions:
        return None
    return f"model.decoder: {name} gives coordinates, of which no {representation.kind} is formed; mlp takes everything"


def hidden_layers(inputs: int, model: Model) -> list[nn.Module]:
    """Fully connected layers of model.width units, model.depth of them."""
    layers: list[nn.Module] = []
    for k in range(model.depth):
        layers += [nn.Linear(model.width if k else inputs, model.width), nn.SiLU()]
    return layers
