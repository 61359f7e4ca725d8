"""Reads plain HDF5 files: groups, and arrays that lie in one piece in the file itself. Nothing else is accepted.

The HDF5 library ends the process, or does not return, on some damaged files, and opens whatever other files one names.
This reader cannot: every address and size is compared with the length of the file before it is used, every structure is
visited once, and what is not known is refused. Of the format (HDF5 File Format Specification, version 3.0) it knows
what the library writes unless told otherwise: superblock 0, object headers 1, symbol tables, contiguous data.
"""

import os
import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89HDF\r\n\x1a\n"
NOWHERE = 2**64 - 1
DEEPEST = 16  # groups in groups, and levels of a tree
MOST = 1 << 24  # bytes of structure, without the arrays
DATASPACE, DATATYPE, EXTERNAL, LAYOUT, FILTERS, ATTRIBUTE, CONTINUATION, TABLE = 1, 3, 7, 8, 11, 12, 16, 17
HARMLESS = (0, 4, 5, 10, 13, 18)  # messages that say nothing of the content: padding, fill values, times, comments


class Damaged(Exception):
    """A file that is not plain HDF5. Its text says why, without the file's name."""


class Array(NamedTuple):
    """An array in a file.

    Attributes:
        dtype: of its elements.
        shape: its shape.
        offset: where it begins in the file, in bytes.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int


class PlainFile:
    """A plain HDF5 file, opened for reading; its structure is checked and read at once.

    Args:
        path: the file.

    Attributes:
        attributes: of the file: strings, numbers and arrays.
        arrays: by name; those in groups as GROUP/NAME.

    Raises:
        Damaged: it is not plain HDF5.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY)
        try:
            self._length = os.fstat(self._file).st_size
            self._visited: set[int] = set()
            self._read = 0
            self.attributes: dict[str, Any] = {}
            self.arrays: dict[str, Array] = {}
            self._group(list(self._messages(self._superblock())), "", 0)
        except (struct.error, UnicodeError, TypeError, OverflowError, ValueError) as error:
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
            Damaged: the file has become shorter.
        """
        array = self.arrays[name]
        if not array.shape:
            return np.frombuffer(self._bytes(array.offset, array.dtype.itemsize), array.dtype).reshape(())
        rows = array.shape[0]
        start, stop, _ = slice(start, stop).indices(rows)
        count, row = max(0, stop - start), prod(array.shape[1:]) * array.dtype.itemsize
        values = np.empty((count, *array.shape[1:]), array.dtype)
        view, done = values.reshape(-1).view(np.uint8).data, 0
        while done < len(view):
            part = os.preadv(self._file, [view[done : done + (1 << 30)]], array.offset + start * row + done)
            if part <= 0:
                raise Damaged("it is cut short")
            done += part
        return values

    def _bytes(self, address: int, size: int) -> bytes:
        if address + size > self._length:
            raise Damaged("it is cut short, or its structure is damaged")
        return os.pread(self._file, size, address)

    def _at(self, address: int, size: int) -> bytes:
        """Bytes of structure."""
        self._read += size
        if self._read > MOST:
            raise Damaged("its structure is damaged, or it holds more than arrays")
        return self._bytes(address, size)

    def _once(self, address: int, what: str) -> int:
        """An address at which there is one structure, which is read once: nothing leads in a circle."""
        if address in self._visited:
            raise Damaged(f"its structure leads to the same {what} twice")
        self._visited.add(address)
        return address

    def _superblock(self) -> int:
        """Address of the root group."""
        head = self._at(0, 96)
        if head[:8] != SIGNATURE:
            raise Damaged("it is not an HDF5 file")
        if head[8] or head[13:15] != b"\x08\x08":
            raise Damaged("it has another layout than that of lj-vae; `h5repack --low=0` may convert it")
        base, _, end, driver = struct.unpack_from("<4Q", head, 24)
        if base or driver != NOWHERE or any(head[k] for k in (9, 10, 11, 12, 15)):
            raise Damaged("its superblock is damaged")
        if end > self._length:
            raise Damaged("it is cut short")
        return int(struct.unpack_from("<Q", head, 64)[0])

    def _group(self, messages: list[tuple[int, bytes]], prefix: str, depth: int) -> None:
        """Reads a group from the messages of its header, its attributes where it is the root, and everything in it."""
        if depth > DEEPEST:
            raise Damaged("its groups are nested too deep")
        table: tuple[int, int] | None = None
        for kind, body in messages:
            if kind == TABLE:
                table = struct.unpack_from("<2Q", body)
            elif kind == ATTRIBUTE and not prefix:
                name, value = self._attribute(body)
                self.attributes[name] = value
        if table is None:
            raise Damaged("a group is damaged, or of a newer layout")
        tree, heap = table
        for name, address in self._links(tree, self._heap(heap), 0, None):
            self._object(address, prefix + name, depth)

    def _object(self, header: int, name: str, depth: int) -> None:
        messages = list(self._messages(header))
        kinds = [kind for kind, _ in messages]
        if TABLE in kinds:
            self._group(messages, f"{name}/", depth + 1)
            return
        if EXTERNAL in kinds or FILTERS in kinds:
            raise Damaged(f"{name} is {'compressed' if FILTERS in kinds else 'stored in another file'}")
        found = {kind: body for kind, body in messages if kind in (DATASPACE, DATATYPE, LAYOUT)}
        if sorted(kind for kind in kinds if kind in found) != [DATASPACE, DATATYPE, LAYOUT]:
            raise Damaged(f"{name} is no array, or damaged")
        shape, dtype = _shape(found[DATASPACE], name), _dtype(found[DATATYPE], name)
        version, layout = found[LAYOUT][:2]
        if (version, layout) != (3, 1):
            raise Damaged(f"{name} is not stored in one piece (chunked, compact or virtual)")
        offset, size = struct.unpack_from("<2Q", found[LAYOUT], 2)
        needed = prod(shape) * dtype.itemsize
        if needed and (offset == NOWHERE or size != needed or offset + size > self._length):
            raise Damaged(f"{name} declares the shape {shape}, for which the file is too short or damaged")
        self.arrays[name] = Array(dtype, shape, offset if needed else 0)

    def _messages(self, header: int) -> Iterator[tuple[int, bytes]]:
        """Type and content of the messages of an object header."""
        head = self._at(self._once(header, "object"), 16)
        version, reserved, count = struct.unpack_from("<BBH", head)
        if version != 1 or reserved:
            raise Damaged("an object header is damaged, or of a newer layout")
        blocks = [(header + 16, struct.unpack_from("<I", head, 8)[0])]
        seen = 0
        for start, size in blocks:
            block, at = self._at(start, size), 0
            while at + 8 <= size and seen < count:
                kind, length, flags = struct.unpack_from("<HHB", block, at)
                body = block[at + 8 : at + 8 + length]
                if len(body) != length or flags & 2:
                    raise Damaged("an object header is damaged")
                at, seen = at + 8 + length, seen + 1
                if kind == CONTINUATION:
                    more, length = struct.unpack_from("<2Q", body)
                    blocks.append((self._once(more, "header"), length))
                elif kind in (DATASPACE, DATATYPE, EXTERNAL, LAYOUT, FILTERS, ATTRIBUTE, TABLE):
                    yield kind, body
                elif kind not in HARMLESS:
                    raise Damaged("an object header is damaged, or of a newer layout")
        if seen != count:
            raise Damaged("an object header is damaged")

    def _heap(self, address: int) -> bytes:
        """The names of a group."""
        head = self._at(address, 32)
        size, _, data = struct.unpack_from("<3Q", head, 8)
        if head[:5] != b"HEAP\0":
            raise Damaged("the names of a group are damaged")
        return self._at(self._once(data, "heap"), size)

    def _links(self, node: int, names: bytes, depth: int, level: int | None) -> Iterator[tuple[str, int]]:
        """Name and object header of everything in a group."""
        head = self._at(self._once(node, "node"), 24)
        kind, found, used = struct.unpack_from("<BBH", head, 4)
        if head[:4] != b"TREE" or kind or depth > DEEPEST or (level is not None and found != level):
            raise Damaged("the index of a group is damaged")
        children = [struct.unpack_from("<Q", self._at(node + 24 + 8 + 16 * k, 8))[0] for k in range(used)]
        for child in children:
            if found:
                yield from self._links(child, names, depth + 1, found - 1)
                continue
            leaf = self._at(self._once(child, "node"), 8)
            if leaf[:5] != b"SNOD\x01":
                raise Damaged("the index of a group is damaged")
            for k in range(struct.unpack_from("<H", leaf, 6)[0]):
                name, header, cache = struct.unpack_from("<QQI", self._at(child + 8 + 40 * k, 40))
                text = _text(names, name)
                if cache not in (0, 1) or header == NOWHERE:
                    raise Damaged(f"{text} is a link that leads elsewhere")
                yield text, header

    def _attribute(self, body: bytes) -> tuple[str, Any]:
        version, _, name_size, type_size, space_size = struct.unpack_from("<BBHHH", body)
        if version not in (1, 2, 3):
            raise Damaged("an attribute is damaged")
        at = 9 if version == 3 else 8
        parts = []
        for size in (name_size, type_size, space_size):
            parts.append(body[at : at + size])
            at += size + (-size % 8 if version == 1 else 0)
        name = _text(parts[0], 0)
        shape = _shape(parts[2], name)
        if parts[1][0] & 15 == 9:  # of variable length
            if shape or parts[1][1] & 15 != 1:
                raise Damaged(f"the attribute {name} is not one string")
            return name, self._string(body[at : at + 16]).decode()
        dtype = _dtype(parts[1], name)
        data = body[at : at + prod(shape) * dtype.itemsize]
        values = np.frombuffer(data, dtype).reshape(shape)
        if shape:
            return name, values
        value: Any = values[()]
        return name, value.decode() if dtype.kind == "S" else value

    def _string(self, reference: bytes) -> bytes:
        """A string in a global heap."""
        length, address, number = struct.unpack("<IQI", reference)
        if not number:
            return b""
        head = self._at(address, 16)
        size = struct.unpack_from("<Q", head, 8)[0]
        if head[:5] != b"GCOL\x01":
            raise Damaged("its strings are damaged")
        heap, at = self._at(address, size), 16
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


def _text(data: bytes, start: int) -> str:
    end = data.find(b"\0", start)
    if start >= len(data) or end == start:
        raise Damaged("a name is damaged")
    return data[start : end if end >= 0 else len(data)].decode()


def _shape(body: bytes, name: str) -> tuple[int, ...]:
    version, rank, _, kind = body[:4]
    if version not in (1, 2) or rank > 32 or (version == 2 and kind > 1):
        raise Damaged(f"the shape of {name} is damaged")
    return struct.unpack_from(f"<{rank}Q", body, 8 if version == 1 else 4)


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
    raise Damaged(f"the type of {name} is damaged, or none that lj-vae writes")


FLOATS = {
    4: struct.pack("<HHBBBBI", 0, 32, 23, 8, 0, 23, 127), 8: struct.pack("<HHBBBBI", 0, 64, 52, 11, 0, 52, 1023),
}  # fmt: skip
"""Where sign, exponent and mantissa of IEEE numbers are."""
