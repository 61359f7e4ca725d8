"""Formats of other programs: a data set written as one of them, and configurations read from them."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import extxyz
import gsd.hoomd
import numpy as np
from extxyz.cextxyz import ExtXYZError
from numpy.typing import NDArray

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.schema import COLUMNS

Advance = Callable[[float], None]
SCALARS = tuple(name for name in COLUMNS if name != "positions")


class Configuration(NamedTuple):
    """One configuration of a file.

    Attributes:
        place: where it stands there, for messages.
        positions: (N, 2) float64, in σ.
        gamma: γ as the file tells it, if it does.
        box_side: L in σ as the file tells it, if it does.
    """

    place: str
    positions: NDArray[np.float64]
    gamma: Any = None
    box_side: Any = None


def write_extxyz(path: Path, data: Dataset, box_side: float, advance: Advance) -> None:
    """Writes extended XYZ: a frame per row, the cell L x L x 1 σ³, not periodic, the other columns as frame properties.

    Every number reads back as the same float. The extxyz library, which reads such files below, would round frame
    properties to 8 decimals and wrap integers to 32 bits. Particles are of species X, no element.

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
        for block, columns in data.blocks(range(data.rows)):
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
        for block, columns in data.blocks(range(data.rows)):
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
    with path.open("wb") as file:
        arrays: dict[str, Any] = {**data.mapped(), "box_side": np.array(box_side)}
        np.savez(file, **arrays)
    advance(data.rows)


WRITERS = {".xyz": write_extxyz, ".extxyz": write_extxyz, ".gsd": write_gsd, ".npz": write_npz}


def read_configurations(path: Path) -> Iterator[Configuration]:
    """Reads a file one configuration at a time: .npz, .xyz and .extxyz by suffix, anything else as text.

    Text holds a configuration per line, x1 y1 x2 y2 ... in σ; lines that begin with # are comments. A NumPy archive
    holds `positions` (n, N, 2), and maybe `gamma`, (n,) or one number, and `box_side`. Frames of extended XYZ may
    have a `gamma` and a lattice.

    Raises:
        UserError: a missing, damaged or empty file, with the line or configuration.
    """
    empty = True
    try:
        for configuration in READERS.get(path.suffix.lower(), _read_text)(path):
            empty = False
            yield configuration
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    if empty:
        raise UserError(f"{path} holds no configuration")


def _read_text(path: Path) -> Iterator[Configuration]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            try:
                numbers = np.array(words, dtype=np.float64)
            except ValueError as error:
                raise UserError(f"{path}, line {number}: {error}; expected numbers x1 y1 x2 y2 ...") from None
            if len(numbers) % 2:
                raise UserError(f"{path}, line {number}: {len(numbers)} numbers, x and y do not pair up")
            yield Configuration(f"line {number}", numbers.reshape(-1, 2))


def _read_extxyz(path: Path) -> Iterator[Configuration]:
    frames = extxyz.iread_dicts(path, slice(_count_frames(path)))
    number, line = 1, 1
    while True:
        place = f"configuration {number}, line {line}"
        try:
            frame = next(frames, None)
        except (ExtXYZError, ValueError, AttributeError) as error:  # the last for a Lattice of words
            raise UserError(f"{path}, {place}: not extended XYZ: {error}") from None
        if frame is None:
            return
        positions = np.asarray(frame.arrays.get("pos", []), np.float64)
        if positions.shape == (frame.natoms, 3) and not positions[:, 2].any():
            positions = positions[:, :2]
        side = frame.cell[0, 0] if frame.cell.any() else None
        if side is not None and not np.array_equal(frame.cell[:2, :2], side * np.eye(2)):
            raise UserError(f"{path}, {place}: the lattice is not a square along x and y")
        yield Configuration(place, positions, frame.info.get("gamma"), side)
        number, line = number + 1, line + frame.natoms + 2


def _count_frames(path: Path) -> int:
    """Number of frames of a file; where one is cut short the library would stop silently, or crash."""
    with path.open(encoding="utf-8", errors="replace") as file:
        frames, line = 0, 1
        for header in file:
            if not header.strip() and not any(rest.strip() for rest in file):
                break
            try:
                lines = int(header) + 1
                complete = lines > 1 and sum(1 for _ in islice(file, lines)) == lines
            except ValueError:
                raise UserError(f"{path}, line {line}: expected a number of particles, not {header!r:.40}") from None
            if not complete:
                raise UserError(f"{path}, configuration {frames + 1}, line {line}: it is cut short, or empty")
            frames, line = frames + 1, line + lines + 1
    return frames


def _read_npz(path: Path) -> Iterator[Configuration]:
    try:
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in ("positions", "gamma", "box_side") if name in archive.files}
            names = archive.files
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is not a NumPy archive, or damaged: {error}") from None
    if "positions" not in arrays:
        raise UserError(f"{path} has no array positions, only: {', '.join(names)}")
    n = len(arrays["positions"]) if arrays["positions"].ndim else 0
    for name, values in arrays.items():
        if values.dtype.kind not in "fiu":
            raise UserError(f"{path}: {name} holds {values.dtype}, not numbers")
        if name != "positions" and values.shape not in ((), (n,)):
            raise UserError(f"{path}: {name} has shape {values.shape}, expected one number or ({n},)")
    others = [np.broadcast_to(arrays[name], n) if name in arrays else [None] * n for name in ("gamma", "box_side")]
    for k, (row, gamma, side) in enumerate(zip(arrays["positions"], *others, strict=True), 1):
        yield Configuration(f"configuration {k}", row, gamma, side)


READERS = {".npz": _read_npz, ".xyz": _read_extxyz, ".extxyz": _read_extxyz}
