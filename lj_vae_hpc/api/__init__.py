"""A run in Python: its configurations, and its model to encode, decode, generate and score with.

    import lj_vae_hpc

    run = lj_vae_hpc.open_run("runs/demo")
    mean, log_variance = run.model.encode(run.positions[:100])
    new = run.model.sample(1000, gamma=0.5, sweeps=10)
    p_value = run.model.score(new)["p_value"]

Positions are (n, N, 2) in σ everywhere, x to the right and y up, with the origin in the lower left corner of the box.
The particles of a configuration may be in any order. A run is only read, except that what scoring learns is kept in
RUN_DIR/evaluation where that can be written. MPI is not started.
"""

from importlib import import_module
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    """`run`, `model` and `suite`, loaded where they are used."""
    if name in ("run", "model", "suite"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
