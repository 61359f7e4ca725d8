"""The section `representation`: what the network sees of a configuration."""

import math
from typing import Annotated, Literal, Self

from pydantic import StrictBool, model_validator

from lj_vae_hpc.config.base import Count, Length, Section, between

CLOSEST = 0.85  # σ; two particles are hardly ever nearer at T < 1 (u = 33 ε there under Lennard-Jones)


class Representation(Section):
    """What the network sees of a configuration."""

    kind: Literal["coordinates", "distance_matrix", "occupancy_grid", "local_environment"] = "coordinates"
    """coordinates: of the particles in order, in units of L√2. distance_matrix: Euclidean distances of the particles in
    order, in units of L√2. occupancy_grid: particles per cell of a square grid. local_environment: every particle is a
    sample of its own, its nearest neighbours and the walls seen from it."""
    ordering: Literal["y", "origin", "random"] = "y"
    """Particles sorted by height, by distance from the corner (0, 0), or (a control) shuffled."""
    landmarks: StrictBool = False
    """Adds the corners (0, 0) and (L, 0) as two points to the distance matrix, which makes it lossless: y >= 0."""
    cells: Annotated[Count, between(1, 1024, "a grid then has a million cells")] = 10
    """Cells of the occupancy grid along each side. Where they are so fine that no two particles share one, entries are
    0 or 1, otherwise counts."""
    neighbours: Annotated[Count, between(1, 1024, "an environment then holds 3,000 numbers")] = 8
    """Nearest neighbours in a local environment: vector and distance of each."""
    radius: Length = 3.0
    """Distance in σ beyond which a local environment does not see neighbours and walls."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.landmarks and self.kind != "distance_matrix":
            raise ValueError(f"landmarks: only a distance_matrix has landmarks, not {self.kind}")
        return self

    @property
    def has_positions(self) -> bool:
        """Whether positions of all particles, up to rigid motions, follow from it."""
        return self.kind in ("coordinates", "distance_matrix")

    def single_occupancy(self, box_side: float) -> bool:
        """Whether the cells of the grid are too small for two particles."""
        return box_side / self.cells * math.sqrt(2) <= CLOSEST
