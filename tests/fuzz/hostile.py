"""HDF5 files made to do harm: links, sizes that no disk has room for, structures without end."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from lj_vae_hpc.store.schema import SCHEMA_VERSION


def virtual(file: h5py.File, source: str) -> None:
    """Positions that are those of another file, or of this one."""
    shape = file["positions"].shape
    layout = h5py.VirtualLayout(shape, np.float32)
    layout[:] = h5py.VirtualSource(source, "positions", shape)
    del file["positions"]
    file.create_virtual_dataset("positions", layout)


def external(file: h5py.File, source: str) -> None:
    shape = file["energy"].shape
    del file["energy"]
    file.create_dataset("energy", shape, np.float64, external=[(source, 0, 8 * shape[0])])


def replaced(name: str, **options: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        values = options.pop("data", None)
        values = file[name][()] if values is None else values
        del file[name]
        file.create_dataset(name, data=values, **options)

    return change


def link(file: h5py.File, target: object) -> None:
    del file["chain"]
    file["chain"] = target


def attribute(name: str, value: object) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__(name, value)


def declared(rows: int, particles: int) -> Callable[[h5py.File], None]:
    """Sizes for which no disk has room."""

    def change(file: h5py.File) -> None:
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
        del file["positions"]
        space = h5py.h5s.create_simple((rows, particles, 2))
        h5py.h5d.create(file.id, b"positions", h5py.h5t.IEEE_F32LE, space, plan)

    return change


def missing(file: h5py.File, rows: int) -> None:
    del file["energy"]
    file.create_dataset("energy", (rows,), np.float64, chunks=(8,))


def bomb(file: h5py.File, rows: int, size: int) -> None:
    """Positions in one chunk that holds so many bytes."""
    del file["positions"]
    shape = (rows, 8, 2)
    positions = file.create_dataset("positions", shape, np.float32, chunks=shape, compression="gzip")
    positions.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(size)))


HOSTILE: dict[str, Callable[[h5py.File], object]] = {
    "external storage": lambda file: external(file, "/etc/passwd"),
    "virtual, elsewhere": lambda file: virtual(file, "/etc/passwd"),
    "virtual, in a circle": lambda file: virtual(file, "."),
    "soft link elsewhere": lambda file: link(file, h5py.SoftLink("/energy")),
    "soft link in a circle": lambda file: link(file, h5py.SoftLink("/chain")),
    "external link": lambda file: link(file, h5py.ExternalLink("/etc/passwd", "/x")),
    "a group in itself": lambda file: file.__setitem__("ensembles/again", file["ensembles"]),
    "packed by another filter": replaced("positions", compression="lzf"),
    "chunks never written": lambda file: missing(file, 10**3),
    "1e12 chunks": lambda file: missing(file, 10**12),
    "chunks that unpack to 1 GB": lambda file: bomb(file, 80, 10**9),
    "chunks larger than they unpack to": lambda file: bomb(file, 80, 10),
    "another type": replaced("positions", dtype=np.float64),
    "another shape": replaced("energy", data=np.zeros((80, 2))),
    "objects": replaced("energy", data=np.array([b"x"] * 80, dtype=object), dtype=h5py.string_dtype()),
    "a structure": replaced("energy", data=np.zeros(80, [("a", float)])),
    "no rows": replaced("positions", data=np.zeros((0, 8, 2), np.float32)),
    "a missing column": lambda file: file.__delitem__("chain"),
    "no ensembles": lambda file: file.__delitem__("ensembles"),
    "a group for a column": lambda file: (file.__delitem__("chain"), file.create_group("chain")),
    "1e12 rows": declared(10**12, 8),
    "1e9 particles": declared(80, 10**9),
    "an array as attribute": attribute("configurations", np.arange(3)),
    "a version that is an array": attribute("schema_version", np.array([SCHEMA_VERSION] * 2)),
    "text for a number": attribute("samples_per_chain", "many"),
    "a system that is none": attribute("system", '{"n_particles": -1}'),
    "more rows than it has": attribute("configurations", 10**12),
    "no rows of a chain": attribute("samples_per_chain", 0),
}


def goes_on_in_itself(path: Path) -> None:
    """A header whose continuation is that continuation."""
    with h5py.File(path, "w", libver="latest") as file:
        file["positions"] = np.zeros((3, 8, 2))
    data = bytearray(path.read_bytes())
    root = struct.unpack_from("<Q", data, 36)[0]
    assert data[root + 5] == 0  # the block's size is one byte, and no times stand before it
    message = struct.pack("<BHBQQ", 16, 16, 0, len(data), 28)
    data[root + 6 : root + 27] = bytes([20]) + message
    path.write_bytes(data + b"OCHK" + message + bytes(4))


def meets_itself(path: Path) -> None:
    """A tree of 15 levels, in which each node names the one below it 64 times."""
    with h5py.File(path, "w") as file:
        file["positions"] = np.zeros((3, 8, 2))
    data = bytearray(path.read_bytes())
    leaf = data.index(b"TREE")
    for level in range(1, 15):
        child, node = (leaf if level == 1 else len(data) - 24 - 64 * 16 - 8), len(data)
        head = b"TREE" + struct.pack("<BBHQQ", 0, level, 64, 2**64 - 1, 2**64 - 1)
        data += head + struct.pack("<QQ", 0, child) * 64 + bytes(8)
    for place in range(0, leaf, 8):
        if struct.unpack_from("<Q", data, place)[0] == leaf:
            struct.pack_into("<Q", data, place, node)
    struct.pack_into("<Q", data, 40, len(data))
    path.write_bytes(data)


def chunks_of_themselves(path: Path) -> None:
    """An index of chunks that is its own child."""
    with h5py.File(path, "w") as file:
        file.create_dataset("positions", data=np.zeros((3, 8, 2)), chunks=(1, 8, 2))
    data = bytearray(path.read_bytes())
    node = data.index(b"TREE\x01")
    data[node + 5] = 1
    for k in range(3):
        struct.pack_into("<Q", data, node + 24 + k * 48 + 40, node)
    path.write_bytes(data)
