"""Three transposed 3x3 convolutions with stride 1, as published."""

from torch import Tensor, nn

from lj_vae_hpc.config.model import Model
from lj_vae_hpc.config.representation import Representation
from lj_vae_hpc.model.base import Decoder, not_an_image
from lj_vae_hpc.model.convolution import TransposedConvReLU, dense_pixels


class Network(Decoder):
    """Gives the entries of images."""

    @classmethod
    def objection(cls, representation: Representation, model: Model) -> str | None:
        """It needs an image."""
        problem = not_an_image(representation)
        return problem and f"model.decoder: conv gives {problem}"

    def __init__(self, inputs: int, shape: tuple[int, ...], model: Model, n_particles: int) -> None:
        super().__init__(inputs, shape, model, n_particles)
        first, second = model.channels
        convolutions = [TransposedConvReLU(second, second), TransposedConvReLU(second, first)]
        output = nn.ConvTranspose2d(first, 1, 3, padding=1)
        self.layers = nn.Sequential(*dense_pixels(inputs, second, shape[1]), *convolutions, output)

    def forward(self, z: Tensor) -> Tensor:
        """(B, inputs) to (B, 1, M, M)."""
        entries: Tensor = self.layers(z)
        return entries
