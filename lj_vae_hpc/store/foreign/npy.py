"""Arrays and archives of NumPy."""

import zipfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.store.foreign.configuration import ACCEPTED, SHAPES, Configuration, configuration_shape


def read_npy(file: Path, path: Path, box_side: float) -> Iterator[Configuration]:
    """The rows of an array (n, N, 2) or (n, 2N)."""
    with file.open("rb") as stream:
        array = _Stored(stream, file.stat().st_size, f"{path}")
        for row, positions in enumerate(array.configurations()):
            yield Configuration(f"row {row}", positions)


def read_npz(file: Path, path: Path, box_side: float) -> Iterator[Configuration]:
    """The rows of `positions` (n, N, 2) or (n, 2N), with `gamma` and `box_side` where the archive has them."""
    with zipfile.ZipFile(file) as archive:
        sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
        if "positions" not in sizes:
            raise UserError(f"{path} has no array positions, only: {', '.join(sizes):.200}; {ACCEPTED}")
        with archive.open("positions.npy") as stream:
            array = _Stored(stream, sizes["positions"], f"{path}: positions")
            known: dict[str, Any] = {}
            for name in sizes.keys() & {"gamma", "box_side"}:
                with archive.open(f"{name}.npy") as other:
                    values = _Stored(other, sizes[name], f"{path}: {name}")
                    if values.shape not in ((), array.shape[:1]):
                        raise UserError(
                            f"{path}: {name} has shape {values.shape}, expected one number or {array.shape[:1]}"
                        )
                    known[name] = values.all()
            for row, positions in enumerate(array.configurations()):
                of_row = {name: float(values[row] if values.ndim else values) for name, values in known.items()}
                yield Configuration(f"row {row}", positions, of_row.get("gamma"), of_row.get("box_side"))


class _Stored:
    """An array in NumPy's format, read from a stream.

    Args:
        stream: at its beginning.
        size: bytes that it holds.
        name: for messages.

    Raises:
        UserError: it holds no numbers.
        ValueError: it is damaged.
    """

    def __init__(self, stream: IO[bytes], size: int, name: str) -> None:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        self.shape, fortran, self._dtype = read(stream)
        self._stream, self._name = stream, name
        if self._dtype.kind not in "fiu":
            raise UserError(f"{name} holds {self._dtype}, not numbers")
        self._columns_first = fortran and len(self.shape) > 1
        if min(self.shape, default=1) < 0 or prod(self.shape) * self._dtype.itemsize > size:
            raise ValueError(f"it declares the shape {self.shape}, but has only {size} bytes")

    def all(self) -> NDArray[Any]:
        """The whole array."""
        count = prod(self.shape)
        values = np.frombuffer(self._take(count * self._dtype.itemsize), self._dtype, count)
        return values.reshape(self.shape, order="F" if self._columns_first else "C")

    def configurations(self) -> Iterator[NDArray[Any]]:
        """One after the other; a single one may stand without its axis."""
        shape = configuration_shape(self.shape)
        if len(self.shape) == 2 and self.shape[1] == 2:
            yield self.all()
        elif shape is None:
            raise UserError(f"{self._name} has shape {self.shape}, expected {SHAPES}")
        elif self._columns_first:
            yield from self.all().reshape(-1, *shape)
        else:
            for _ in range(self.shape[0]):
                yield np.frombuffer(self._take(prod(shape) * self._dtype.itemsize), self._dtype).reshape(shape)

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) != size:
            raise ValueError("it is cut short")
        return data
