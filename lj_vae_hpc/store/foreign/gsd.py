"""GSD with the schema of HOOMD."""

from collections.abc import Iterator
from math import isclose
from pathlib import Path
from typing import Any

import gsd.fl
import numpy as np

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.store.foreign.configuration import Configuration


def read_gsd(file: Path, path: Path, box_side: float) -> Iterator[Configuration]:
    """The frames; their box is centred on the origin, which is moved to the corner."""
    with gsd.fl.open(str(file), "r") as frames:
        for row in range(frames.nframes):

            def chunk(name: str, row: int = row) -> Any:
                """As the schema has it: what a frame does not hold is as in the first one."""
                held = next((k for k in (row, 0) if frames.chunk_exists(frame=k, name=name)), None)
                return None if held is None else frames.read_chunk(frame=held, name=name)

            place = f"row {row}"
            positions, box, gamma = (chunk(name) for name in ("particles/position", "configuration/box", "log/gamma"))
            if positions is None or box is None or positions.ndim != 2 or box.shape != (6,):
                raise UserError(f"{path}, {place}: a frame without positions or box; the HOOMD schema has them")
            if box[0] != box[1] or box[3]:
                raise UserError(f"{path}, {place}: the box is not a square along x and y")
            if positions.shape[1] == 3 and not positions[:, 2].any():
                positions = positions[:, :2]
            side = box_side if isclose(box[0], box_side, rel_tol=1e-6) else float(box[0])  # stored as float32
            gamma = None if gamma is None else gamma[0]
            yield Configuration(place, positions + np.float64(side / 2), gamma, side, in_corner=True)
