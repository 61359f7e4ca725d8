"""Writes a data set: one plain file with the rows of every ensemble, copied from their segments by all ranks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial as bind
from io import FileIO
from pathlib import Path
from typing import Any

import h5py
from numpy.typing import NDArray

from lj_vae_hpc.errors import COMMAND, UserError
from lj_vae_hpc.run.files import publish, unfinished, writing
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.schema import COLUMNS, SCHEMA_VERSION, metadata_checksum
from lj_vae_hpc.store.segments import (
    Together,
    create,
    finish,
    finished_segments,
    missing_rows,
    segment_path,
    write_together,
)
from lj_vae_hpc.store.tables import Table

COPIED = (*COLUMNS, "checksum")


def write_dataset(
    target: Path, folders: Sequence[Path], configurations: int, n_particles: int, attributes: dict[str, Any],
    ensembles: dict[str, NDArray[Any]], mine: range, together: Together,
) -> None:  # fmt: skip
    """Writes one self-contained file; every rank makes the same call with its own rows.

    Args:
        target: the file, which appears when it is complete.
        folders: of the ensembles' segments, in order of γ.
        configurations: of each ensemble.
        n_particles: N.
        attributes: stored with the file.
        ensembles: one array per property, a value per ensemble, stored under /ensembles.
        mine: the rows that this rank copies.
        together: the ranks.

    Raises:
        UserError: the file cannot be written (disk full, no permission), or a segment cannot be read.
    """
    rows = len(folders) * configurations
    together.on_root(bind(_make_room, target))
    partial = together.on_root(bind(create, target, rows, n_particles, attributes, ensembles))

    @writing(partial)
    def write_rows(file: h5py.File) -> None:
        for number in range(mine.start // configurations, -(-mine.stop // configurations) if len(mine) else 0):
            first = number * configurations
            part = range(max(mine.start - first, 0), min(mine.stop - first, configurations))
            _copy(folders[number], part, file, first)

    write_together(partial, together, write_rows)
    together.on_root(bind(finish, partial, target))


def _make_room(target: Path) -> None:
    """The folder of a file, without what a killed run left of the file."""
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        for leftover in target.parent.glob(f"{target.name}.*.partial*"):
            leftover.unlink()


def _copy(folder: Path, rows: range, file: h5py.File, first: int) -> None:
    """Copies rows of one ensemble to where its first row is in the file."""
    segments = finished_segments(folder)
    if missing_rows(segments, rows.stop):
        raise UserError(f"{folder} misses configurations; run `{COMMAND} generate` again")
    for held in segments:
        part = range(max(held.start, rows.start), min(held.stop, rows.stop))
        if not len(part):
            continue
        with Dataset(segment_path(folder, held)) as segment:
            if segment.rows != len(held):
                raise UserError(f"{segment.path} holds {segment.rows} configurations, not the {len(held)} of its name")
            to = first + held.start
            for block, columns in segment.blocks(range(part.start - held.start, part.stop - held.start), COPIED):
                for name, values in columns.items():
                    file[name][to + block.start : to + block.stop] = values


def read_small_hdf5(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Attributes and arrays of a file of write_small_hdf5.

    Raises:
        Damaged: it is damaged, or not such a file.
        OSError: it cannot be read.
    """
    with Table(path) as table:
        return table.attributes, dict(table.group())


def write_small_hdf5(path: Path, fill: Callable[[h5py.File], None]) -> None:
    """Writes an HDF5 file that one rank fills; memory does not grow with it.

    Args:
        path: the file, which appears when complete.
        fill: puts its content into the open file.

    Raises:
        UserError: the file cannot be written (disk full, no permission).
    """
    partial = unfinished(path)  # others may write the same at this time
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with opened_hdf5(partial) as file:
                file.attrs["schema_version"] = SCHEMA_VERSION
                fill(file)
                file.attrs["metadata_checksum"] = metadata_checksum(dict(file.attrs), _stored(file))
            publish(partial, path)
    except UserError:
        with suppress(OSError):
            partial.unlink()
        raise


@contextmanager
def opened_hdf5(path: Path) -> Iterator[h5py.File]:
    """Opens a new HDF5 file under its own name; memory does not grow with it.

    Args:
        path: the file.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("w+b", buffering=0) as raw:
        sink = _Sink(raw)
        try:
            with h5py.File(sink, "w") as file:
                yield file
        finally:
            if sink.error:
                raise sink.error


class _Sink:
    """A file for HDF5, which can crash in one that it cannot write: the first error is kept, and nothing more written.

    Args:
        file: unbuffered, open for reading and writing.

    Attributes:
        error: the first, if there was one.
    """

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self.error: OSError | None = None
        self.seek, self.tell, self.readinto, self.flush = file.seek, file.tell, file.readinto, file.flush

    def read(self, size: int = -1) -> bytes:
        """Some bytes; by this h5py knows a file."""
        return self._file.read(size) or b""

    def write(self, data: Any) -> int:
        """Writes all of it, or nothing after an error."""
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while len(left) and not self.error:
                left = left[self._file.write(left) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Sets the length of the file."""
        try:
            if not self.error:
                return self._file.truncate(size)
        except OSError as error:
            self.error = error
        return size or 0


def _stored(file: h5py.File) -> dict[str, h5py.Dataset]:
    """What an open file holds, by name."""
    found: dict[str, h5py.Dataset] = {}
    file.visititems(lambda name, item: found.update({name: item} if isinstance(item, h5py.Dataset) else {}))
    return found
