"""What every encoder and every decoder is."""

from typing import ClassVar

from torch import Tensor, nn

from lj_vae_hpc.config.model import Model
from lj_vae_hpc.config.representation import Representation

IMAGES = ("distance_matrix", "occupancy_grid")


class Encoder(nn.Module):
    """A network from samples `(B, *shape)` to `(B, features)`.

    Args:
        shape: of one sample.
        model: the section of the configuration.

    Attributes:
        images_only: whether samples must be images (1, M, M).
        features: how many.
        layers: what makes them, unless forward is overridden.
    """

    images_only: ClassVar[bool] = False
    features: int
    layers: nn.Module

    @classmethod
    def objection(cls, representation: Representation, model: Model) -> str | None:
        """What forbids this network, as `key: what is wrong and what is accepted`; None where nothing does."""
        if cls.images_only and representation.kind not in IMAGES:
            return f"model.encoder: {model.encoder} works on {not_an_image(representation)}"
        return None

    def __init__(self, shape: tuple[int, ...], model: Model) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """The features."""
        features: Tensor = self.layers(x)
        return features


class Decoder(nn.Module):
    """A network from `(B, inputs)` to the entries of samples `(B, *shape)`, or to coordinates `(B, n_particles, 2)`.

    Args:
        inputs: latent dimensions and conditions.
        shape: of one sample.
        model: the section of the configuration.
        n_particles: N.

    Attributes:
        images_only: whether samples must be images (1, M, M).
        gives_positions: whether it gives coordinates of ordered particles, of which the sample is then formed.
        layers: what makes the output, unless forward is overridden.
    """

    images_only: ClassVar[bool] = False
    gives_positions: ClassVar[bool] = False
    layers: nn.Module

    @classmethod
    def objection(cls, representation: Representation, model: Model) -> str | None:
        """What forbids this network, as `key: what is wrong and what is accepted`; None where nothing does."""
        if cls.images_only and representation.kind not in IMAGES:
            return f"model.decoder: {model.decoder} gives {not_an_image(representation)}"
        if cls.gives_positions and not representation.has_positions:
            return (
                f"model.decoder: {model.decoder} gives coordinates, of which no {representation.kind} is formed; "
                "mlp takes everything"
            )
        return None

    def __init__(self, inputs: int, shape: tuple[int, ...], model: Model, n_particles: int) -> None:
        super().__init__()

    def forward(self, z: Tensor) -> Tensor:
        """The entries, or the coordinates."""
        output: Tensor = self.layers(z)
        return output

    @property
    def last(self) -> nn.Linear:
        """The last linear layer; where it vanishes, the output is the same for all inputs."""
        return [module for module in self.modules() if isinstance(module, nn.Linear)][-1]


def not_an_image(representation: Representation) -> str:
    """The end of the objection of networks whose samples are images, after a verb."""
    return f"the entries of a {' or an '.join(IMAGES)}, not {representation.kind}; mlp takes everything"


def hidden_layers(inputs: int, model: Model) -> list[nn.Module]:
    """Fully connected layers of model.width units, model.depth of them."""
    layers: list[nn.Module] = []
    for k in range(model.depth):
        layers += [nn.Linear(model.width if k else inputs, model.width), nn.SiLU()]
    return layers
