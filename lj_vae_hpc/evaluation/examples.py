"""Configurations beside their reconstructions, for the report."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lj_vae_hpc.evaluation.observables import Arrays
from lj_vae_hpc.evaluation.sources import AnySource
from lj_vae_hpc.evaluation.suites.base import Suite
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.network import Network


def first_example(network: Network, suite: Suite, source: AnySource) -> Arrays:
    """The first configuration of a suite and its reconstruction, as images and, where there are any, as points."""
    configurations = suite.read(source, range(1))
    original, reconstruction = reconstruct(network, configurations)
    example = {"original": original[0], "reconstruction": reconstruction[0]}
    if network.module.gives_positions:
        points, reconstructed = place(network, configurations)
        example |= {"points": points[0], "reconstructed_points": reconstructed[0]}
    return example


@torch.no_grad()
def reconstruct(network: Network, configurations: Configurations) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Configurations as images (n, ., .), and their reconstructions.

    Distance matrices in units of L√2, occupancy grids, or a row per particle of what it sees.
    """
    x, condition = network.inputs(configurations)
    decoded = network.module.decode(network.module.encode(x, condition)[0], condition)
    return _images(network, x), _images(network, decoded)


@torch.no_grad()
def place(network: Network, configurations: Configurations) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Coordinates (n, N, 2) of ordered particles and of their reconstructions, in units of L√2."""
    x, condition = network.inputs(configurations)
    found = network.module.positions(network.module.encode(x, condition)[0], condition)
    return network.points(configurations).cpu().numpy(), found.cpu().numpy()


def _images(network: Network, x: Tensor) -> NDArray[np.float32]:
    encoding = network.encoding
    images = encoding.matrix(x) if encoding.matrix else x.view(len(x) // encoding.samples, -1, encoding.shape[-1])
    return np.asarray(images.cpu().numpy())
