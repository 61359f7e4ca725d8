"""From positions to what the network sees."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lj_vae_hpc.config.representation import Representation
from lj_vae_hpc.config.system import System
from lj_vae_hpc.representation.distances import distance_matrix, pair_distances
from lj_vae_hpc.representation.ordering import sort_particles


@dataclass(frozen=True)
class Encoding:
    """A representation of the configurations of one system.

    Attributes:
        shape: of one sample.
        samples: that a configuration gives.
        encode: positions (B, N, 2) in σ, in any order of particles, to (B * samples, *shape) float32.
        points: the same to coordinates (B, N, 2) of ordered particles in units of L√2.
        form: coordinates (B, N, 2) of ordered particles in units of L√2 to (B, *shape); None where the representation
            is not formed from them.
        matrix: what `encode` gives to (B, M, M) distances in units of L√2; None where positions do not follow.
    """

    shape: tuple[int, ...]
    samples: int
    encode: Callable[[Tensor], Tensor]
    points: Callable[[Tensor], Tensor]
    form: Callable[[Tensor], Tensor] | None = None
    matrix: Callable[[Tensor], Tensor] | None = None


def make_encoding(system: System, representation: Representation) -> Encoding:
    """The encoding that a configuration asks for."""
    n, side = system.n_particles, system.box_side
    unit = side * math.sqrt(2)

    def points(positions: Tensor) -> Tensor:
        return sort_particles(positions, representation.ordering) / unit

    def form(x: Tensor) -> Tensor:
        return distance_matrix(x, side / unit, representation.landmarks)

    match representation.kind:
        case "coordinates":
            return Encoding((n, 2), 1, points, points, lambda x: x, pair_distances)
        case "distance_matrix":
            m = n + 2 * representation.landmarks
            return Encoding((1, m, m), 1, lambda p: form(points(p)), points, form, lambda x: x.squeeze(1))
        case "occupancy_grid":
            single = representation.single_occupancy(side)
            return Encoding((1, representation.cells, representation.cells), 1,
                            lambda p: occupancy_grid(p, side, representation.cells, single), points)  # fmt: skip
        case "local_environment":
            k, r = representation.neighbours, representation.radius
            return Encoding((3 * k + 5,), n, lambda p: local_environments(p, side, k, r), points)


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


def local_environments(positions: Tensor, box_side: float, neighbours: int, radius: float) -> Tensor:
    """(B * N, 3k + 5): what each particle sees up to the radius, in units of it.

    Distances and vectors to the k nearest neighbours, nearest first (1 and 0 for those beyond); distances to the left,
    right, lower and upper wall, at most 1; and the height in units of L.

    Args:
        positions: (B, N, 2), in σ.
        box_side: L, in σ.
        neighbours: k; where there are fewer, the rest is empty.
        radius: in σ.
    """
    b, n, _ = positions.shape
    distances = pair_distances(positions)
    distances.diagonal(dim1=1, dim2=2).fill_(float("inf"))
    nearest, index = distances.topk(min(neighbours, n - 1), largest=False)  # (B, N, k)
    others = positions.gather(1, index.flatten(1).unsqueeze(-1).expand(-1, -1, 2)).view(b, n, nearest.shape[2], 2)
    seen = nearest < radius
    vectors = torch.where(seen.unsqueeze(-1), (others - positions.unsqueeze(2)) / radius, 0.0)
    nearest = torch.where(seen, nearest / radius, 1.0)
    missing = neighbours - nearest.shape[2]
    nearest = torch.nn.functional.pad(nearest, (0, missing), value=1.0)
    vectors = torch.nn.functional.pad(vectors, (0, 0, 0, missing))
    walls = torch.cat([positions, box_side - positions], dim=2)[..., [0, 2, 1, 3]].clamp(max=radius) / radius
    height = positions[..., 1:] / box_side
    return torch.cat([nearest, vectors.flatten(2), walls, height], dim=2).flatten(0, 1)
