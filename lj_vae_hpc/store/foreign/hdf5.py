"""HDF5: data sets of lj-vae, and files of any origin."""

from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.store.foreign.configuration import ACCEPTED, SHAPES, Configuration, configuration_shape
from lj_vae_hpc.store.plain import PlainFile
from lj_vae_hpc.store.reader import BYTES_AT_ONCE, ROWS_AT_ONCE, Dataset
from lj_vae_hpc.store.structure import Damaged


def read_hdf5(file: Path, path: Path, box_side: float) -> Iterator[Configuration]:
    """A data set of lj-vae, of which every row is compared with its checksum, or an HDF5 file with `positions`."""
    wanted = ("positions", "gamma", "box_side")
    try:
        with PlainFile(file, only=(*wanted, "schema_version")) as data:
            if "schema_version" not in data.attributes and "checksum" not in data.names:
                yield from _rows(data, path)
                return
    except Damaged as error:
        raise UserError(f"{path}: {error}") from None
    with Dataset(file) as own:
        side = own.box_side
        for block, columns in own.checked_blocks():
            for row, positions, gamma in zip(block, columns["positions"], columns["gamma"], strict=True):
                yield Configuration(f"row {row}", positions, float(gamma), side, in_corner=True)


def _rows(data: PlainFile, path: Path) -> Iterator[Configuration]:
    """The configurations of an HDF5 file of any origin."""
    if "positions" not in data.arrays:
        raise UserError(f"{path} has no data set positions, only: {', '.join(data.names):.200}; {ACCEPTED}")
    shape = data.arrays["positions"].shape
    each = configuration_shape(shape)
    for name, array in data.arrays.items():
        expected = SHAPES if name == "positions" else f"one number or {shape[:1]}"
        if not (each if name == "positions" else array.shape in ((), shape[:1])):
            raise UserError(f"{path}: {name} has shape {array.shape}, expected {expected}")
        if array.dtype.kind not in "fiu":
            raise UserError(f"{path}: {name} holds {array.dtype}, not numbers")
    at_once = max(1, min(ROWS_AT_ONCE, BYTES_AT_ONCE // max(1, 8 * prod(shape[1:]))))
    for start in range(0, shape[0], at_once):
        rows = range(start, min(start + at_once, shape[0]))
        columns = {
            name: data.read(name, rows.start, rows.stop) if array.shape else np.broadcast_to(data.read(name), len(rows))
            for name, array in data.arrays.items()
        }
        for k, row in enumerate(rows):
            known = {name: float(columns[name][k]) for name in columns.keys() - {"positions"}}
            yield Configuration(
                f"row {row}", columns["positions"][k].reshape(each), known.get("gamma"), known.get("box_side")
            )
