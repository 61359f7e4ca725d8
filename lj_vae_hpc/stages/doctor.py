"""Looks at the machine and tells what each stage will find."""

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World

REMEDY = "bin/bootstrap sets everything up"


def doctor(world: World, output: Path, config: RunConfig) -> None:
    """The command: one line per check; several ranks end with the first that fails.

    Raises:
        UserError: some check failed; says which, and what to do.
    """
    parent = next(p for p in [output, *output.absolute().parents] if p.exists())
    checks: list[tuple[str, Callable[[], str]]] = [
        ("ranks", lambda: f"{world.size}, {world.local_size} on this node, {world.threads_per_rank()} threads each"),
        ("python", lambda: sys.version.split()[0]),
        ("MPI", world.mpi_library),
        ("parallel HDF5", lambda: _hdf5(world, parent)),
        ("sampler", lambda: _sampler(world, config)),
        ("torch", lambda: _torch(world, config)),
        ("output folder", lambda: f"{parent}, {shutil.disk_usage(parent).free / 1e9:.0f} GB free"),
        ("Slurm", lambda: shutil.which("sbatch") or "no sbatch here: jobs/ cannot be submitted from this machine"),
    ]
    failed = []
    for name, check in checks:
        try:
            outcome = check()
        except Exception as error:
            text = " ".join(str(error).split())
            if world.size > 1:  # the others may wait for this rank
                raise UserError(f"not ready: {name}: {text}; {REMEDY}", getattr(error, "everywhere", False)) from None
            outcome = f"FAILED: {text}"
            failed.append(name)
        world.barrier()
        if world.is_root:
            print(f"{name:>14}: {outcome}", flush=True)
    if failed:
        raise UserError(f"not ready: {', '.join(failed)}; {REMEDY}", everywhere=True)


def _hdf5(world: World, folder: Path) -> str:
    import h5py

    world.agree(None if h5py.get_config().mpi else "h5py was built without MPI")
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
    return f"HDF5 {h5py.version.hdf5_version}, {world.size} ranks wrote one file in {folder}"


def _sampler(world: World, config: RunConfig) -> str:
    import time

    from lj_vae_hpc.sampling.chains import warm_up
    from lj_vae_hpc.sampling.ensemble import ensembles_of
    from lj_vae_hpc.sampling.production import sampling_device

    started = time.monotonic()
    device = sampling_device(world, ensembles_of(config.seed, config.system, config.sampling))
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
