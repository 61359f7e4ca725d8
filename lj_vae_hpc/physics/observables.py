"""What is watched of a configuration besides its energy."""

import numba
import numpy as np


@numba.njit(cache=True)
def close_pairs(positions, radius):  # type: ignore[no-untyped-def]
    """(n,) float64 number of pairs closer than `radius` (σ) in configurations (n, N, 2) in σ."""
    counts = np.zeros(len(positions))
    for k in range(len(positions)):
        for i in range(positions.shape[1]):
            for j in range(i):
                dx = positions[k, i, 0] - positions[k, j, 0]
                dy = positions[k, i, 1] - positions[k, j, 1]
                counts[k] += dx * dx + dy * dy < radius * radius
    return counts


@numba.njit(cache=True)
def smallest_distance(positions):  # type: ignore[no-untyped-def]
    """(n,) float64 distance in σ of the closest pair in configurations (n, N, 2) in σ, N >= 2.

    Particles are visited in the order of x, each compared with those after it as long as they may be closer: memory
    grows as N, not as the number of pairs.
    """
    smallest = np.empty(len(positions))
    for k in range(len(positions)):
        order = np.argsort(positions[k, :, 0])
        x, y = positions[k, order, 0].astype(np.float64), positions[k, order, 1].astype(np.float64)
        squared = np.inf
        for i in range(len(x)):
            for j in range(i + 1, len(x)):
                dx, dy = x[j] - x[i], y[j] - y[i]
                if dx * dx >= squared:
                    break
                squared = min(squared, dx * dx + dy * dy)
        smallest[k] = np.sqrt(squared)
    return smallest
