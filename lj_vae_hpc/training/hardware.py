"""Where the network runs and in which arithmetic."""

from pathlib import Path

import torch

from lj_vae_hpc.config import Training
from lj_vae_hpc.errors import UserError


def choose_device(training: Training, local_rank: int, local_size: int) -> torch.device:
    """One GPU per local rank where `auto` finds enough of them, or where `cuda` demands it; else the CPU.

    Raises:
        UserError: `cuda`, but there are fewer GPUs than ranks on this node.
    """
    gpus = torch.cuda.device_count() if training.device != "cpu" else 0
    if training.device == "cuda" and gpus < local_size:
        raise UserError(
            f"training.device is cuda, but this node has {gpus} GPUs for {local_size} ranks; start at most one rank "
            "per GPU, or set training.device=auto"
        )
    if gpus >= local_size:
        torch.cuda.set_device(local_rank)
        return torch.device("cuda", local_rank)
    return torch.device("cpu")


def choose_dtype(training: Training, device: torch.device) -> torch.dtype:
    """bfloat16 where asked for, or under `auto` where the hardware has instructions that multiply it."""
    if training.precision != "auto":
        return torch.bfloat16 if training.precision == "bf16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    return torch.bfloat16 if "avx512_bf16" in flags or "amx_bf16" in flags else torch.float32
