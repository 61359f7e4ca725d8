"""Reads data sets, and says what is wrong with those that cannot be read."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.store.schema import COLUMNS, SCHEMA_VERSION, Columns, Layout, row_checksums

ROWS_AT_ONCE = 16_384


def open_hdf5(path: Path) -> h5py.File:
    """Opens a file of this program for reading.

    Raises:
        UserError: missing, empty, truncated, not HDF5, not written by this program, or of another schema version.
    """
    try:
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty; if lj-vae wrote it, delete it and run `lj-vae generate` again")
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        reason = "it is cut short" if "truncated" in str(error) else "it is not an HDF5 file, or damaged"
        reason += "; if lj-vae wrote it, delete it and run `lj-vae generate` again"
        if isinstance(error, PermissionError) or "Permission" in str(error):
            reason = "no permission"
        raise UserError(f"cannot read {path}: {reason}") from None
    version = file.attrs.get("schema_version")
    if version is None or "positions" not in file:
        file.close()
        raise UserError(f"{path} was not written by lj-vae: it has no schema_version or no positions")
    if version != SCHEMA_VERSION:
        file.close()
        raise UserError(f"{path} has schema version {version}; this lj-vae reads version {SCHEMA_VERSION}")
    return file


class Dataset:
    """A data set or a segment opened for reading.

    Args:
        path: the file.

    Attributes:
        path: the file.
        rows: number of configurations.
        n_particles: N.
        attributes: the file's attributes.

    Raises:
        UserError: as open_hdf5.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_hdf5(self.path)
        self.rows, self.n_particles = self._file["positions"].shape[:2]
        self.attributes: dict[str, Any] = dict(self._file.attrs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    @property
    def layout(self) -> Layout:
        """Which row is which.

        Raises:
            UserError: the file is a segment, whose rows are part of an ensemble.
        """
        if "configurations" not in self.attributes:
            raise UserError(f"{self.path} is a segment of an ensemble; name the dataset.h5 of a run")
        gammas = tuple(map(float, self._file["ensembles/gamma"][:]))
        return Layout(gammas, int(self.attributes["configurations"]), int(self.attributes["samples_per_chain"]))

    @property
    def box_side(self) -> float | None:
        """L in σ of the system that it was sampled from, if it says so."""
        if "system" not in self.attributes:
            return None
        return float(json.loads(self.attributes["system"])["box_side"])

    def checked_blocks(self) -> Iterator[tuple[range, Columns]]:
        """Every column of all rows in blocks, compared with their checksums.

        Raises:
            UserError: a row is damaged.
        """
        for block, columns in self.blocks(range(self.rows), (*COLUMNS, "checksum")):
            bad = np.flatnonzero(row_checksums(columns) != columns["checksum"])
            if len(bad):
                raise UserError(f"{self.path}, row {block.start + bad[0]}: damaged, it differs from its checksum")
            yield block, columns

    def read(self, rows: range, names: tuple[str, ...] = tuple(COLUMNS)) -> Columns:
        """The named columns of a contiguous range of rows."""
        return {name: self._file[name][rows.start : rows.stop] for name in names}

    def mapped(self) -> dict[str, NDArray[Any]]:
        """Every column as an array that is read from the file where it is used."""
        columns = {name: self._file[name] for name in COLUMNS}
        return {
            name: np.memmap(self.path, data.dtype, "r", data.id.get_offset(), data.shape)
            for name, data in columns.items()
        }

    def blocks(self, rows: range, names: tuple[str, ...] = tuple(COLUMNS)) -> Iterator[tuple[range, Columns]]:
        """The same in blocks, so that memory does not grow with the data set."""
        for start in range(rows.start, rows.stop, ROWS_AT_ONCE):
            block = range(start, min(start + ROWS_AT_ONCE, rows.stop))
            yield block, self.read(block, names)

    def ensembles(self) -> dict[str, NDArray[Any]]:
        """What is stored of each ensemble: gamma, step, sweeps, interval and, where pilots were run, pilot/NAME."""
        found: dict[str, NDArray[Any]] = {}

        def collect(name: str, item: h5py.Dataset | h5py.Group) -> None:
            if isinstance(item, h5py.Dataset):
                found[name] = np.asarray(item)

        if "ensembles" in self._file:
            self._file["ensembles"].visititems(collect)
        return found
