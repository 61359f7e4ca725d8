"""Reads data sets: the one way in which any command opens a file of configurations in HDF5.

Opening checks the structure, types, shapes and sizes of everything in the file, and its attributes against their
checksum. Rows are compared with theirs by `checked_blocks`, which the commands use that read every row once; training
and evaluation, which read the rows of their own run many times, leave that to `lj-vae verify`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.run.files import check_regular
from lj_vae_hpc.store.plain import PlainFile
from lj_vae_hpc.store.schema import (
    ATTRIBUTES,
    CHECKSUM,
    COLUMNS,
    PER_ENSEMBLE,
    SCHEMA_VERSION,
    Columns,
    Layout,
    metadata_checksum,
    row_checksums,
    shape,
)
from lj_vae_hpc.store.structure import Damaged

ROWS_AT_ONCE = 16_384
BYTES_AT_ONCE = 1 << 27  # of positions, where there are many particles
BYTES_PER_ENSEMBLE, MOST_ENSEMBLES = 1 << 14, 100_000  # of what a file may say of its ensembles
MOST_PARTICLES = 1 << 22
ENSEMBLES = "ensembles/"


class Dataset:
    """A data set or a segment opened for reading.

    Args:
        path: the file.

    Attributes:
        path: the file.
        rows: number of configurations, at least 1.
        n_particles: N, at least 1.
        attributes: the file's attributes, those in ATTRIBUTES of the kind that stands there.

    Raises:
        UserError: missing, empty, cut short or damaged, not plain HDF5, not written by lj-vae, or of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        check_regular(path)
        try:
            self._file = PlainFile(path)
        except Damaged as error:
            raise UserError(f"cannot read {path}: {error}; expected a dataset.h5 of lj-vae") from None
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from None
        self.attributes = self._file.attributes
        try:
            self._check_version()
            self.rows, self.n_particles = self._check_columns()
            self._check_attributes()
        except UserError:
            self._file.close()
            raise
        except Damaged as error:
            self._file.close()
            raise UserError(f"cannot read {path}: {error}") from None

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
        gammas = tuple(map(float, self.ensembles().get("gamma", ())))
        found = Layout(gammas, int(self.attributes["configurations"]), int(self.attributes.get("samples_per_chain", 0)))
        if found.rows != self.rows or found.samples_per_chain < 1 or sorted(set(gammas)) != list(gammas):
            raise UserError(
                f"{self.path} is damaged: {self.rows} rows, not {found.configurations} of each of {len(gammas)} γ"
            )
        return found

    @property
    def box_side(self) -> float | None:
        """L in σ of the system that it was sampled from, if it names one.

        Raises:
            UserError: it names one that is none.
        """
        if "system" not in self.attributes:
            return None
        try:
            return float(json.loads(self.attributes["system"])["box_side"])
        except (KeyError, TypeError, ValueError):
            raise UserError(f"cannot read {self.path}: its attribute system is damaged") from None

    def read(self, rows: range, names: tuple[str, ...] = tuple(COLUMNS)) -> Columns:
        """The named columns of a contiguous range of rows."""
        try:
            return {name: self._file.read(name, rows.start, rows.stop) for name in names}
        except (Damaged, OSError) as error:
            raise UserError(f"cannot read {self.path}: {error}") from None

    def mapped(self) -> dict[str, NDArray[Any]]:
        """Every column as an array that is read from the file where it is used; chunks are read here."""
        arrays = {name: self._file.arrays[name] for name in COLUMNS}
        return {
            name: self._file.read(name)
            if array.chunks
            else np.memmap(self.path, array.dtype, "r", array.offset, array.shape)
            for name, array in arrays.items()
        }

    def blocks(self, rows: range, names: tuple[str, ...] = tuple(COLUMNS)) -> Iterator[tuple[range, Columns]]:
        """The same in blocks, so that memory does not grow with the data set."""
        at_once = max(1, min(ROWS_AT_ONCE, BYTES_AT_ONCE // (8 * self.n_particles)))
        for start in range(rows.start, rows.stop, at_once):
            block = range(start, min(start + at_once, rows.stop))
            yield block, self.read(block, names)

    def checked_blocks(self, rows: range | None = None) -> Iterator[tuple[range, Columns]]:
        """Every column of some rows, or of all, in blocks, compared with their checksums.

        Raises:
            UserError: naming the first row that is damaged.
        """
        layout = self.layout if "configurations" in self.attributes else None
        for block, columns in self.blocks(range(self.rows) if rows is None else rows, (*COLUMNS, "checksum")):
            wrong = row_checksums(columns) != columns["checksum"]
            self._report(wrong, block, "differ from their checksums")
            finite = [np.isfinite(columns[name].reshape(len(block), -1)).all(axis=1)
                      for name in ("positions", "energy", "gamma")]  # fmt: skip
            self._report(~np.logical_and.reduce(finite), block, "hold numbers that are not finite")
            if layout:
                gamma = np.array(layout.gammas)[np.arange(block.start, block.stop) // layout.configurations]
                self._report(columns["gamma"] != gamma, block, "are not of the γ of their ensemble")
            yield block, columns

    def ensembles(self) -> dict[str, NDArray[Any]]:
        """What is stored of each ensemble by name; data.md lists it."""
        names = [name for name in self._file.arrays if name.startswith(ENSEMBLES)]
        return {name.removeprefix(ENSEMBLES): self._file.read(name) for name in names}

    def names(self) -> list[str]:
        """What the configurations of each ensemble follow from, in order of γ.

        Its key, and where equilibrium was not proved how long its pilot was, as that had to end somewhere.
        """
        found = self.ensembles()
        keys = [key.decode() for key in found["key"].tolist()]
        if self.attributes["protocol"] != "equilibrated" or "pilot/converged" not in found:
            return keys
        how = zip(keys, found["pilot/converged"], found["pilot/length"], strict=True)
        return [key if proved else f"{key}, pilot of {length} sweeps" for key, proved, length in how]

    def _check_version(self) -> None:
        version = self.attributes.get("schema_version")
        if version is None or "positions" not in self._file.arrays:
            raise UserError(f"{self.path} was not written by lj-vae: it has no schema_version or no positions")
        if np.ndim(version) or version != SCHEMA_VERSION:
            raise UserError(f"{self.path} has schema version {version!s:.40}; this lj-vae reads {SCHEMA_VERSION}")

    def _check_columns(self) -> tuple[int, int]:
        """Rows and N, if every column has the type and the shape that the schema gives it."""
        found = self._file.arrays["positions"].shape
        if len(found) != 3 or found[2] != 2:
            raise UserError(f"cannot read {self.path}: positions has shape {found}, expected (n, N, 2)")
        rows, n_particles = found[:2]
        if not rows or not 1 <= n_particles <= MOST_PARTICLES:
            raise UserError(
                f"cannot read {self.path}: {rows} configurations of {n_particles} particles; expected at least one, of "
                f"1 to {MOST_PARTICLES}"
            )
        for name, column in (*COLUMNS.items(), ("checksum", CHECKSUM)):
            array, wanted = self._file.arrays.get(name), shape(name, rows, n_particles)
            if array is None:
                raise UserError(f"cannot read {self.path}: it has no data set {name}")
            if array.shape != wanted or array.dtype != np.dtype(column.dtype):
                raise UserError(
                    f"cannot read {self.path}: {name} is {array.dtype} {array.shape}, expected {column.dtype} {wanted}"
                )
        return rows, n_particles

    def _check_attributes(self) -> None:
        for name, value in self.attributes.items():
            kind: str = np.asarray(value).dtype.kind
            if name in ATTRIBUTES and (np.ndim(value) or kind not in ATTRIBUTES[name]):
                raise UserError(f"cannot read {self.path}: the attribute {name} is not what lj-vae writes")
        arrays = {name.removeprefix(ENSEMBLES): array for name, array in self._file.arrays.items()
                  if name.startswith(ENSEMBLES)}  # fmt: skip
        size = sum(array.dtype.itemsize * int(np.prod(array.shape)) for array in arrays.values())
        count = arrays["gamma"].shape[:1] if "gamma" in arrays else (0,)
        most = max(BYTES_AT_ONCE, BYTES_PER_ENSEMBLE * min(count[0], MOST_ENSEMBLES)) if count else 0
        for name, array in arrays.items():
            wanted, rest = PER_ENSEMBLE.get(name, (array.dtype.kind, array.shape[1:]))
            fits = len(array.shape) == 1 + len(rest) and all(
                r in (None, s) for r, s in zip(rest, array.shape[1:], strict=True)
            )
            if array.shape[:1] != count or array.dtype.kind != wanted or not fits or size > most:
                raise UserError(f"cannot read {self.path}: {ENSEMBLES}{name} has a wrong shape or type")
        if self.attributes.get("metadata_checksum") != metadata_checksum(self.attributes, self.ensembles()):
            raise UserError(f"cannot read {self.path}: damaged, its attributes or ensembles differ from their checksum")

    def _report(self, wrong: NDArray[np.bool_], block: range, what: str) -> None:
        bad = np.flatnonzero(wrong)
        if len(bad):
            raise UserError(f"{self.path} is damaged: {len(bad)} rows {what}, the first is row {block.start + bad[0]}")
