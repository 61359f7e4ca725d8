"""What a data set holds."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCHEMA_VERSION = 3

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
OBSERVABLES = 3  # that pilots watch
ATTRIBUTES = {
    "schema_version": "iu", "metadata_checksum": "iu", "first_row": "iu", "identity": "U", "config": "U", "system": "U",
    "protocol": "U", "fingerprint": "U", "content": "U", "seed": "iu", "configurations": "iu",
    "samples_per_chain": "iu",
}  # fmt: skip
"""Kind of each attribute as NumPy names it: text, or an integer."""
PER_ENSEMBLE: dict[str, tuple[str, tuple[int | None, ...]]] = {
    "gamma": ("f", ()), "ensemble": ("i", ()), "key": ("S", ()), "step": ("f", ()), "sweeps": ("i", ()),
    "interval": ("i", ()), "pilot/mean": ("f", (OBSERVABLES,)), "pilot/error": ("f", (OBSERVABLES,)),
    "pilot/converged": ("b", ()), "pilot/rhat": ("f", (OBSERVABLES,)), "pilot/ess": ("f", (OBSERVABLES,)),
    "pilot/tau": ("f", (OBSERVABLES,)), "pilot/difference": ("f", (OBSERVABLES,)),
    "pilot/difference_error": ("f", (OBSERVABLES,)), "pilot/acceptance": ("f", ()), "pilot/burn_in": ("i", ()),
    "pilot/interval": ("i", ()), "pilot/length": ("i", ()), "pilot/step": ("f", ()),
    "pilot/trace_sweeps": ("i", (None,)), "pilot/traces": ("f", (None, OBSERVABLES, None)),
}  # fmt: skip
"""Kind, and shape after the first axis, of what is stored of each ensemble."""


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


def metadata_checksum(attributes: Mapping[str, Any], ensembles: Mapping[str, NDArray[Any]]) -> np.uint32:
    """CRC-32 over attributes, without the one that holds it, and over what is stored of each ensemble."""
    crc = 0
    places = {name: (attributes, name) for name in attributes if name != "metadata_checksum"}
    places |= {f"ensembles/{name}": (ensembles, name) for name in ensembles}
    for name, (where, key) in sorted(places.items(), key=lambda item: item[0]):
        value = where[key]
        data = value.encode() if isinstance(value, str) else np.ascontiguousarray(value).tobytes()
        crc = zlib.crc32(data, zlib.crc32(name.encode(), crc))
    return np.uint32(crc)


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
