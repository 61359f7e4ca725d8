"""The ranks, and a folder that they share."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from mpi4py import MPI

from lj_vae_hpc.parallel.world import World


@pytest.fixture(scope="module")
def world() -> World:
    world = World.connect()
    assert world.size == int(os.environ["OMPI_COMM_WORLD_SIZE"]) == MPI.COMM_WORLD.size >= 2
    return world


@pytest.fixture(scope="module")
def folder(world: World) -> Iterator[Path]:
    """A folder that all ranks share."""
    path = Path(world.broadcast(tempfile.mkdtemp(prefix="lj-vae-mpi-") if world.is_root else ""))
    yield path
    world.barrier()
    if world.is_root:
        shutil.rmtree(path)
