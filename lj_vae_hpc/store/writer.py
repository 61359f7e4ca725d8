"""Writes segments together with all ranks, and the index over the finished ones."""

import os
import secrets
from collections.abc import Callable
from functools import partial as bind
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.run.files import publish
from lj_vae_hpc.store.schema import (
    COLUMNS,
    INDEX_NAME,
    SCHEMA_VERSION,
    SEGMENT_FOLDER,
    Columns,
    row_checksums,
    segment_name,
    shape,
)


def unfinished(path: Path) -> Path:
    """A name for a segment while it is written, which no file had before; one rank calls this.

    Open MPI guards a file that it opens by a semaphore of the node that is called after the file, whatever its folder.
    One that a killed process or another user holds would block every later file of that name.
    """
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")


def write_segment(
    partial: Path,
    rows: range,
    mine: range,
    columns: Columns,
    fingerprint: str,
    hdf5: dict[str, Any],
    agree: Callable[[str | None], None],
) -> None:
    """Writes one segment; every rank calls this with its own rows. finish_segment gives it its name.

    Args:
        partial: the segment's file until it is finished, new (unfinished), the same on every rank.
        rows: rows of the data set that the segment holds.
        mine: the part of them given here; empty where there are more ranks than rows.
        columns: arrays of the columns for `mine`.
        fingerprint: identifies the plan the rows belong to.
        hdf5: arguments of h5py.File with which all ranks open one file (World.hdf5).
        agree: told what went wrong here or None; raises on every rank if any has a problem (World.agree). After every
            step, so that no rank waits in the next one for a rank that has failed.

    Raises:
        UserError: the file cannot be written (disk full, no permission).
    """
    n_particles = columns["positions"].shape[1]

    def step(action: Callable[[], Any]) -> Any:
        result, problem = None, None
        try:
            result = action()
        except (OSError, RuntimeError) as error:
            problem = f"cannot write {partial}: {_reason(error, partial.parent)}"
        agree(problem)
        return result

    def create() -> None:
        file.attrs.update(schema_version=SCHEMA_VERSION, fingerprint=fingerprint, first_row=rows.start)
        for name, column in COLUMNS.items():
            data = file.create_dataset(name, shape(name, len(rows), n_particles), column.dtype)
            data.attrs["unit"] = column.unit
        file.create_dataset("checksum", (len(rows),), "<u4")
        if rows.start in mine:  # all the space, before anything is written: MPI-IO does not handle a full disk well
            with partial.open("rb+") as reserved:
                os.posix_fallocate(reserved.fileno(), 0, file.id.get_filesize())

    file = step(lambda: h5py.File(partial, "w", **hdf5))
    step(create)
    everything = {name: columns[name].astype(COLUMNS[name].dtype, copy=False) for name in COLUMNS}
    everything["checksum"] = row_checksums(columns)
    for name, values in everything.items():
        step(bind(_write_rows, file[name], rows, mine, values, bool(hdf5)))
    step(file.close)  # not after an error: MPI-IO can crash closing a file that it could not write


def finish_segment(partial: Path, path: Path) -> None:
    """Gives a written segment its name, once its bytes are on disk; one rank calls this."""
    try:
        publish(partial, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {_reason(error, path.parent)}") from error


def _write_rows(data: h5py.Dataset, rows: range, mine: range, values: NDArray[Any], collective: bool) -> None:
    """A collective write in which every rank takes part, also one without rows: its selection is empty."""
    transfer = h5py.h5p.create(h5py.h5p.DATASET_XFER)
    if collective:
        transfer.set_dxpl_mpio(h5py.h5fd.MPIO_COLLECTIVE)
    there, here = data.id.get_space(), h5py.h5s.create_simple(values.shape)
    if len(mine):
        start = (mine.start - rows.start,) + (0,) * (values.ndim - 1)
        there.select_hyperslab(start, values.shape)
    else:
        there.select_none()
        here.select_none()
    data.id.write(here, there, np.ascontiguousarray(values), dxpl=transfer)


def write_index(
    folder: Path, segments: dict[int, range], total_rows: int, n_particles: int,
    ensembles: dict[str, NDArray[Any]], attributes: dict[str, Any],
) -> None:  # fmt: skip
    """Writes dataset.h5: every column as a virtual data set over the finished segments. One rank calls this.

    Args:
        folder: holds dataset.h5 and the folder of segments.
        segments: number and rows of each finished segment.
        total_rows: rows of the complete data set.
        n_particles: N.
        ensembles: one array per property, a value per ensemble, stored under /ensembles.
        attributes: stored with the file.
    """
    rows = sum(len(r) for r in segments.values())

    def fill(file: h5py.File) -> None:
        file.attrs.update(complete=rows == total_rows, total_rows=total_rows, **attributes)
        for name, column in COLUMNS.items():
            layout = h5py.VirtualLayout(shape(name, rows, n_particles), column.dtype)
            at = 0
            for k, part in sorted(segments.items()):
                source = f"{SEGMENT_FOLDER}/{segment_name(k)}"
                layout[at : at + len(part)] = h5py.VirtualSource(source, name, shape(name, len(part), n_particles))
                at += len(part)
            layout.dcpl.set_obj_track_times(False)  # the same bytes at any time
            data = file.create_virtual_dataset(name, layout)
            data.attrs["unit"], data.attrs["meaning"] = column.unit, column.meaning
        for name, values in ensembles.items():
            file.create_dataset(f"ensembles/{name}", data=values)

    write_small_hdf5(folder / INDEX_NAME, fill)


def write_small_hdf5(path: Path, fill: Callable[[h5py.File], None]) -> None:
    """Writes an HDF5 file by way of memory, since HDF5 can crash in one that it cannot write; one rank calls this.

    Args:
        path: the file, which appears when complete.
        fill: puts its content into the open file.

    Raises:
        UserError: the file cannot be written (disk full, no permission).
    """
    with h5py.File(path.name, "w", driver="core", backing_store=False) as file:
        file.attrs["schema_version"] = SCHEMA_VERSION
        fill(file)
        file.flush()
        image = file.id.get_file_image()
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(image)
        publish(partial, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {_reason(error, path.parent)}") from error


def _reason(error: BaseException, folder: Path) -> str:
    """What to tell the user about a failed write."""
    text = str(error)
    if not folder.exists():
        return f"{folder} does not exist any more"
    status = os.statvfs(folder)
    if status.f_bavail * status.f_frsize < 1 << 20 or "No space" in text or getattr(error, "errno", None) == 28:
        return "the disk is full; free some space and give the same command again, finished segments are kept"
    if not os.access(folder, os.W_OK):
        return f"no permission to write in {folder}"
    return " ".join(text.split())
