"""Two 3x3 convolutions with stride 2."""

from torch import nn

from lj_vae_hpc.config.model import Model
from lj_vae_hpc.model.base import Encoder
from lj_vae_hpc.model.convolution import FlattenPixels, halved


class Network(Encoder):
    """Works on images."""

    images_only = True

    def __init__(self, shape: tuple[int, ...], model: Model) -> None:
        super().__init__(shape, model)
        first, second = model.channels
        self.features = second * halved(halved(shape[1])) ** 2
        convolutions = [nn.Conv2d(1, first, 3, 2, 1), nn.ReLU(), nn.Conv2d(first, second, 3, 2, 1), nn.ReLU()]
        self.layers = nn.Sequential(*convolutions, FlattenPixels())
