"""Three transposed 3x3 convolutions, the first two with stride 2."""

from torch import Tensor, nn

from lj_vae_hpc.config.model import Model
from lj_vae_hpc.model.base import Decoder
from lj_vae_hpc.model.convolution import dense_pixels, halved


class Network(Decoder):
    """Gives the entries of images."""

    images_only = True

    def __init__(self, inputs: int, shape: tuple[int, ...], model: Model, n_particles: int) -> None:
        super().__init__(inputs, shape, model, n_particles)
        first, second = model.channels
        side, half = shape[1], halved(shape[1])
        up = [UpTo(second, second, half), UpTo(second, first, side)]
        output = nn.ConvTranspose2d(first, 1, 3, padding=1)
        self.layers = nn.Sequential(*dense_pixels(inputs, second, halved(half)), *up, output)


class UpTo(nn.ConvTranspose2d):
    """Transposed 3x3 convolution with stride 2, then ReLU, to a given side: twice the input's or one less."""

    def __init__(self, inputs: int, outputs: int, side: int) -> None:
        super().__init__(inputs, outputs, 3, stride=2, padding=1)
        self._size = [side, side]

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, inputs, m, m) to (B, outputs, side, side)."""
        return super().forward(x, output_size or self._size).relu()
