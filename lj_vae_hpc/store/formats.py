"""A data set written in the formats of other programs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gsd.hoomd
import numpy as np

from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.schema import COLUMNS

Advance = Callable[[float], None]
SCALARS = tuple(name for name in COLUMNS if name != "positions")


def write_extxyz(path: Path, data: Dataset, box_side: float, advance: Advance) -> None:
    """Writes extended XYZ: a frame per row, the cell L x L x 1 σ³, not periodic, the other columns as frame properties.

    Every number reads back as the same float. The extxyz library, with which foreign/xyz.py reads such files, would
    round frame properties to 8 decimals and wrap integers to 32 bits. Particles are of species X, no element.

    Args:
        path: the file.
        data: the data set.
        box_side: L in σ.
        advance: told the number of rows written.
    """
    head = f'{data.n_particles}\nLattice="{box_side} 0 0 0 {box_side} 0 0 0 1" pbc="F F F" '
    head += "Properties=species:S:1:pos:R:3 " + " ".join(f"{name}={{}}" for name in SCALARS) + "\n"
    atoms = "X %.9g %.9g 0\n" * data.n_particles
    with path.open("w", encoding="utf-8") as file:
        for block, columns in data.checked_blocks():
            scalars = zip(*(columns[name].tolist() for name in SCALARS), strict=True)
            for positions, values in zip(columns["positions"], scalars, strict=True):
                file.write(head.format(*values) + atoms % tuple(positions.ravel().tolist()))
            advance(len(block))


def write_gsd(path: Path, data: Dataset, box_side: float, advance: Advance) -> None:
    """Writes GSD with the two-dimensional HOOMD schema: a frame per row, its number as time step, log/COLUMN.

    A GSD box is centred on the origin, so L/2 is subtracted from every coordinate; in double precision, so that adding
    it gives the same float32. The schema knows only periodic boxes: ours is not. The library holds the index of its
    file in memory, about 350 bytes per row. Arguments as of write_extxyz.
    """
    frame = gsd.hoomd.Frame()
    frame.configuration.box, frame.configuration.dimensions = [box_side, box_side, 0, 0, 0, 0], 2
    frame.particles.N, frame.particles.types = data.n_particles, ["A"]
    with gsd.hoomd.open(path, "w", precision="double") as file:
        for block, columns in data.checked_blocks():
            for k, row in enumerate(block):
                frame.configuration.step = row
                frame.particles.position = np.zeros((data.n_particles, 3))
                frame.particles.position[:, :2] = columns["positions"][k] - np.float64(box_side / 2)
                frame.log = {name: columns[name][k : k + 1] for name in SCALARS}
                file.append(frame)
            advance(len(block))


def write_npz(path: Path, data: Dataset, box_side: float, advance: Advance) -> None:
    """Writes a NumPy archive: an array per column as it is stored, and box_side. Arguments as of write_extxyz.

    The columns are mapped, not read, so that memory does not grow with the data set.
    """
    for _ in data.checked_blocks():
        pass
    with path.open("wb") as file:
        arrays: dict[str, Any] = {**data.mapped(), "box_side": np.array(box_side)}
        np.savez(file, **arrays)
    advance(data.rows)


WRITERS = {".xyz": write_extxyz, ".extxyz": write_extxyz, ".gsd": write_gsd, ".npz": write_npz}
