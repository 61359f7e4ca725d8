"""Particles per cell of a square grid."""

import torch
from torch import Tensor


def occupancy_grid(positions: Tensor, box_side: float, cells: int, single: bool) -> Tensor:
    """(B, 1, C, C) particles per cell, rows along y; with `single` at most 1. What left the box is in the nearest cell.

    Args:
        positions: (B, N, 2), in σ.
        box_side: L, in σ.
        cells: C, along each side.
        single: whether to tell only if a cell is occupied.
    """
    index = (positions * (cells / box_side)).long().clamp(0, cells - 1)
    flat = index[..., 1] * cells + index[..., 0]  # (B, N)
    counts = positions.new_zeros(len(positions), cells * cells)
    counts.scatter_add_(1, flat, torch.ones_like(positions[..., 0]))
    return (counts.clamp(max=1.0) if single else counts).view(-1, 1, cells, cells)
