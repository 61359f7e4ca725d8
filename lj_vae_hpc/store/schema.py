"""What a data set holds."""

import math
import zlib
from collections.abc import Iterator, Mapping
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
CHECKED_AT_ONCE = 1 << 20  # bytes
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


def metadata_checksum(attributes: Mapping[str, Any], ensembles: Mapping[str, Any]) -> np.uint32:
    """CRC-32 over attributes, without the one that holds it, and over what is stored of each ensemble.

    Args:
        attributes: text, numbers or arrays, by name.
        ensembles: arrays by name, or what gives slices of them; some rows are in memory at a time.
    """
    crc = 0
    places = {name: (attributes, name) for name in attributes if name != "metadata_checksum"}
    places |= {f"ensembles/{name}": (ensembles, name) for name in ensembles}
    for name, (where, key) in sorted(places.items(), key=lambda item: item[0]):
        crc = zlib.crc32(name.encode(), crc)
        for data in _bytes(where[key]):
            crc = zlib.crc32(data, crc)
    return np.uint32(crc)


def _bytes(value: Any) -> Iterator[bytes]:
    """The bytes of an attribute or of an array, some rows at a time."""
    if isinstance(value, str):
        yield value.encode()
    elif not np.shape(value):
        yield np.ascontiguousarray(value[()] if hasattr(value, "shape") else value).tobytes()
    else:
        size = max(1, CHECKED_AT_ONCE // max(1, np.dtype(value.dtype).itemsize * math.prod(value.shape[1:])))
        for start in range(0, value.shape[0], size):
            yield np.ascontiguousarray(value[start : min(start + size, value.shape[0])]).tobytes()


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
