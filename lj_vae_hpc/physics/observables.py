"""What is watched of a configuration besides its energy."""

from typing import Any

import numba
import numpy as np
from numba import float64
from numpy.typing import NDArray


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


def smallest_distance(positions: NDArray[Any]) -> NDArray[np.float64]:
    """(n,) distance in σ of the closest pair in configurations (n, N, 2) in σ, N >= 2.

    Particles are visited in the order of x, each compared with those after it as long as they may be closer: memory
    grows as N, not as the number of pairs.
    """
    order = np.argsort(positions[..., 0], axis=1)
    closest: NDArray[np.float64] = _smallest_distance(np.take_along_axis(positions, order[..., None], axis=1))
    return closest


@numba.njit(cache=True)
def _smallest_distance(positions):  # type: ignore[no-untyped-def]
    smallest = np.empty(len(positions))
    for k in range(len(positions)):
        squared = np.inf
        for i in range(positions.shape[1]):
            for j in range(i + 1, positions.shape[1]):
                dx = float64(positions[k, j, 0]) - positions[k, i, 0]
                dy = float64(positions[k, j, 1]) - positions[k, i, 1]
                if dx * dx >= squared:
                    break
                squared = min(squared, dx * dx + dy * dy)
        smallest[k] = np.sqrt(squared)
    return smallest
