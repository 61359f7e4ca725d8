"""3x3 convolutions followed by ReLU: PyTorch's own, or on a CPU in single precision a faster algorithm."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


def _by_winograd(x: Tensor, channels: int) -> bool:
    """Whether the input is one that the faster algorithm takes; it gains nothing for a single channel."""
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return plain and channels > 1


def _winograd(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    from lj_vae_hpc.model.winograd import Conv3x3ReLU  # loads numba, which other networks do not need

    return cast(Tensor, Conv3x3ReLU.apply(x, weight, bias))  # type: ignore[no-untyped-call]


class ConvReLU(nn.Conv2d):
    """(N, in, M, M) to (N, out, M, M): 3x3 convolution with stride 1 and same padding, then ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution."""
        if _by_winograd(x, min(self.in_channels, self.out_channels)):
            return _winograd(x, self.weight, self.bias)
        return functional.relu(super().forward(x), inplace=True)


class TransposedConvReLU(nn.ConvTranspose2d):
    """The same with a transposed convolution, which with stride 1 is a convolution with the filter turned round."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """The convolution."""
        if _by_winograd(x, min(self.in_channels, self.out_channels)):
            return _winograd(x, self.weight.flip(2, 3).transpose(0, 1), self.bias)
        return functional.relu(super().forward(x, output_size), inplace=True)


class FlattenPixels(nn.Module):
    """(N, C, M, M) to (N, M M C): channels vary fastest, as in memory, so that nothing is copied."""

    def forward(self, x: Tensor) -> Tensor:
        """The flat vectors."""
        return x.permute(0, 2, 3, 1).flatten(1)


class UnflattenPixels(nn.Module):
    """The inverse of FlattenPixels."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.shape = (side, side, channels)

    def forward(self, x: Tensor) -> Tensor:
        """The images."""
        return x.view(-1, *self.shape).permute(0, 3, 1, 2)


def dense_pixels(inputs: int, channels: int, side: int) -> list[nn.Module]:
    """Layers from (N, inputs) to (N, channels, side, side)."""
    return [nn.Linear(inputs, channels * side**2), nn.ReLU(inplace=True), UnflattenPixels(channels, side)]


def halved(side: int) -> int:
    """Side of an image after a convolution with stride 2."""
    return (side + 1) // 2


def warm_up(module: nn.Module, device: torch.device) -> None:
    """Compiles the faster algorithm, or loads it from numba's cache, for a network that uses it on a device."""
    convolves = any(isinstance(part, ConvReLU | TransposedConvReLU) for part in module.modules())
    if not convolves or device.type != "cpu":
        return
    x = torch.zeros(1, 2, 6, 6, requires_grad=True)
    ConvReLU(2, 2)(x).sum().backward()
