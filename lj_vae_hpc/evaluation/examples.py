"""Configurations beside their reconstructions, which the page shows."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.observables import Arrays
from lj_vae_hpc.evaluation.sources import AnySource
from lj_vae_hpc.evaluation.splits import NORMAL, Split
from lj_vae_hpc.evaluation.studies.base import MOST_PARTICLES
from lj_vae_hpc.evaluation.studies.reconstruction import aligned, classical_scaling
from lj_vae_hpc.evaluation.suites.base import Suite
from lj_vae_hpc.representation.ordering import particle_order
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.network import Network

Floats = NDArray[np.float64]

COUNT, NUMBERS = 1500, 250_000  # configurations of all suites together, and their particles
NORMAL_SHARE = 0.4  # of the configurations


def examples(network: Network, sources: dict[Suite, AnySource], config: RunConfig) -> dict[str, Arrays]:
    """Some configurations of every suite, evenly chosen, with their reconstructions, by `examples/SUITE`.

    Args:
        network: with its best weights.
        sources: of every split and suite.
        config: the run's configuration.

    Returns:
        Of each suite: row (k,) in the suite; positions (k, N, 2) in σ, as the network orders the particles; moved
        (k, N), if it is known which particles make a configuration odd; and what the network makes of them:
        reconstruction (k, N, 2) in σ, or grid (k, cells, cells) of occupancies, or neither. Where the network gives no
        coordinates, the reconstruction is turned onto the configuration, and there are also original and reconstructed,
        the first configuration as an image.
    """
    shown = {suite: source for suite, source in sources.items() if suite.name == NORMAL or not isinstance(suite, Split)}
    normal, each = shares(config.system.n_particles, len(shown) - 1)
    found = {}
    for suite, source in shown.items():
        count, wanted = suite.count(source), normal if suite.name == NORMAL else each
        rows = np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(np.int64))
        found[f"examples/{suite.name}"] = _examples(network, suite, source, rows, config)
    return found


def shares(n_particles: int, suites: int) -> tuple[int, int]:
    """How many configurations are normal and how many of each suite: at least one, COUNT and NUMBERS in all.

    Args:
        n_particles: N.
        suites: how many besides the normal configurations.
    """
    total = min(COUNT, NUMBERS // n_particles)
    normal = max(1, round(NORMAL_SHARE * total))
    return normal, max(1, (total - normal) // max(1, suites))


def _examples(network: Network, suite: Suite, source: AnySource, rows: NDArray[np.int64], config: RunConfig) -> Arrays:
    unit = config.system.box_side * 2**0.5
    parts = [suite.read(source, range(row, row + 1)) for row in rows.tolist()]
    some = Configurations(*(np.concatenate(values) for values in zip(*parts, strict=True)))
    count = some.positions.shape[1]
    ordered = network.points(some).cpu().numpy()[:, -count:] * unit
    example: Arrays = {"row": rows, "positions": ordered.astype(np.float32)}
    culprits = [
        suite.culprits(source, range(row, row + 1), part) for row, part in zip(rows.tolist(), parts, strict=True)
    ]
    known = [one for one in culprits if one is not None]
    if known:
        order = particle_order(torch.from_numpy(some.positions), config.representation.ordering).numpy()
        example["moved"] = np.take_along_axis(np.concatenate(known), order, axis=1)
    if not _gives_coordinates(network, count):
        original, reconstructed = _images(network, some.part(slice(1)))
        example |= {"original": original[0], "reconstructed": reconstructed[0]}
    return example | _reconstructions(network, some, ordered, unit)


@torch.no_grad()
def _reconstructions(network: Network, some: Configurations, ordered: Floats, unit: float) -> Arrays:
    """Positions, directly or from decoded distances; or decoded grids."""
    module, matrix, count = network.module, network.encoding.matrix, ordered.shape[1]
    direct = _gives_coordinates(network, count)
    decode = module.positions if module.gives_positions else module.decode
    parts = []
    for start in range(0, len(ordered), 256):
        x, condition = network.inputs(some.part(slice(start, start + 256)))
        z = module.encode(x, condition)[0]
        truth = ordered[start : start + 256]
        if direct:
            parts.append(decode(z, condition).cpu().numpy() * unit)
        elif matrix is not None and count <= MOST_PARTICLES:
            distances = matrix(module.decode(z, condition))[:, -count:, -count:].double().cpu().numpy() * unit
            parts.append(np.stack([aligned(classical_scaling(d), t) for d, t in zip(distances, truth, strict=True)]))
        elif matrix is None and network.encoding.samples == 1:
            parts.append(module.decode(z, condition).squeeze(1).cpu().numpy())
    if not parts:
        return {}
    name = "reconstruction" if direct or matrix is not None else "grid"
    return {name: np.concatenate(parts).astype(np.float32)}


def _gives_coordinates(network: Network, count: int) -> bool:
    """Whether the decoder gives coordinates, or the entries that it gives are coordinates."""
    return network.module.gives_positions or network.encoding.shape == (count, 2)


@torch.no_grad()
def _images(network: Network, configurations: Configurations) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Configurations as images (n, ., .), and their reconstructions.

    Distance matrices in units of L√2, occupancy grids, or a row per particle of what it sees.
    """
    x, condition = network.inputs(configurations)
    decoded = network.module.decode(network.module.encode(x, condition)[0], condition)
    return _image(network, x), _image(network, decoded)


def _image(network: Network, x: Tensor) -> NDArray[np.float32]:
    encoding = network.encoding
    images = encoding.matrix(x) if encoding.matrix else x.view(len(x) // encoding.samples, -1, encoding.shape[-1])
    return np.asarray(images.cpu().numpy())
