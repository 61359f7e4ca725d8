"""Encoders and decoders, by their names in the configuration."""

import math

from torch import Tensor, nn

from lj_vae_hpc.config.model import Model
from lj_vae_hpc.model.attention import AttentionDecoder, AttentionEncoder
from lj_vae_hpc.model.convolution import ConvReLU, FlattenPixels, TransposedConvReLU, UnflattenPixels


def make_encoder(shape: tuple[int, ...], config: Model) -> tuple[nn.Module, int]:
    """A network from (B, *shape) to (B, features), and the number of features."""
    first, second = config.channels
    match config.encoder:
        case "mlp":
            return nn.Sequential(nn.Flatten(), *_hidden(math.prod(shape), config)), config.width
        case "attention":
            return AttentionEncoder(config.width, config.depth), config.width
        case "conv":
            layers = [ConvReLU(1, first), ConvReLU(first, second)]
            return nn.Sequential(*layers, FlattenPixels()), second * shape[1] ** 2
        case "conv_strided":
            side = _halved(_halved(shape[1]))
            strided = [nn.Conv2d(1, first, 3, 2, 1), nn.ReLU(), nn.Conv2d(first, second, 3, 2, 1), nn.ReLU()]
            return nn.Sequential(*strided, FlattenPixels()), second * side**2


def make_decoder(inputs: int, shape: tuple[int, ...], config: Model, n_particles: int) -> nn.Module:
    """A network from (B, inputs) to (B, *shape), or for `positions` and `attention` to (B, n_particles, 2)."""
    first, second = config.channels
    match config.decoder:
        case "mlp" | "positions":
            outputs = shape if config.decoder == "mlp" else (n_particles, 2)
            last = nn.Linear(config.width, math.prod(outputs))
            return nn.Sequential(*_hidden(inputs, config), last, nn.Unflatten(1, outputs))
        case "attention":
            return AttentionDecoder(inputs, n_particles, config.width, config.depth)
        case "conv":
            layers = [TransposedConvReLU(second, second), TransposedConvReLU(second, first)]
            return nn.Sequential(*_dense(inputs, second, shape[1]), *layers, nn.ConvTranspose2d(first, 1, 3, padding=1))
        case "conv_strided":
            side, half = shape[1], _halved(shape[1])
            up = [UpTo(second, second, half), UpTo(second, first, side)]
            dense = _dense(inputs, second, _halved(half))
            return nn.Sequential(*dense, *up, nn.ConvTranspose2d(first, 1, 3, padding=1))


class UpTo(nn.ConvTranspose2d):
    """Transposed 3x3 convolution with stride 2, then ReLU, to a given side: twice the input's or one less."""

    def __init__(self, inputs: int, outputs: int, side: int) -> None:
        super().__init__(inputs, outputs, 3, stride=2, padding=1)
        self._size = [side, side]

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, inputs, m, m) to (B, outputs, side, side)."""
        return super().forward(x, output_size or self._size).relu()


def _hidden(inputs: int, config: Model) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for k in range(config.depth):
        layers += [nn.Linear(config.width if k else inputs, config.width), nn.SiLU()]
    return layers


def _dense(inputs: int, channels: int, side: int) -> list[nn.Module]:
    return [nn.Linear(inputs, channels * side**2), nn.ReLU(inplace=True), UnflattenPixels(channels, side)]


def _halved(side: int) -> int:
    """Length of an image after a convolution with stride 2."""
    return (side + 1) // 2
