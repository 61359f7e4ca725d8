"""Training step of the reference network: this package's convolutions against PyTorch's own, in one process.

    python benchmarks/convolution.py [STEPS]

Steps alternate, so that both see the same machine; printed is the median of the paired ratios of time.
"""

import statistics
import sys
import time

import torch
from torch import Tensor, nn

from lj_vae_hpc.config import Model, Objective
from lj_vae_hpc.model import convolution
from lj_vae_hpc.model.vae import VAE
from lj_vae_hpc.training.objective import terms

BATCH, SIDE = 64, 30


def main(steps: int) -> None:
    """Times the steps and prints medians and ratio."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    ours, plain = (_trainer(by_winograd) for by_winograd in (True, False))
    x, noise = torch.rand(BATCH, 1, SIDE, SIDE), torch.randn(BATCH, Model().latent_dim)
    seconds: tuple[list[float], list[float]] = ([], [])
    for step in range(steps + 2):
        for trainer, times in zip((ours, plain), seconds, strict=True):
            started = time.perf_counter()
            trainer(x, noise)
            if step >= 2:  # the first two compile and fill caches
                times.append(time.perf_counter() - started)
    ratio = statistics.median(b / a for a, b in zip(*seconds, strict=True))
    rates = [BATCH / statistics.median(times) for times in seconds]
    print(
        f"{rates[0]:.0f} configurations/s against {rates[1]:.0f} with PyTorch's convolutions, one thread: {ratio:.2f}x"
    )


def _trainer(by_winograd: bool):  # noqa: ANN202
    torch.manual_seed(0)
    network = VAE(SIDE, Model())
    nn.Module.to(network, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    choose = convolution._by_winograd

    def step(x: Tensor, noise: Tensor) -> None:
        convolution._by_winograd = choose if by_winograd else lambda x, channels: False
        optimizer.zero_grad(set_to_none=True)
        terms(x, network(x, noise), Objective()).loss.mean().backward()
        optimizer.step()
        convolution._by_winograd = choose

    return step


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
