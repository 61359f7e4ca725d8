"""What physics alone tells of a configuration."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.system import System
from lj_vae_hpc.physics.energies import height_sum, pair_energy
from lj_vae_hpc.physics.observables import smallest_distance

Arrays = dict[str, NDArray[Any]]
Columns = Mapping[str, NDArray[Any]]
"""Arrays that may be read only where they are used."""


class Chosen(Mapping[str, NDArray[Any]]):
    """Some rows of columns.

    Args:
        columns: of n rows each.
        which: (n,) whether a row is among them.
    """

    def __init__(self, columns: Columns, which: NDArray[np.bool_]) -> None:
        self._columns, self._which = columns, which

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._columns[name][self._which]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def observables(positions: NDArray[np.float32], system: System) -> Arrays:
    """What the best possible detectors look at, each (n,), for positions (n, N, 2) in σ.

    pair_energy under the system's potential in ε; height_sum Σ y and smallest_distance in σ; outside, the number of
    particles outside the box.
    """
    return {
        "pair_energy": pair_energy(positions, system.pair_potential),
        "height_sum": height_sum(positions),
        "smallest_distance": smallest_distance(positions),
        "outside": count_outside(positions, system.box_side),
    }


def count_outside(positions: NDArray[np.float32], box_side: float) -> NDArray[np.int64]:
    """(n,) number of particles outside the box of side L, which is rounded as the positions are."""
    inside = ((positions >= 0) & (positions <= np.float32(box_side))).all(axis=2)
    return np.asarray((~inside).sum(axis=1))
