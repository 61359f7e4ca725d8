"""Reads plain HDF5 files: groups, and arrays that lie in the file itself, in one piece or in chunks, compressed or not.

The HDF5 library ends the process, or does not return, on some damaged files, and opens whatever other files one names.
This reader cannot. pyfive 1.3, which does not use that library either, is no substitute: it trusts what a file says of
itself, so that a header that goes on in itself, or a tree whose branches meet, kept it busy until it was killed, and
1 MB of chunks took 2 GB for four numbers. Nor does it read chunks that were written with libver="latest".
"""

import os
import struct
from itertools import product
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.store.chunks import Chunks, find_chunks, read_filters, unpack
from lj_vae_hpc.store.structure import (
    ALL_NOWHERE,
    ATTRIBUTE,
    ATTRIBUTE_INFO,
    COPY,
    DATASPACE,
    DATATYPE,
    DEEPEST,
    EXTERNAL,
    FILTERS,
    LAYOUT,
    LINK_INFO,
    NOWHERE,
    TABLE,
    Damaged,
    Structure,
    text,
)


class Array(NamedTuple):
    """An array in a file.

    Attributes:
        dtype: of its elements.
        shape: its shape.
        offset: where it begins in the file, in bytes, if it lies there in one piece.
        chunks: else where its chunks are.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int = 0
    chunks: Chunks | None = None


class PlainFile:
    """A plain HDF5 file, opened for reading; its structure is checked and read at once.

    Args:
        path: the file.
        only: attributes and arrays of the root group that are wanted; nothing else is looked at. None for all.

    Attributes:
        attributes: of the file: strings, numbers and arrays.
        arrays: by name; those in groups as GROUP/NAME.
        names: of everything in the root group.

    Raises:
        Damaged: it is not plain HDF5.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path, only: tuple[str, ...] | None = None) -> None:
        self._file = os.open(path, os.O_RDONLY)
        try:
            self._structure = Structure(self._file)
            self._only = only
            self._unpacked: dict[str, tuple[int, NDArray[Any]]] = {}
            self.attributes: dict[str, Any] = {}
            self.arrays: dict[str, Array] = {}
            self.names: list[str] = []
            self._group(self._structure.messages(self._structure.root()), "", 0)
        except (struct.error, IndexError, UnicodeError, TypeError, OverflowError, ValueError) as error:
            self.close()
            raise Damaged(f"its structure is damaged ({error})") from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; nothing can be read any more."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Some rows of an array, or all of it.

        Raises:
            Damaged: the file has become shorter, or a chunk does not unpack.
        """
        array = self.arrays[name]
        if not array.shape:
            data = self._structure.content(array.offset, array.dtype.itemsize)
            return np.frombuffer(data, array.dtype).reshape(())
        start, stop, _ = slice(start, stop).indices(array.shape[0])
        values = np.empty((max(0, stop - start), *array.shape[1:]), array.dtype)
        if array.chunks and values.size:
            many = array.chunks.shape[0]
            for k in range(start // many, -(-stop // many)):
                low, high = max(start, k * many), min(stop, (k + 1) * many)
                values[low - start : high - start] = self._chunk_row(name, k)[low - k * many : high - k * many]
        else:
            self._read_into(values, array.offset + start * prod(array.shape[1:]) * array.dtype.itemsize)
        return values

    def _read_into(self, values: NDArray[Any], offset: int) -> None:
        view, done = values.reshape(-1).view(np.uint8).data, 0
        while done < len(view):
            part = os.preadv(self._file, [view[done : done + (1 << 30)]], offset + done)
            if part <= 0:
                raise Damaged("it is cut short")
            done += part

    def _chunk_row(self, name: str, k: int) -> NDArray[Any]:
        """The k-th row of chunks of an array, put together; the last one is kept, since the next rows may be in it."""
        held, values = self._unpacked.get(name, (-1, None))
        array, chunks = self.arrays[name], self.arrays[name].chunks
        assert chunks
        if held != k or values is None:
            values = np.empty((chunks.shape[0], *array.shape[1:]), array.dtype)
            for place in product(*map(range, chunks.places.shape[1:])):
                address, size, mask = chunks.places[k, *place].tolist()
                block = unpack(self._structure.content(address, size), chunks, mask, array.dtype)
                target = values[:, *(slice(j * n, (j + 1) * n) for j, n in zip(place, chunks.shape[1:], strict=True))]
                target[...] = block[tuple(map(slice, target.shape))]
            self._unpacked[name] = k, values
        return values

    def _group(self, messages: list[tuple[int, bytes]], prefix: str, depth: int) -> None:
        """Reads a group from the messages of its header, its attributes where it is the root, and everything in it."""
        if depth > DEEPEST:
            raise Damaged("its groups are nested too deep")
        for kind, body in messages:
            if kind == ATTRIBUTE and not prefix:
                self._attribute(body)
            elif kind == ATTRIBUTE_INFO and not prefix and not self._only and not body.endswith(ALL_NOWHERE):
                raise Damaged(f"it has more attributes in the newer layout than lj-vae reads; {COPY}")
        if not {TABLE, LINK_INFO} & {kind for kind, _ in messages}:
            raise Damaged("a group is damaged, or of a newer layout")
        for name, header in self._structure.links(messages):
            if not prefix:
                self.names.append(name)
                if self._only and name not in self._only:
                    continue
            if header is None:
                raise Damaged(f"{name} is a link that leads elsewhere")
            self._object(header, prefix + name, depth)

    def _object(self, header: int, name: str, depth: int) -> None:
        messages = self._structure.messages(header)
        kinds = [kind for kind, _ in messages]
        if TABLE in kinds or LINK_INFO in kinds:
            self._group(messages, f"{name}/", depth + 1)
            return
        if EXTERNAL in kinds:
            raise Damaged(f"{name} is stored in another file")
        found = {kind: body for kind, body in messages if kind in (DATASPACE, DATATYPE, LAYOUT, FILTERS)}
        needed = sorted(kind for kind in kinds if kind in found and kind != FILTERS)
        if needed != [DATASPACE, DATATYPE, LAYOUT] or kinds.count(FILTERS) > 1:
            raise Damaged(f"{name} is no array, or damaged")
        shape, dtype = _shape(found[DATASPACE], name), _dtype(found[DATATYPE], name)
        filters = read_filters(found[FILTERS], name) if FILTERS in found else ()
        layout = found[LAYOUT]
        if layout[0] in (3, 4, 5) and layout[1] == 2:
            chunks = find_chunks(self._structure, layout, filters, shape, dtype.itemsize, name)
            self.arrays[name] = Array(dtype, shape, chunks=chunks)
        elif layout[0] in (3, 4) and layout[1] == 1 and not filters:
            offset, size = struct.unpack_from("<2Q", layout, 2)
            length = prod(shape) * dtype.itemsize
            if length and (offset == NOWHERE or size != length or offset + size > self._structure.length):
                raise Damaged(f"{name} declares the shape {shape}, for which the file is too short or damaged")
            self.arrays[name] = Array(dtype, shape, offset if length else 0)
        else:
            raise Damaged(f"{name} lies neither in one piece nor in chunks (compact or virtual); {COPY}")

    def _attribute(self, body: bytes) -> None:
        version, _, name_size, type_size, space_size = struct.unpack_from("<BBHHH", body)
        if version not in (1, 2, 3):
            raise Damaged("an attribute is damaged")
        at = 9 if version == 3 else 8
        parts = []
        for size in (name_size, type_size, space_size):
            parts.append(body[at : at + size])
            at += size + (-size % 8 if version == 1 else 0)
        name = text(parts[0], 0)
        if self._only and name not in self._only:
            return
        shape = _shape(parts[2], name)
        if parts[1][0] & 15 == 9:  # of variable length
            if shape or parts[1][1] & 15 != 1:
                raise Damaged(f"the attribute {name} is not one string")
            self.attributes[name] = self._string(body[at : at + 16]).decode()
            return
        dtype = _dtype(parts[1], name)
        data = body[at : at + prod(shape) * dtype.itemsize]
        values: Any = np.frombuffer(data, dtype).reshape(shape)
        if not shape:
            values = values[()].decode() if dtype.kind == "S" else values[()]
        self.attributes[name] = values

    def _string(self, reference: bytes) -> bytes:
        """A string in a global heap."""
        length, address, number = struct.unpack("<IQI", reference)
        if not number:
            return b""
        head = self._structure.at(address, 16)
        size = struct.unpack_from("<Q", head, 8)[0]
        if head[:5] != b"GCOL\x01":
            raise Damaged("its strings are damaged")
        heap, at = self._structure.at(address, size), 16
        while at + 16 <= size:
            index, length_here = struct.unpack_from("<H6xQ", heap, at)
            if index == number:
                if length > length_here or at + 16 + length > size:
                    break
                return heap[at + 16 : at + 16 + length]
            if not index:
                break
            at += 16 + length_here + -length_here % 8
        raise Damaged("its strings are damaged")


def _shape(body: bytes, name: str) -> tuple[int, ...]:
    version, rank, _, kind = body[:4]
    found: tuple[int, ...] = struct.unpack_from(f"<{rank}Q", body, 8 if version == 1 else 4)
    huge = prod(max(1, n) for n in found) >= 1 << 44  # NumPy refuses some, even where nothing is in them
    if version not in (1, 2) or rank > 32 or (version == 2 and kind > 1) or huge:
        raise Damaged(f"the shape of {name} is damaged")
    return found


def _dtype(body: bytes, name: str) -> np.dtype[Any]:
    kind, flags, size = body[0] & 15, body[1], struct.unpack_from("<I", body, 4)[0]
    if kind == 0 and size in (1, 2, 4, 8) and struct.unpack_from("<HH", body, 8) == (0, 8 * size):
        return np.dtype(f"{'><'[not flags & 1]}{'ui'[bool(flags & 8)]}{size}")
    if kind == 1 and size in (4, 8) and body[8:20] == FLOATS[size] and not flags & 64:
        return np.dtype(f"{'><'[not flags & 1]}f{size}")
    if kind == 3 and 0 < size < 1 << 16:
        return np.dtype(f"S{size}")
    if kind == 8 and size == 1 and body.count(b"FALSE\0") == body.count(b"TRUE\0") == 1:
        return np.dtype(bool)
    raise Damaged(f"the type of {name} is damaged, or none that lj-vae reads")


FLOATS = {
    4: struct.pack("<HHBBBBI", 0, 32, 23, 8, 0, 23, 127), 8: struct.pack("<HHBBBBI", 0, 64, 52, 11, 0, 52, 1023),
}  # fmt: skip
"""Where sign, exponent and mantissa of IEEE numbers are."""
