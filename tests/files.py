"""Configurations (n, N, 2) in files as other programs write them."""

import zlib
from math import prod
from pathlib import Path

import gsd.hoomd
import h5py
import numpy as np


def write_xyz(path: Path, positions: np.ndarray) -> None:
    with path.open("w") as file:
        for frame in positions:
            file.write(f"{len(frame)}\nProperties=species:S:1:pos:R:3\n")
            file.writelines(f"A {x:.9g} {y:.9g} 0\n" for x, y in frame)


def write_gsd(path: Path, positions: np.ndarray, side: float) -> None:
    with gsd.hoomd.open(path, "w", precision="double") as file:
        for given in positions:
            frame = gsd.hoomd.Frame()
            frame.configuration.box = [side, side, 0, 0, 0, 0]
            frame.particles.N = len(given)
            frame.particles.position = np.c_[given - side / 2, np.zeros(len(given))]
            file.append(frame)


def write_text(path: Path, positions: np.ndarray) -> None:
    np.savetxt(path, positions.reshape(len(positions), -1), fmt="%.9g", header="x1 y1 x2 y2 ...")


def write_hdf5(path: Path, positions: np.ndarray, libver: str | None = None, **options: object) -> None:
    with h5py.File(path, "w", libver=libver) as file:
        file.create_dataset("positions", data=positions, **options)
        file["names"] = ["what else", "is in the file"]
        file["link"] = h5py.SoftLink("/names")
        file.attrs["title"] = "mine"


def write_one_chunk(path: Path, shape: tuple[int, int, int]) -> None:
    """The first of two chunks of a shape, of zeros."""
    with h5py.File(path, "w") as file:
        whole = (2 * shape[0], *shape[1:])
        data = file.create_dataset("positions", whole, "f4", chunks=shape, compression="gzip")
        data.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(4 * prod(shape))))


def repacked(source: Path, target: Path) -> Path:
    """A data set of lj-vae as others may store it."""
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        new.attrs.update(old.attrs)
        old.copy("ensembles", new)
        for name in old.keys() - {"ensembles"}:
            new.create_dataset(name, data=old[name], chunks=(7, *old[name].shape[1:]), compression="gzip", shuffle=True)
    return target
