"""What a data set holds."""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCHEMA_VERSION = 2

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
    "ensemble": Column("<i4", "1", "hash of what the ensemble is"),
    "chain": Column("<i8", "1", "number of the Markov chain in its ensemble"),
    "acceptance": Column("<f4", "1", "share of accepted trial moves"),
}
CHECKSUM = Column("<u4", "1", "CRC-32 of the configuration over the columns above")


@dataclass(frozen=True)
class Layout:
    """Which row of a data set is which: rows are ordered by γ, then by chain, then by sample of the chain.

    Attributes:
        gammas: γ of each ensemble, ascending.
        configurations: of each ensemble.
        samples_per_chain: configurations of each chain.
    """

    gammas: tuple[float, ...]
    configurations: int
    samples_per_chain: int

    @property
    def rows(self) -> int:
        """Configurations in all."""
        return len(self.gammas) * self.configurations


def shape(name: str, rows: int, n_particles: int) -> tuple[int, ...]:
    """Shape of a column."""
    return (rows, n_particles, 2) if name == "positions" else (rows,)


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
