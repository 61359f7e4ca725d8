"""Sampling, learning and anomaly detection of two-dimensional particle configurations on HPC clusters."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from types import ModuleType

    from lj_vae_hpc.api.run import Run

__version__ = "0.1.0"
__all__ = ["__version__", "open_run"]


def __getattr__(name: str) -> "ModuleType":
    """`lj_vae_hpc.api` and `lj_vae_hpc.errors`, loaded where they are used."""
    if name in ("api", "errors"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def open_run(path: "str | os.PathLike[str]") -> "Run":
    """Opens a run for reading: its configurations and its model (lj_vae_hpc.api.run.Run).

    Args:
        path: the run's folder.

    Raises:
        UserError: it is no run's folder, or its configuration cannot be read.
    """
    from lj_vae_hpc.api.run import Run  # late: importing the package costs nothing

    return Run(path)
