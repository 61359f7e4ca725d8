"""Structure of configurations of one γ, and how far two samples of it are apart."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, wasserstein_distance

from lj_vae_hpc.config.system import System
from lj_vae_hpc.physics.energies import height_sum, pair_energy
from lj_vae_hpc.physics.observables import smallest_distance

Floats = NDArray[np.float64]
Positions = NDArray[np.float32]

BINS = 40  # of histograms whose Jensen-Shannon distance is taken
WIDTH, RANGE = 0.1, 4.0  # of the bins of g(r), and where it ends, in σ
HIGHEST = 1e30  # ε; two particles at one place have no finite energy
PAIR_DISTANCES = np.asarray(WIDTH * (np.arange(round(RANGE / WIDTH)) + 0.5), np.float64)
"""(bins,) r of g(r) in σ, the centres of the bins."""
SLICES, CELLS = 20, 20  # of ρ(y), and of the occupancy grid along each side


def scalars(positions: Positions, gamma: float, system: System) -> dict[str, Floats]:
    """Of n configurations, each (n,): energy in ε with no pair left out, Σy and smallest distance in σ, and ψ6.

    Args:
        positions: (n, N, 2), in σ.
        gamma: γ.
        system: the fluid.
    """
    height = height_sum(positions)
    return {
        "energy": pair_energy(positions, system.pair_potential) + gamma * height,
        "height_sum": height,
        "smallest_distance": smallest_distance(positions),
        "psi6": hexatic_order(positions),
    }


def hexatic_order(positions: Positions) -> Floats:
    """(n,) mean over the particles of |ψ6|, ψ6 the mean of exp(6 i θ) over the six nearest neighbours.

    Nelson and Halperin, Phys. Rev. B 19, 2457 (1979).
    """
    n, count = positions.shape[:2]
    x = _levels(positions)
    near = KDTree(x).query(x, min(7, count))[1]
    own = np.arange(len(x))[:, None]
    near = np.take_along_axis(near, np.argsort(near != own, axis=1, kind="stable"), axis=1)[:, 1:]  # itself is first
    offset = x[near] - x[:, None]
    psi = np.exp(6j * np.arctan2(offset[..., 1], offset[..., 0])).mean(axis=1)
    return np.asarray(np.abs(psi).reshape(n, count).mean(axis=1))


def _levels(positions: Positions) -> Floats:
    """(n N, 3) particles of all configurations, each at a level of its own: no other's is near, and one tree does."""
    n, count = positions.shape[:2]
    level = np.repeat(np.arange(n) * (RANGE + 2.0 * float(np.ptp(positions))), count)
    return np.column_stack([positions.reshape(-1, 2).astype(np.float64), level])


def pair_distribution(positions: Positions) -> Floats:
    """g(r) at PAIR_DISTANCES: pairs within configurations over pairs between different ones, which the density cancels.

    In a box with walls and gravity the density is not uniform, so that an ideal gas of uniform density is no
    reference.

    Args:
        positions: (n, N, 2) in σ, of at least two configurations of at least two particles.

    Raises:
        ValueError: they have another shape.
    """
    return from_pair_counts(*pair_counts(positions), positions.shape[-2])


def pair_counts(positions: Positions) -> tuple[Floats, Floats]:
    """(bins,) ordered pairs within configurations, and between each and the one before it, at PAIR_DISTANCES.

    Args:
        positions: as of pair_distribution.

    Raises:
        ValueError: they have another shape.
    """
    if positions.ndim != 3 or positions.shape[2] != 2 or min(positions.shape) < 2:
        raise ValueError(f"expected positions (n, N, 2) with n and N of at least 2, not {positions.shape}")
    x = _levels(positions)
    tree, before = KDTree(x), KDTree(_levels(np.roll(positions, 1, axis=0)))
    i, j = tree.query_pairs(RANGE, output_type="ndarray").T
    within = np.linalg.norm(x[i] - x[j], axis=1)
    between = tree.sparse_distance_matrix(before, RANGE, output_type="ndarray")["v"]
    return 2.0 * _counts(within), _counts(between)


def _counts(distances: Floats) -> Floats:
    return np.histogram(distances, len(PAIR_DISTANCES), (0.0, RANGE))[0].astype(float)


def from_pair_counts(within: Floats, between: Floats, n_particles: int) -> Floats:
    """g(r) of what pair_counts has counted."""
    return np.asarray(within / np.maximum(between, 1) * (n_particles / (n_particles - 1)))


def heights(box_side: float) -> Floats:
    """(SLICES,) of the middles of the slices of density_profile, in σ."""
    return np.asarray((np.arange(SLICES) + 0.5) * box_side / SLICES, np.float64)


def density_profile(positions: Positions, box_side: float) -> Floats:
    """ρ(y) in σ⁻², in SLICES of equal height."""
    counts = np.histogram(positions[..., 1], SLICES, (0.0, box_side))[0]
    return np.asarray(counts / len(positions) / (box_side * box_side / SLICES))


def two_point_correlation(positions: Positions, box_side: float) -> Floats:
    """Probability that two cells, so many cells apart in a row, both hold a particle; for 0 to half the box.

    Torquato, Random Heterogeneous Materials (2002), section 2.2, as used for porous media.
    """
    cell = np.minimum((positions * (CELLS / box_side)).astype(int), CELLS - 1).clip(0)
    grid = np.zeros((len(positions), CELLS, CELLS), bool)
    grid[np.arange(len(positions))[:, None], cell[..., 1], cell[..., 0]] = True
    return np.asarray(products_of_cells(grid).mean(axis=0))


def products_of_cells(grids: NDArray[Any]) -> Floats:
    """(n, C // 2 + 1) means of the product of two cells of grids (n, C, C), so many cells apart in a row."""
    cells = grids.shape[-1]
    products = [(grids[..., : cells - k] * grids[..., k:]).mean(axis=(1, 2)) for k in range(cells // 2 + 1)]
    return np.stack(products, axis=1)


@dataclass(frozen=True, eq=False)
class Sample:
    """Configurations of one γ, with their structure.

    Attributes:
        positions: (n, N, 2), in σ.
        gamma: γ.
        system: the fluid.
    """

    positions: Positions
    gamma: float
    system: System

    @cached_property
    def scalars(self) -> dict[str, Floats]:
        """As of `scalars`."""
        return scalars(self.positions, self.gamma, self.system)

    @cached_property
    def curves(self) -> dict[str, Floats]:
        """g(r), ρ(y) and the two-point correlation."""
        return {
            "pair_distribution": pair_distribution(self.positions),
            "density_profile": density_profile(self.positions, self.system.box_side),
            "two_point_correlation": two_point_correlation(self.positions, self.system.box_side),
        }

    def part(self, which: slice) -> "Sample":
        """Some of the configurations."""
        return Sample(self.positions[which], self.gamma, self.system)

    def compare(self, reference: "Sample") -> dict[str, dict[str, Any]]:
        """How far it is from another sample.

        Returns:
            Of every scalar: wasserstein in its units, jensen_shannon (the distance, base 2), ks_p, and both medians
            and quartiles. Of every curve: rms, the root mean square difference.
        """
        found = {name: _distances(own, reference.scalars[name]) for name, own in self.scalars.items()}
        squares = {name: np.mean((own - reference.curves[name]) ** 2) for name, own in self.curves.items()}
        return found | {name: {"rms": float(np.sqrt(square))} for name, square in squares.items()}


def _distances(a: Floats, b: Floats) -> dict[str, Any]:
    a, b = np.minimum(a, HIGHEST), np.minimum(b, HIGHEST)
    low, high = np.percentile(b, [0.1, 99.9])
    high = max(high, low + 1e-12)
    p, q = (np.histogram(np.clip(values, low, high), BINS, (low, high))[0] / len(values) for values in (a, b))
    return {
        "wasserstein": float(wasserstein_distance(a, b)),
        "jensen_shannon": float(jensenshannon(p, q, base=2)),
        "ks_p": float(ks_2samp(a, b, method="asymp").pvalue),
        "median": float(np.median(a)),
        "reference_median": float(np.median(b)),
        "quartiles": np.percentile(a, (25, 75)).tolist(),
        "reference_quartiles": np.percentile(b, (25, 75)).tolist(),
    }
