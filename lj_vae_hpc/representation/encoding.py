"""The representation that a configuration asks for."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from lj_vae_hpc.config.representation import Representation
from lj_vae_hpc.config.system import System
from lj_vae_hpc.representation.coordinates import ordered_coordinates
from lj_vae_hpc.representation.distances import distance_matrix, pair_distances
from lj_vae_hpc.representation.environments import local_environments
from lj_vae_hpc.representation.occupancy import occupancy_grid


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
        return ordered_coordinates(positions, side, representation.ordering)

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
