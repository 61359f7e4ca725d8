"""Three transposed 3x3 convolutions with stride 1, as published."""

from torch import nn

from lj_vae_hpc.config.model import Model
from lj_vae_hpc.model.base import Decoder
from lj_vae_hpc.model.convolution import TransposedConvReLU, dense_pixels


class Network(Decoder):
    """Gives the entries of images."""

    images_only = True

    def __init__(self, inputs: int, shape: tuple[int, ...], model: Model, n_particles: int) -> None:
        super().__init__(inputs, shape, model, n_particles)
        first, second = model.channels
        convolutions = [TransposedConvReLU(second, second), TransposedConvReLU(second, first)]
        output = nn.ConvTranspose2d(first, 1, 3, padding=1)
        self.layers = nn.Sequential(*dense_pixels(inputs, second, shape[1]), *convolutions, output)
