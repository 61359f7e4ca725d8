"""What a data set holds."""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCHEMA_VERSION = 1
INDEX_NAME = "dataset.h5"
SEGMENT_FOLDER = "segments"

Columns = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Column:
    """One data set of the file, a value per configuration."""

    dtype: str
    unit: str
    meaning: str


COLUMNS = {
    "positions": Column("<f4", "sigma", "particle positions (n, N, 2), x to the right, y up, origin in a corner"),
    "energy": Column("<f8", "epsilon", "total energy U, pairs and gravity, computed in double precision"),
    "gamma": Column("<f8", "1", "m g sigma / epsilon"),
    "ensemble": Column("<i4", "1", "identity of the ensemble"),
    "chain": Column("<i8", "1", "identity of the Markov chain in its ensemble"),
    "acceptance": Column("<f4", "1", "share of accepted trial moves"),
}


def shape(name: str, rows: int, n_particles: int) -> tuple[int, ...]:
    """Shape of a column."""
    return (rows, n_particles, 2) if name == "positions" else (rows,)


def segment_name(k: int) -> str:
    """File name of segment k."""
    return f"{k:06d}.h5"


def row_checksums(columns: Columns) -> NDArray[np.uint32]:
    """(n,) CRC-32 of the bytes of each configuration over all columns, in the order of COLUMNS."""
    parts = [np.ascontiguousarray(columns[name], dtype=column.dtype) for name, column in COLUMNS.items()]
    sums = np.empty(len(parts[0]), np.uint32)
    for row in range(len(sums)):
        crc = 0
        for part in parts:
            crc = zlib.crc32(part[row].tobytes(), crc)
        sums[row] = crc
    return sums
