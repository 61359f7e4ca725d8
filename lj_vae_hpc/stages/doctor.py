"""Looks at the machine and tells what each stage will find."""

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.lock import NAME, holder, lock
from lj_vae_hpc.scan.readiness import describe_site, describe_slurm

REMEDY = "bin/bootstrap sets everything up"


def doctor(world: World, output: Path, config: RunConfig) -> None:
    """The command: one line per check; several ranks end with the first that fails.

    Raises:
        UserError: some check failed; says which, and what to do.
    """
    parent = next(p for p in [output, *output.absolute().parents] if p.exists())
    checks: list[tuple[str, Callable[[], str]]] = [
        ("ranks", lambda: _ranks(world)),
        ("python", lambda: sys.version.split()[0]),
        ("MPI", world.mpi_library),
        ("output folder", lambda: _folder(world, parent)),
        ("parallel HDF5", lambda: _hdf5(world, parent)),
        ("sampler", lambda: _sampler(world, config)),
        ("torch", lambda: _torch(world, config)),
        ("network", lambda: _network(world)),
        ("site file", lambda: world.on_root(describe_site)),
        ("Slurm", lambda: world.on_root(describe_slurm)),
    ]
    failed = []
    for name, check in checks:
        try:
            outcome = check()
        except Exception as error:
            text = " ".join(str(error).split()) + ("" if isinstance(error, UserError) else f"; {REMEDY}")
            if world.size > 1:  # the others may wait for this rank
                raise UserError(f"not ready: {name}: {text}", getattr(error, "everywhere", False)) from None
            outcome = f"FAILED: {text}"
            failed.append(name)
        world.barrier()
        if world.is_root:
            print(f"{name:>14}: {outcome}", flush=True)
    if failed:
        raise UserError(f"not ready: {', '.join(failed)}", everywhere=True)


def _ranks(world: World) -> str:
    nodes = sorted(set(world.gather(socket.gethostname())))
    root = "Open MPI" in world.mpi_library() and os.geteuid() == 0 and "OMPI_ALLOW_RUN_AS_ROOT" not in os.environ
    hint = "; as root, mpirun needs OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1" if root else ""
    return f"{world.size} on {', '.join(nodes)}, {world.threads_per_rank()} threads each{hint}"


def _network(world: World) -> str:
    """After training's process group has been made: it has chosen the interface."""
    if world.local_size == world.size:
        return "one node, none needed"
    interfaces = set(world.gather(os.environ.get("GLOO_SOCKET_IFNAME", "what NCCL chooses")))
    return f"nodes reach each other over {', '.join(sorted(interfaces))}"


def _folder(world: World, folder: Path) -> str:
    """Whether every rank sees a new folder, and is told who writes there."""
    made = world.on_root(lambda: Path(tempfile.mkdtemp(prefix=".lj-vae-doctor-", dir=folder)))
    world.on_root(lambda: lock(made))
    here = socket.gethostname()
    blind = [node for node, seen in world.gather((here, made.exists())) if not seen]
    unlocked = [node for node, seen in world.gather((here, world.is_root or bool(holder(made)))) if not seen]
    world.barrier()
    if world.is_root:
        (made / NAME).unlink()
        made.rmdir()
    if blind:
        raise UserError(
            f"{', '.join(blind)} see nothing of {folder}; choose a folder that all nodes share with -o", True
        )
    if unlocked:
        raise UserError(
            f"{', '.join(unlocked)} see no file locks in {folder}; choose another file system with -o", True
        )
    locks = f", shared with its locks by {world.size} ranks" if world.size > 1 else ""
    return f"{folder}, {shutil.disk_usage(folder).free / 1e9:.0f} GB free{locks}"


def _hdf5(world: World, folder: Path) -> str:
    import h5py

    path = Path(world.broadcast(tempfile.mktemp(prefix=".lj-vae-doctor-", dir=folder)))
    with h5py.File(path, "w", **world.hdf5()) as file:
        file.create_dataset("x", (world.size,), "i4")[world.rank] = world.rank
    world.barrier()
    with h5py.File(path, "r") as file:
        agree = list(file["x"]) == list(range(world.size))
    world.barrier()
    if world.is_root:
        path.unlink()
    if not agree:
        raise RuntimeError(f"what {world.size} ranks wrote together in {folder} reads back wrong")
    one = "" if h5py.get_config().mpi else f" (several cannot: h5py was built without MPI; {REMEDY})"
    ranks = f"{world.size} ranks" if world.size > 1 else "1 rank"
    return f"HDF5 {h5py.version.hdf5_version}, {ranks} wrote one file in {folder}{one}"


def _sampler(world: World, config: RunConfig) -> str:
    import time

    from lj_vae_hpc.sampling.chains import warm_up
    from lj_vae_hpc.sampling.ensemble import ensembles_of
    from lj_vae_hpc.sampling.production import sampling_device

    started = time.monotonic()
    device = sampling_device(
        world, ensembles_of(config.seed, config.system, config.sampling), config.sampling.configurations
    )
    warm_up(config.system, device)
    return f"on {device}, compiled or loaded from the cache in {time.monotonic() - started:.1f} s"


def _torch(world: World, config: RunConfig) -> str:
    import torch

    from lj_vae_hpc.parallel.ddp import process_group
    from lj_vae_hpc.training.hardware import choose_device, choose_dtype

    device = choose_device(config.training, world)
    with process_group(world, "nccl" if device.type == "cuda" else "gloo"):
        pass
    return f"{torch.__version__}, training on {device} in {str(choose_dtype(config.training, device))[6:]}"
