"""Total energy of configurations, in double precision."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lj_vae_hpc.physics.potentials.base import Potential

PAIRS_AT_ONCE = 1 << 18  # of several configurations, a chunk of some MB
MOST_PAIRS = 2_000_000  # of one configuration, which are in memory at once


def pair_distances_squared(positions: ArrayLike) -> NDArray[np.float64]:
    """(n, N (N-1) / 2) squared distances in σ² of positions (n, N, 2) in σ, pairs i < j in row order."""
    r = np.asarray(positions, dtype=np.float64)
    i, j = np.triu_indices(r.shape[1], k=1)
    x, y = r[..., 0], r[..., 1]
    # Contiguous, so that sums over pairs are added in the same order whatever the number of configurations.
    return np.ascontiguousarray((x[:, i] - x[:, j]) ** 2 + (y[:, i] - y[:, j]) ** 2)


def pair_energy(positions: ArrayLike, potential: Potential) -> NDArray[np.float64]:
    """(n,) Σ_{i<j} u(r_ij) in ε of positions (n, N, 2) in σ."""
    r = np.asarray(positions)
    pairs = r.shape[1] * (r.shape[1] - 1) // 2
    if pairs > MOST_PAIRS:
        return np.array([_pair_energy_by_particle(one.astype(np.float64), potential) for one in r])
    chunk = max(1, PAIRS_AT_ONCE // max(1, pairs))
    parts = [potential.energy(pair_distances_squared(r[k : k + chunk])).sum(axis=1) for k in range(0, len(r), chunk)]
    return np.concatenate(parts) if parts else np.empty(0)


def _pair_energy_by_particle(r: NDArray[np.float64], potential: Potential) -> float:
    """The same of one configuration (N, 2) whose pairs are too many to have at once."""
    return float(sum(potential.energy(((r[i] - r[i + 1 :]) ** 2).sum(axis=1)).sum() for i in range(len(r) - 1)))


def height_sum(positions: ArrayLike) -> NDArray[np.float64]:
    """(n,) Σ_i y_i in σ of positions (n, N, 2) in σ."""
    return np.asarray(np.asarray(positions, dtype=np.float64)[..., 1].sum(axis=-1))


def total_energy(positions: ArrayLike, gamma: ArrayLike, potential: Potential) -> NDArray[np.float64]:
    """(n,) U = Σ_{i<j} u(r_ij) + γ Σ_i y_i in ε.

    Args:
        positions: (n, N, 2), in σ.
        gamma: (n,) or scalar, γ = m g σ / ε.
        potential: the pair potential.
    """
    return np.asarray(pair_energy(positions, potential) + np.asarray(gamma, dtype=np.float64) * height_sum(positions))
