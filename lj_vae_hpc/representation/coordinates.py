"""Coordinates of particles in a canonical order."""

import math

from torch import Tensor

from lj_vae_hpc.representation.ordering import sort_particles


def ordered_coordinates(positions: Tensor, box_side: float, ordering: str) -> Tensor:
    """(B, N, 2) coordinates of ordered particles in units of L√2, so that all distances are at most 1.

    Args:
        positions: (B, N, 2), in σ.
        box_side: L, in σ.
        ordering: `y`, `origin` or `random`.
    """
    return sort_particles(positions, ordering) / (box_side * math.sqrt(2))
