"""Reads data sets, and says what is wrong with those that cannot be read."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.store.schema import COLUMNS, INDEX_NAME, SCHEMA_VERSION, SEGMENT_FOLDER, Columns, segment_name

ROWS_AT_ONCE = 16_384


def open_hdf5(path: Path) -> h5py.File:
    """Opens a file of this program for reading.

    Raises:
        UserError: missing, empty, truncated, not HDF5, not written by this program, or of another schema version.
    """
    try:
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty; delete it and generate it again")
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        reason = "it is cut short" if "truncated" in str(error) else "it is not an HDF5 file, or damaged"
        reason += "; if lj-vae wrote it, delete it and give `lj-vae generate` again"
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
    """A data set opened for reading.

    Args:
        path: a dataset.h5, a segment, or the folder that holds dataset.h5.
        check_segments: look at every segment first, since HDF5 reads a missing one silently as zeros. One rank
            that does suffices.

    Attributes:
        path: the file.
        rows: number of configurations.
        n_particles: N.
        attributes: the file's attributes.

    Raises:
        UserError: as open_hdf5, also for the segments.
    """

    def __init__(self, path: Path, check_segments: bool = True) -> None:
        self.path = path / INDEX_NAME if path.is_dir() else path
        self._file = open_hdf5(self.path)
        if check_segments:
            for segment in self.segments():
                open_hdf5(segment).close()
        self.rows, self.n_particles = self._file["positions"].shape[:2]
        self.attributes: dict[str, Any] = dict(self._file.attrs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def read(self, rows: range, names: tuple[str, ...] = tuple(COLUMNS)) -> Columns:
        """The named columns of a contiguous range of rows."""
        return {name: self._file[name][rows.start : rows.stop] for name in names}

    def checksums(self, rows: range) -> NDArray[np.uint32]:
        """(n,) stored checksums of a segment's rows."""
        return np.asarray(self._file["checksum"][rows.start : rows.stop])

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

    def segments(self) -> dict[Path, int]:
        """Files of the segments of an index and the first row of each, in order; none for a segment."""
        if not self._file["positions"].is_virtual:
            return {}
        sources = {s.file_name: s.vspace.get_select_bounds()[0][0] for s in self._file["positions"].virtual_sources()}
        return {self.path.parent / name: int(sources[name]) for name in sorted(sources, key=sources.__getitem__)}


def finished_segments(folder: Path, fingerprint: str, expected: list[range]) -> dict[int, range]:
    """Number and rows of the segments in a data folder that are complete and belong to a plan.

    Raises:
        UserError: a segment is damaged, or belongs to another plan.
    """
    found = {}
    for k, rows in enumerate(expected):
        path = folder / SEGMENT_FOLDER / segment_name(k)
        if path.exists():
            with open_hdf5(path) as file:
                if file.attrs["fingerprint"] != fingerprint:
                    raise UserError(f"{path} belongs to another configuration; choose another output folder (-o)")
                held = range(file.attrs["first_row"], file.attrs["first_row"] + len(file["energy"]))
                if held != rows:
                    raise UserError(f"{path} holds rows {held.start} to {held.stop}, not {rows.start} to {rows.stop}")
            found[k] = rows
    return found
