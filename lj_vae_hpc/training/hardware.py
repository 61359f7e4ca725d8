"""Where the network runs and in which arithmetic."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lj_vae_hpc.config.training import Training
from lj_vae_hpc.errors import UserError

if TYPE_CHECKING:
    from lj_vae_hpc.parallel.world import World


def choose_device(training: Training, world: "World") -> torch.device:
    """A GPU of its own for every rank where `auto` finds enough, or where `cuda` demands it; else the CPU for all.

    Raises:
        UserError: `cuda`, but some rank finds no GPU that no other rank has.
    """
    count = torch.cuda.device_count() if training.device != "cpu" else 0
    visible = [str(torch.cuda.get_device_properties(k).uuid) for k in range(count)]
    everyone = world.gather(visible)
    own = assign_gpus(everyone)
    if own is not None:
        torch.cuda.set_device(own[world.rank])
        return torch.device("cuda", own[world.rank])
    if training.device == "cuda":
        raise UserError(
            f"training.device is cuda, but {world.size} ranks find {len({g for gpus in everyone for g in gpus})} GPUs, "
            "and each needs its own; start at most one rank per GPU, or set training.device=auto",
            everywhere=True,
        )
    return torch.device("cpu")


def assign_gpus(visible: list[list[str]]) -> list[int] | None:
    """Which of the GPUs that it sees each rank takes, so that none is taken twice; None where there are too few.

    Schedulers show every task all GPUs of its node, or only its own, which then all are number 0.

    Args:
        visible: identities of the GPUs that each rank sees.
    """
    taken: set[str] = set()
    own = []
    for gpus in visible:
        free = [k for k, gpu in enumerate(gpus) if gpu not in taken]
        if not free:
            return None
        taken.add(gpus[free[0]])
        own.append(free[0])
    return own


def choose_dtype(training: Training, device: torch.device) -> torch.dtype:
    """bfloat16 where asked for, or under `auto` where the hardware has instructions that multiply it."""
    if training.precision != "auto":
        return torch.bfloat16 if training.precision == "bf16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    return torch.bfloat16 if "avx512_bf16" in flags or "amx_bf16" in flags else torch.float32


@contextmanager
def without_denormals() -> Iterator[None]:
    """Numbers that are too small for their full precision are zero meanwhile, which is faster.

    Threads that torch starts meanwhile inherit this, so it comes before its first work on several. It does not stay:
    SciPy's trees crash where the number next to zero is zero.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def keep_memory() -> None:
    """Keeps freed memory for the next step; the system would clear every page that it gives again."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # of glibc
        libc.mallopt(-1, -1)  # M_TRIM_THRESHOLD: the heap never shrinks
        libc.mallopt(-4, 0)  # M_MMAP_MAX: large tensors are in it, too
