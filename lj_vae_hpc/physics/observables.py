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
