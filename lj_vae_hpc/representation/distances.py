"""Distances between the particles of a configuration."""

import torch
from torch import Tensor


def pair_distances(points: Tensor) -> Tensor:
    """(B, M, M) Euclidean distances between points (B, M, 2), in their unit; exact, and with finite gradients."""
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")


def distance_matrix(points: Tensor, box_side: float, landmarks: bool) -> Tensor:
    """(B, 1, M, M) distances between ordered points, M = N or with landmarks N + 2.

    With landmarks the first two points are the corners (0, 0) and (L, 0): the matrix then fixes every coordinate,
    because y >= 0.

    Args:
        points: (B, N, 2), in any unit; the result has the same.
        box_side: L, in that unit.
        landmarks: whether to add them.
    """
    if landmarks:
        corners = points.new_tensor([[0.0, 0.0], [box_side, 0.0]]).expand(len(points), 2, 2)
        points = torch.cat([corners, points], dim=1)
    return pair_distances(points).unsqueeze(1)
