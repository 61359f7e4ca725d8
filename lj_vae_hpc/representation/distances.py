"""The sorted distance matrix of a configuration."""

import torch
from torch import Tensor

from lj_vae_hpc.config import Representation


def matrix_side(n_particles: int, representation: Representation) -> int:
    """Rows of the matrix: the particles, and the two landmarks where they are used."""
    return n_particles + 2 * representation.landmarks


def sort_particles(positions: Tensor, ordering: str) -> Tensor:
    """Particles of each configuration in a canonical order; positions (B, N, 2) in σ, and so is the result.

    `origin`: by distance from the corner (0, 0). `y`: by height.
    """
    keys = positions[..., 1] if ordering == "y" else positions.square().sum(dim=-1)
    order = keys.argsort(dim=-1, stable=True)
    return positions.gather(1, order.unsqueeze(-1).expand_as(positions))


def distance_matrix(positions: Tensor, box_side: float, representation: Representation) -> Tensor:
    """(B, 1, M, M) float32 Euclidean distances between sorted particles, divided by L√2 so that they lie in [0, 1].

    With landmarks the first two points are the corners (0, 0) and (L, 0): the matrix then fixes every coordinate,
    because y >= 0.

    Args:
        positions: (B, N, 2), in σ, in any order of particles.
        box_side: L, in σ.
        representation: ordering, and whether landmarks are added.
    """
    points = sort_particles(positions, representation.ordering)
    if representation.landmarks:
        corners = points.new_tensor([[0.0, 0.0], [box_side, 0.0]]).expand(len(points), 2, 2)
        points = torch.cat([corners, points], dim=1)
    difference = points[:, :, None] - points[:, None]  # (B, M, M, 2); exact, unlike |a|² + |b|² - 2ab
    return (difference.square().sum(dim=-1).sqrt() / (box_side * 2**0.5)).unsqueeze(1)
