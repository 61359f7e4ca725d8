"""Segments: the rows of an ensemble that are written at once, by all ranks together.

A segment is named after its rows and appears by rename when it is complete. The segments of an ensemble are what
sampling continues from after a kill, and what a data set is made of.
"""

import os
import re
from collections.abc import Callable
from functools import partial as bind
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.run.files import flush, publish, unfinished, writing
from lj_vae_hpc.store.schema import CHECKSUM, COLUMNS, SCHEMA_VERSION, Columns, metadata_checksum, row_checksums, shape

T = TypeVar("T")
NAME = re.compile(r"(\d{10})-(\d{10})\.h5")


def segment_path(folder: Path, rows: range) -> Path:
    """The file of some rows of the ensemble whose folder is given."""
    return folder / f"{rows.start:010d}-{rows.stop:010d}.h5"


def finished_segments(folder: Path) -> list[range]:
    """Rows of each finished segment of an ensemble, in order."""
    names = (NAME.fullmatch(path.name) for path in folder.glob("*.h5"))
    return sorted((range(int(n[1]), int(n[2])) for n in names if n), key=lambda rows: rows.start)


def missing_rows(finished: list[range], configurations: int) -> list[range]:
    """The rows of the first `configurations` that no finished segment holds."""
    edges = [0, *(edge for rows in finished for edge in (rows.start, rows.stop)), max(0, configurations)]
    gaps = (range(a, min(b, configurations)) for a, b in zip(edges[::2], edges[1::2], strict=True))
    return [gap for gap in gaps if len(gap)]


class Together(NamedTuple):
    """How ranks write one file together."""

    hdf5: dict[str, Any]
    """Arguments of h5py.File with which all ranks open it (World.hdf5)."""
    agree: Callable[[str | None], None]
    """Told what went wrong here or None; raises on every rank if any has a problem (World.agree). Called after every
    step, so that no rank waits in the next one for a rank that has failed."""
    on_root: Callable[[Callable[[], Any]], Any]
    """Runs an action on rank 0 and gives its result to all (World.on_root)."""


def attempt(together: Together, action: Callable[[], T]) -> T:
    """One step of what all ranks do.

    Raises:
        UserError: the action raised one on some rank; every rank raises the first of them.
    """
    result, problem = None, None
    try:
        result = action()
    except UserError as error:
        problem = str(error)
    together.agree(problem)
    return result  # type: ignore[return-value]


def write_together(partial: Path, together: Together, write_rows: Callable[[h5py.File], None]) -> None:
    """Opens a file that rank 0 has made on every rank, has each write its rows, and closes it.

    Raises:
        UserError: the file cannot be written, or what writing the rows raises; the same on every rank.
    """
    file = attempt(together, writing(partial)(lambda: h5py.File(partial, "r+", **together.hdf5)))
    attempt(together, bind(write_rows, file))
    # Not closed after an error: MPI-IO can crash closing a file that it could not write.
    attempt(together, writing(partial)(file.close))
    attempt(together, writing(partial)(bind(flush, partial)))  # by every rank: it covers what its own node wrote


def write_segment(
    folder: Path, rows: range, mine: range, columns: Columns, attributes: dict[str, Any], together: Together
) -> None:
    """Writes one segment; every rank makes the same call with its own rows.

    Args:
        folder: of the ensemble.
        rows: rows of the ensemble that the segment holds.
        mine: the part of them given here; empty where there are more ranks than rows.
        columns: arrays of the columns for `mine`.
        attributes: stored with the segment.
        together: the ranks.

    Raises:
        UserError: the file cannot be written (disk full, no permission).
    """
    path, known = segment_path(folder, rows), {"first_row": rows.start, **attributes}
    partial = together.on_root(bind(create, path, len(rows), columns["positions"].shape[1], known, {}))

    def write_rows(file: h5py.File) -> None:
        for name, values in with_checksums(columns).items():
            write = bind(_write_rows, file[name], rows, mine, values, collective=bool(together.hdf5))
            attempt(together, writing(partial)(write))

    write_together(partial, together, write_rows)
    together.on_root(bind(finish, partial, path))


def create(
    path: Path, rows: int, n_particles: int, attributes: dict[str, Any], ensembles: dict[str, NDArray[Any]]
) -> Path:
    """A file beside its place with everything but its rows, and all the space for them.

    One rank makes it, so that its bytes do not depend on how many write, and since MPI-IO does not handle a full disk
    well.
    """
    partial = unfinished(path)
    with writing(path):
        with h5py.File(partial, "w") as file:
            known = {"schema_version": SCHEMA_VERSION, **attributes}
            file.attrs.update(known | {"metadata_checksum": metadata_checksum(known, ensembles)})
            for name, values in ensembles.items():
                file.create_dataset(f"ensembles/{name}", data=values)
            _create_columns(file, rows, n_particles)
            size = file.id.get_filesize()
        reserve(partial, size)
    return partial


def _write_rows(data: h5py.Dataset, rows: range, mine: range, values: NDArray[Any], collective: bool) -> None:
    """Writes this rank's rows; if collective, every rank takes part, one without rows with an empty selection."""
    transfer = h5py.h5p.create(h5py.h5p.DATASET_XFER)
    if collective:
        transfer.set_dxpl_mpio(h5py.h5fd.MPIO_COLLECTIVE)
    there, here = data.id.get_space(), h5py.h5s.create_simple(values.shape)
    if len(mine):
        there.select_hyperslab((mine.start - rows.start,) + (0,) * (values.ndim - 1), values.shape)
    else:
        there.select_none()
        here.select_none()
    data.id.write(here, there, np.ascontiguousarray(values), dxpl=transfer)


def _create_columns(file: h5py.File, rows: int, n_particles: int) -> None:
    """Makes an empty data set per column, with unit and meaning."""
    for name, column in (*COLUMNS.items(), ("checksum", CHECKSUM)):
        kind, space = h5py.h5t.py_create(np.dtype(column.dtype)), h5py.h5s.create_simple(shape(name, rows, n_particles))
        data = h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, row_plan()))
        data.attrs["unit"], data.attrs["meaning"] = column.unit, column.meaning


def row_plan() -> h5py.h5p.PropDCID:
    """How a data set is made whose rows are all written later, by any number of ranks."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plan.set_obj_track_times(False)  # the same bytes at any time
    return plan


def with_checksums(columns: Columns) -> Columns:
    """The columns in the types they are stored in, and their checksums."""
    stored = {name: columns[name].astype(COLUMNS[name].dtype, copy=False) for name in COLUMNS}
    return stored | {"checksum": row_checksums(columns)}


def reserve(path: Path, size: int) -> None:
    """Takes the space of a file that is about to be written."""
    with path.open("rb+") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def finish(partial: Path, path: Path) -> None:
    """Gives a written file its name, once its bytes are on disk; one rank calls this."""
    with writing(path):
        publish(partial, path)
