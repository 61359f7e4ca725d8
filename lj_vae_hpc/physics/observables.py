"""What is watched of a configuration besides its energy."""

import numba
import numpy as np
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


def settled_lattice(n_particles: int, box_side: float) -> NDArray[np.float32]:
    """(N, 2) positions in σ on a triangular lattice that fills the box from the floor up.

    Neighbours are at the distance of the Lennard-Jones minimum, 2^(1/6) σ, closer where the box would be too low.
    """
    spacing = 2.0 ** (1 / 6)
    while True:
        columns = int(box_side / spacing) + 1
        rows = -(-n_particles // columns)
        if (rows - 1) * spacing * np.sqrt(3) / 2 <= box_side:
            break
        spacing *= 0.99
    row, column = np.divmod(np.arange(n_particles), columns)
    gap = (box_side - (columns - 1) * spacing) / 2 if columns > 1 else 0.0
    x = np.clip(column * spacing + gap + (row % 2 - 0.5) * min(gap, spacing / 2), 0.0, box_side)
    return np.stack([x, row * spacing * np.sqrt(3) / 2], axis=1).astype(np.float32)
