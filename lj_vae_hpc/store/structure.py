"""The structure of an HDF5 file: its superblock, object headers and groups, old and new, read without the HDF5 library.

Every address and size is compared with the length of the file before it is used, every structure is visited once, and
what is not known is refused (HDF5 File Format Specification, version 3.0). Of groups in the new layout it knows those
of a few members, which stand in the header itself.
"""

import os
import struct
from collections.abc import Iterator

SIGNATURE = b"\x89HDF\r\n\x1a\n"
NOWHERE = 2**64 - 1
ALL_NOWHERE = b"\xff" * 16  # a heap and its index that are not there
DEEPEST = 16  # groups in groups, and levels of a tree
MOST = 1 << 24  # bytes of structure, without the arrays, that even the shortest file may have
DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL, LAYOUT, FILTERS = 1, 2, 3, 6, 7, 8, 11
ATTRIBUTE, CONTINUATION, TABLE, ATTRIBUTE_INFO = 12, 16, 17, 21
KNOWN = (DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL, LAYOUT, FILTERS, ATTRIBUTE, TABLE, ATTRIBUTE_INFO)
HARMLESS = (0, 4, 5, 10, 13, 14, 18, 22)  # padding, fill values, times, comments, counts of references
COPY = "copy it with h5py: h5py.File('new.h5', 'w')['positions'] = h5py.File('old.h5')['positions'][:]"
"""What to do with a file of the user's own that is not read."""


class Damaged(Exception):
    """A file that is damaged, or of a layout that is not read. Its text says why, without the file's name."""


class Structure:
    """The structure of an open file.

    Args:
        file: its descriptor.

    Attributes:
        length: of the file, in bytes.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self.length = os.fstat(file).st_size
        self._visited: set[int] = set()
        self._read = 0

    def content(self, address: int, size: int) -> bytes:
        """Bytes of an array."""
        if address + size > self.length:
            raise Damaged("it is cut short, or its structure is damaged")
        return os.pread(self._file, size, address)

    def at(self, address: int, size: int) -> bytes:
        """Bytes of structure, of which there are no more than the file is long."""
        self._read += size
        if self._read > max(MOST, self.length):
            raise Damaged("its structure is damaged, or it holds more than arrays")
        return self.content(address, size)

    def once(self, address: int, what: str) -> int:
        """An address at which there is one structure, which is read once: nothing leads in a circle."""
        if address in self._visited:
            raise Damaged(f"its structure leads to the same {what} twice")
        self._visited.add(address)
        return address

    def root(self) -> int:
        """Address of the root group's header."""
        head = self.at(0, 48)
        if head[:8] != SIGNATURE:
            raise Damaged("it is not an HDF5 file")
        if head[8] in (2, 3) and head[9:11] == b"\x08\x08":
            base, _, end, root = struct.unpack_from("<4Q", head, 12)
        elif head[8] == 0 and head[13:15] == b"\x08\x08":
            base, _, end, driver = struct.unpack_from("<4Q", self.at(24, 32))
            root = struct.unpack("<Q", self.at(64, 8))[0]
            if driver != NOWHERE or any(head[k] for k in (9, 10, 11, 12, 15)):
                raise Damaged("its superblock is damaged")
        else:
            raise Damaged(f"its superblock is damaged, or of a layout that lj-vae does not read; {COPY}")
        if base:
            raise Damaged("its superblock is damaged")
        if end > self.length:
            raise Damaged("it is cut short")
        return int(root)

    def messages(self, header: int) -> list[tuple[int, bytes]]:
        """Type and content of the messages of an object header."""
        head = self.at(self.once(header, "object"), 16)
        found = list(self._new_messages(header, head) if head[:4] == b"OHDR" else self._old_messages(header, head))
        for kind, _ in found:
            if kind not in KNOWN:
                raise Damaged("an object header is damaged, or of a newer layout")
        return found

    def _old_messages(self, header: int, head: bytes) -> Iterator[tuple[int, bytes]]:
        version, reserved, count, size = struct.unpack_from("<BBH4xI", head)
        if version != 1 or reserved:
            raise Damaged("an object header is damaged, or of a newer layout")
        blocks, seen = [(header + 16, size)], 0
        for start, size in blocks:
            block, at = self.at(start, size), 0
            while at + 8 <= size and seen < count:
                kind, length, flags = struct.unpack_from("<HHB", block, at)
                yield from self._message(kind, block[at + 8 : at + 8 + length], length, flags, blocks)
                at, seen = at + 8 + length, seen + 1
        if seen != count:
            raise Damaged("an object header is damaged")

    def _new_messages(self, header: int, head: bytes) -> Iterator[tuple[int, bytes]]:
        flags = head[5]
        at = header + 6 + 16 * bool(flags & 32) + 4 * bool(flags & 16)
        width = 1 << (flags & 3)
        blocks = [(at + width, int.from_bytes(self.at(at, width), "little") + 4)]
        if head[4] != 2 or flags & 192:
            raise Damaged("an object header is damaged, or of a newer layout")
        before = 4 + 2 * bool(flags & 4)
        for k, (start, size) in enumerate(blocks):
            block, at = self.at(start, size), 4 * bool(k)
            if k and block[:4] != b"OCHK":
                raise Damaged("an object header is damaged")
            while at + before <= size - 4:
                kind, length, marks = struct.unpack_from("<BHB", block, at)
                body = block[at + before : min(at + before + length, size - 4)]
                yield from self._message(kind, body, length, marks, blocks)
                at += before + length

    def _message(
        self, kind: int, body: bytes, length: int, flags: int, blocks: list[tuple[int, int]]
    ) -> Iterator[tuple[int, bytes]]:
        """One message, if it says something of the content; where it leads to another block, that joins the blocks."""
        if len(body) != length or flags & 2:
            raise Damaged("an object header is damaged, or shares its type with others")
        if kind == CONTINUATION:
            more, size = struct.unpack_from("<2Q", body)
            blocks.append((self.once(more, "header"), size))
        elif kind not in HARMLESS:
            yield kind, body

    def links(self, messages: list[tuple[int, bytes]]) -> Iterator[tuple[str, int | None]]:
        """Name and object header of everything in a group, without one where a link leads elsewhere."""
        for kind, body in messages:
            if kind == TABLE:
                tree, heap = struct.unpack_from("<2Q", body)
                yield from self._old_links(tree, self._heap(heap), 0, None)
            elif kind == LINK:
                yield _new_link(body)
            elif kind == LINK_INFO and not body.endswith(ALL_NOWHERE):
                raise Damaged(f"a group of the newer layout has more members than lj-vae reads; {COPY}")

    def _heap(self, address: int) -> bytes:
        """The names of a group."""
        head = self.at(address, 32)
        size, _, data = struct.unpack_from("<3Q", head, 8)
        if head[:5] != b"HEAP\0":
            raise Damaged("the names of a group are damaged")
        return self.at(self.once(data, "heap"), size)

    def _old_links(self, node: int, names: bytes, depth: int, level: int | None) -> Iterator[tuple[str, int | None]]:
        head = self.at(self.once(node, "node"), 24)
        kind, found, used = struct.unpack_from("<BBH", head, 4)
        if head[:4] != b"TREE" or kind or depth > DEEPEST or (level is not None and found != level):
            raise Damaged("the index of a group is damaged")
        children = [struct.unpack_from("<Q", self.at(node + 24 + 8 + 16 * k, 8))[0] for k in range(used)]
        for child in children:
            if found:
                yield from self._old_links(child, names, depth + 1, found - 1)
                continue
            leaf = self.at(self.once(child, "node"), 8)
            if leaf[:5] != b"SNOD\x01":
                raise Damaged("the index of a group is damaged")
            for k in range(struct.unpack_from("<H", leaf, 6)[0]):
                name, header, cache = struct.unpack_from("<QQI", self.at(child + 8 + 40 * k, 40))
                yield text(names, name), header if cache in (0, 1) and header != NOWHERE else None


def _new_link(body: bytes) -> tuple[str, int | None]:
    version, flags = body[:2]
    kind, at = (body[2], 3) if flags & 8 else (0, 2)
    at += 8 * bool(flags & 4) + bool(flags & 16)
    width = 1 << (flags & 3)
    size = int.from_bytes(body[at : at + width], "little")
    name, rest = body[at + width : at + width + size], body[at + width + size :]
    if version != 1 or len(name) != size:
        raise Damaged("a link is damaged")
    return text(name, 0), None if kind else struct.unpack_from("<Q", rest)[0]


def text(data: bytes, start: int) -> str:
    """The name that begins there."""
    end = data.find(b"\0", start)
    if start >= len(data) or end == start:
        raise Damaged("a name is damaged")
    return data[start : end if end >= 0 else len(data)].decode()
