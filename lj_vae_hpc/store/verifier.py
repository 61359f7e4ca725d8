"""Checks a data set against its checksums and against recomputed energies."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.store.reader import Dataset, open_hdf5
from lj_vae_hpc.store.schema import COLUMNS, Columns, row_checksums

Energy = Callable[[Columns], NDArray[np.float64]]


def find_damage(path: Path, energy: Energy, fingerprint: str, first_row: int | None = None) -> str | None:
    """What is wrong with a segment; None if nothing is.

    Args:
        path: the segment's file.
        energy: computes (n,) energies in ε from the columns.
        fingerprint: of the plan that the segment must belong to.
        first_row: row of the data set that it must begin with; None if that is not known.
    """
    try:
        open_hdf5(path).close()
        with Dataset(path) as data:
            if data.attributes["fingerprint"] != fingerprint:
                return "belongs to another data set"
            if first_row is not None and data.attributes["first_row"] != first_row:
                return f"begins with row {data.attributes['first_row']}, not {first_row}: it is another segment"
            for block, columns in data.blocks(range(data.rows)):
                stored = data.checksums(block)
                bad = np.flatnonzero(row_checksums(columns) != stored)
                if len(bad):
                    return f"{len(bad)} rows differ from their checksums, the first is row {block.start + bad[0]}"
                wrong = np.flatnonzero(~np.isclose(columns["energy"], energy(columns), rtol=1e-9, atol=1e-9))
                if len(wrong):
                    return f"{len(wrong)} stored energies are wrong, the first in row {block.start + wrong[0]}"
    except UserError as error:
        return str(error)
    except (OSError, KeyError, RuntimeError) as error:
        return f"cannot be read: {' '.join(str(error).split())}"
    return None


def row_digest(columns: Columns) -> bytes:
    """Bytes of the rows of every column in order, for a digest of a data set's content."""
    return b"".join(np.ascontiguousarray(columns[name]).tobytes() for name in COLUMNS)
