"""Tables: columns in an HDF5 file, which all ranks write together, some rows at a time, and which are read likewise."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial as bind
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.run.files import publish, unfinished, writing
from lj_vae_hpc.store.plain import PlainFile
from lj_vae_hpc.store.schema import SCHEMA_VERSION, metadata_checksum
from lj_vae_hpc.store.segments import Together, reserve, row_plan, write_together
from lj_vae_hpc.store.structure import Damaged

CHECKSUM = "metadata_checksum"
Layout = dict[str, tuple[str, tuple[int, ...]]]
"""Type, as NumPy writes it, and shape of every column by name; those in groups are GROUP/NAME."""


class Piece(NamedTuple):
    """Some rows of some columns."""

    start: int
    """The first of the rows."""
    rows: int
    """Of the whole columns."""
    columns: Mapping[str, NDArray[Any]]
    """Those rows, by name of the column."""

    @property
    def layout(self) -> Layout:
        """Of the whole columns."""
        return {name: (each.dtype.str, (self.rows, *each.shape[1:])) for name, each in self.columns.items()}


def plan(
    pieces: Iterator[Piece], gather: Callable[[Layout | None], list[Layout | None]]
) -> tuple[Layout, Iterator[Piece]]:
    """The layout that the pieces of all ranks have, which the first of them tells, and this rank's pieces.

    Args:
        pieces: of this rank; of the same columns everywhere.
        gather: gives every rank's value to all (World.gather).
    """
    first = next(pieces, None)
    found = [layout for layout in gather(first.layout if first else None) if layout]
    return (found[0] if found else {}), chain([first] if first else [], pieces)


def write_table(
    path: Path, layout: Layout, attributes: Mapping[str, Any], pieces: Iterable[Piece], together: Together
) -> None:
    """Writes a file whose bytes do not depend on the number of ranks; every rank makes the same call with its pieces.

    Memory is that of one piece.

    Args:
        path: the file, which appears when it is complete.
        layout: of all columns.
        attributes: stored with the file.
        pieces: what this rank writes; those of all ranks are every row of every column once.
        together: the ranks.

    Raises:
        UserError: the file cannot be written (disk full, no permission); whatever making a piece raises.
    """
    partial = together.on_root(bind(_create, path, layout, attributes))

    def write_rows(file: h5py.File) -> None:
        for piece in pieces:
            with writing(partial):  # not where the pieces are made, whose errors are others
                for name, values in piece.columns.items():
                    file[name][piece.start : piece.start + len(values)] = values

    try:
        write_together(partial, together, write_rows)
        together.on_root(bind(_finish, partial, path))
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _create(path: Path, layout: Layout, attributes: Mapping[str, Any]) -> Path:
    """The file with everything but its rows, and all the space for them."""
    partial = unfinished(path)  # others may write the same at this time
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(partial, "w") as file:
                file.attrs.update({"schema_version": SCHEMA_VERSION, **attributes, CHECKSUM: np.uint32(0)})
                for name, (dtype, shape) in layout.items():
                    file.create_dataset(name, shape, np.dtype(dtype), dcpl=row_plan())
                size = file.id.get_filesize()
            reserve(partial, size)
    except UserError:
        partial.unlink(missing_ok=True)
        raise
    return partial


def _finish(partial: Path, path: Path) -> None:
    """Adds the checksum and gives the file its name."""
    with writing(path):
        with Table(partial, checked=False) as table:
            checksum = table.checksum()
        with h5py.File(partial, "r+") as file:
            file.attrs.modify(CHECKSUM, checksum)
        publish(partial, path)


class Table:
    """A file of write_table or of write_small_hdf5, opened for reading.

    Args:
        path: the file.
        checked: whether all of it is compared with its checksum now.

    Attributes:
        attributes: the file's.

    Raises:
        Damaged: it is damaged, or not such a file.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path, checked: bool = True) -> None:
        self._file = PlainFile(path)
        self.attributes = self._file.attributes
        if checked and self.attributes.get(CHECKSUM) != self.checksum():
            self._file.close()
            raise Damaged("it differs from its checksum")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    @property
    def layout(self) -> Layout:
        """Of all columns."""
        return {name: (array.dtype.str, array.shape) for name, array in self._file.arrays.items()}

    def read(self, name: str, rows: range | None = None) -> NDArray[Any]:
        """A column, or some rows of it."""
        return self._file.read(name) if rows is None else self._file.read(name, rows.start, rows.stop)

    def group(self, name: str = "", rows: range | None = None) -> "Group":
        """The columns of a group.

        Args:
            name: of the group; empty for the whole file.
            rows: only these of each column.
        """
        return Group(self, f"{name}/" if name else "", rows)

    def checksum(self) -> np.uint32:
        """That of the content; some rows are in memory at a time."""
        return metadata_checksum(self.attributes, {name: _Column(self, name) for name in self._file.arrays})


class Group(Mapping[str, NDArray[Any]]):
    """Columns of a table by name, each read where it is used."""

    def __init__(self, table: Table, prefix: str, rows: range | None) -> None:
        self._table, self._prefix, self._rows = table, prefix, rows
        self._names = [name.removeprefix(prefix) for name in table.layout if name.startswith(prefix)]

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            raise KeyError(name)
        return self._table.read(self._prefix + name, self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Column:
    """A column of which slices are read."""

    def __init__(self, table: Table, name: str) -> None:
        self._table, self._name = table, name
        self.dtype, self.shape = table.layout[name]

    def __getitem__(self, which: Any) -> NDArray[Any]:
        return self._table.read(self._name, range(which.start, which.stop) if isinstance(which, slice) else None)
