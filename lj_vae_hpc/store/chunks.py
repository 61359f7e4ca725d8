"""Arrays that HDF5 stores in chunks, compressed by gzip or not: where the chunks are, and what they hold.

A chunk is a block of the array. Of the indexes (HDF5 File Format Specification, version 3.0) it knows the B-tree of the
old layout, and of the new one a single chunk and the array of fixed length. Every chunk must have been written and lie
in the file, and what it unpacks to is bounded by its size there.
"""

import struct
import zlib
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.store.structure import COPY, NOWHERE, Damaged, Structure

GZIP, SHUFFLE = 1, 2
LARGEST = 1 << 27  # bytes of a row of chunks, unpacked
RATIO = 1032  # more densely than this gzip cannot pack
PLACE = np.dtype([("address", "<u8"), ("size", "<u8"), ("mask", "<u4")])


class Chunks(NamedTuple):
    """Where the chunks of an array are.

    Attributes:
        shape: of a chunk.
        filters: what was done to a chunk before it was stored, in this order.
        places: of PLACE, an entry per chunk, in as many dimensions as the array; filters in `mask` were left out.
    """

    shape: tuple[int, ...]
    filters: tuple[int, ...]
    places: NDArray[np.void]


def read_filters(body: bytes, name: str) -> tuple[int, ...]:
    """The filters of an array, from the message that tells them.

    Raises:
        Damaged: there are others than gzip and shuffle.
    """
    version, count = body[:2]
    at, found = 8 if version == 1 else 2, []
    for _ in range(count):
        one = struct.unpack_from("<H", body, at)[0]
        if version not in (1, 2) or one not in (GZIP, SHUFFLE):
            raise Damaged(f"{name} is packed by {'lzf' if one == 32000 else f'the filter {one}'}, not by gzip; {COPY}")
        found.append(one)
        if version == 1:
            length, _, values = struct.unpack_from("<3H", body, at + 2)
            at += 8 + length + -length % 8 + 4 * (values + values % 2)
        else:
            at += 6 + 4 * struct.unpack_from("<H", body, at + 4)[0]
    return tuple(found)


def find_chunks(
    structure: Structure, layout: bytes, filters: tuple[int, ...], shape: tuple[int, ...], itemsize: int, name: str
) -> Chunks:
    """Where the chunks of an array are.

    Args:
        structure: of the file.
        layout: the message that tells it.
        filters: of the array.
        shape: of the array, of one dimension or more.
        itemsize: bytes of an element.
        name: of the array, for messages.

    Raises:
        Damaged: some lie outside the file or are missing, or are more than it can hold.
    """
    kind, rest = 0, b""
    if layout[0] == 3:
        rank, address = struct.unpack_from("<BQ", layout, 2)
        sides = struct.unpack_from(f"<{rank}I", layout, 11)
    else:
        rank, width = layout[3:5]
        sides = tuple(int.from_bytes(layout[5 + k * width : 5 + (k + 1) * width], "little") for k in range(rank))
        kind, rest = layout[5 + rank * width], layout[6 + rank * width :]
        address = struct.unpack("<Q", rest[-8:])[0]
    if rank != len(shape) + 1 or not shape or min(sides) < 1 or sides[-1] != itemsize:
        raise Damaged(f"the chunks of {name} are damaged")
    grid = tuple(-(-n // side) for n, side in zip(shape, sides[:-1], strict=True))
    size, places = prod(sides), np.zeros(0, PLACE)
    if prod(grid) * 9 > structure.length:  # an address and a byte
        raise Damaged(f"{name} declares the shape {shape}, for which the file is too short")
    if max(size, sides[0] * prod(shape[1:]) * itemsize) > LARGEST:
        raise Damaged(f"the chunks of {name} are larger than {LARGEST >> 20} MiB; {COPY}")
    if not prod(grid):
        return Chunks(sides[:-1], filters, places.reshape(grid))
    if address == NOWHERE:
        raise Damaged(f"parts of {name} were never written; {COPY}")
    if kind == 0:
        places = _read_tree(structure, address, sides, grid)
    elif kind == 1:
        of_chunk = struct.unpack_from("<QI", rest) if filters else (size, 0)
        places = np.array([(address, *of_chunk)], PLACE)
    elif kind == 3:
        places = _read_fixed_array(structure, address, prod(grid), size, bool(filters))
    else:
        raise Damaged(f"{name} may grow, in the newer layout; {COPY}")
    _check(places, size, filters, structure.length, name)
    return Chunks(sides[:-1], filters, places.reshape(grid))


def unpack(data: bytes, chunks: Chunks, mask: int, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """What a chunk holds, of the shape of a chunk.

    Raises:
        Damaged: it does not unpack to that.
    """
    size = prod(chunks.shape) * dtype.itemsize
    for k, one in reversed(list(enumerate(chunks.filters))):
        if mask >> k & 1:
            continue
        if one == GZIP:
            try:
                data = zlib.decompressobj().decompress(data, size + 1)
            except zlib.error:
                raise Damaged("a chunk does not unpack") from None
        elif len(data) == size:
            data = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, -1).T.tobytes()
    if len(data) != size:
        raise Damaged("a chunk does not unpack to its size")
    return np.frombuffer(data, dtype).reshape(chunks.shape)


def _check(places: NDArray[np.void], size: int, filters: tuple[int, ...], length: int, name: str) -> None:
    """Whether every chunk lies in the file and can hold what it unpacks to."""
    stored, end = places["size"], np.uint64(length)
    inside = (places["address"] < end) & (stored <= end) & (stored > 0)
    inside &= places["address"] + np.where(inside, stored, 0) <= end
    packed = np.zeros(len(places), bool)
    if GZIP in filters:
        packed = (places["mask"] >> filters.index(GZIP)) & 1 == 0
    if not (inside & np.where(packed, stored * RATIO + RATIO >= size, stored == size)).all():
        raise Damaged(f"chunks of {name} are missing or damaged, or lie outside the file")


def _read_tree(structure: Structure, root: int, sides: tuple[int, ...], grid: tuple[int, ...]) -> NDArray[np.void]:
    """The B-tree of the old layout."""
    places = np.zeros(prod(grid), PLACE)
    entry = np.dtype([("size", "<u4"), ("mask", "<u4"), ("corner", "<u8", len(sides)), ("address", "<u8")])
    side, many = np.array(sides[:-1], np.uint64), np.array(grid, np.uint64)
    nodes: list[tuple[int, int | None]] = [(root, None)]
    while nodes:
        node, level = nodes.pop()
        head = structure.at(structure.once(node, "node"), 24)
        kind, found, used = struct.unpack_from("<BBH", head, 4)
        entries = np.frombuffer(structure.at(node + 24, used * entry.itemsize), entry)
        corner = entries["corner"][:, :-1]
        if head[:4] != b"TREE" or kind != 1 or (level is not None and found != level):
            raise Damaged("the index of an array is damaged")
        if found:
            nodes += [(int(child), found - 1) for child in entries["address"]]
            continue
        if (corner % side).any() or (corner // side >= many).any():
            raise Damaged("the index of an array is damaged")
        at = np.ravel_multi_index(tuple((corner // side).astype(np.int64).T), grid)
        for field in ("address", "size", "mask"):
            places[field][at] = entries[field]
    return places


def _read_fixed_array(structure: Structure, address: int, count: int, size: int, packed: bool) -> NDArray[np.void]:
    """The array of fixed length: an element per chunk, in pages where they are many."""
    head = structure.at(structure.once(address, "index"), 24)
    width, bits, total, block = struct.unpack_from("<BBQQ", head, 6)
    if head[:6] != b"FAHD\0" + bytes([packed]) or not (13 <= width <= 20 if packed else width == 8):
        raise Damaged("the index of an array is damaged")
    if total != count:
        raise Damaged(f"an array may grow, in the newer layout; {COPY}")
    if structure.at(structure.once(block, "index"), 14) != b"FADB\0" + head[5:6] + struct.pack("<Q", address):
        raise Damaged("the index of an array is damaged")
    element = np.dtype({"names": ["address", "size", "mask"], "formats": ["<u8", f"({width - 12},)u1", "<u4"],
                        "offsets": [0, 8, width - 4]} if packed else [("address", "<u8")])  # fmt: skip
    page = count if count <= 1 << bits else 1 << bits
    pages = -(-count // page)
    at = block + 14 + (0 if page == count else -(-pages // 8) + 4)
    places = np.zeros(count, PLACE)
    places["size"] = size
    for first in range(0, count, page):
        here = places[first : first + page]
        elements = np.frombuffer(structure.at(at, len(here) * width), element)
        here["address"] = elements["address"]
        if packed:
            here["mask"] = elements["mask"]
            here["size"] = elements["size"] @ (np.uint64(256) ** np.arange(width - 12, dtype=np.uint64))
        at += len(here) * width + 4
    return places
