"""Checks a data set against its checksums and against recomputed energies."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.schema import COLUMNS, Columns

Energy = Callable[[Columns], NDArray[np.float64]]


def find_damage(path: Path, rows: range, energy: Energy) -> str | None:
    """What is wrong with some rows of a file; None if nothing is.

    Args:
        path: a data set or a segment.
        rows: the rows to check.
        energy: computes (n,) energies in ε from the columns.
    """
    try:
        with Dataset(path) as data:
            for block, columns in data.checked_blocks(rows):
                wrong = np.flatnonzero(~np.isclose(columns["energy"], energy(columns), rtol=1e-9, atol=1e-9))
                if len(wrong):
                    return f"{len(wrong)} stored energies are wrong, the first in row {block.start + wrong[0]}"
    except UserError as error:
        return str(error)
    return None


def row_digest(columns: Columns) -> bytes:
    """Bytes of the rows of every column in order, for a digest of a data set's content."""
    return b"".join(np.ascontiguousarray(columns[name]).tobytes() for name in COLUMNS)
