"""Two 3x3 convolutions with stride 1, as published."""

from torch import nn

from lj_vae_hpc.config.model import Model
from lj_vae_hpc.model.base import Encoder
from lj_vae_hpc.model.convolution import ConvReLU, FlattenPixels


class Network(Encoder):
    """Works on images."""

    images_only = True

    def __init__(self, shape: tuple[int, ...], model: Model) -> None:
        super().__init__(shape, model)
        first, second = model.channels
        self.features = second * shape[1] ** 2
        self.layers = nn.Sequential(ConvReLU(1, first), ConvReLU(first, second), FlattenPixels())
