"""Extended XYZ."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import extxyz
import numpy as np

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.store.foreign.configuration import Configuration

COLUMNS = "without `Properties=` in the second line of a frame, its columns are species, x, y and z"


def read_extxyz(file: Path, path: Path, box_side: float) -> Iterator[Configuration]:
    """The frames, with `gamma` and a lattice where they have them."""
    frames = extxyz.iread_dicts(file, slice(_count_frames(file, path)))
    row, line = 0, 1
    while True:
        place = f"row {row}, line {line}"
        try:
            frame = next(frames, None)
        except Exception as error:
            said = " ".join(str(error).split())
            raise UserError(f"{path}, {place}: not extended XYZ: {said:.200}; {COLUMNS}") from None
        if frame is None:
            return
        positions = np.asarray(frame.arrays.get("pos", []), np.float64)
        if positions.shape == (frame.natoms, 3) and not positions[:, 2].any():
            positions = positions[:, :2]
        side = frame.cell[0, 0] if frame.cell.any() else None
        if side is not None and not np.array_equal(frame.cell[:2, :2], side * np.eye(2)):
            raise UserError(f"{path}, {place}: the lattice is not a square along x and y")
        yield Configuration(place, positions, frame.info.get("gamma"), side)
        row, line = row + 1, line + frame.natoms + 2


def _count_frames(file: Path, path: Path) -> int:
    """Number of frames of a file; where one is cut short the library would stop silently, or crash."""
    with file.open(encoding="utf-8", errors="replace") as text:
        frames, line = 0, 1
        for header in text:
            if not header.strip() and not any(rest.strip() for rest in text):
                break
            try:
                lines = int(header) + 1
                complete = lines > 1 and sum(1 for _ in islice(text, lines)) == lines
            except ValueError:
                raise UserError(
                    f"{path}, row {frames}, line {line}: expected a number of particles, not {header!r:.40}"
                ) from None
            if not complete:
                raise UserError(f"{path}, row {frames}, line {line}: it is cut short, or empty")
            frames, line = frames + 1, line + lines + 1
    return frames
