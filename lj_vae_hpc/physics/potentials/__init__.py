"""Pair potentials, one module each. A module that is put here is found by itself: nothing lists them."""

from dataclasses import MISSING, fields
from importlib import import_module
from pkgutil import iter_modules

from lj_vae_hpc.physics.potentials.base import REGISTRY, Potential

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")


def make_potential(name: str, cutoff: float | None = None, **parameters: float) -> Potential:
    """The pair potential of a name, with its parameters.

    Args:
        name: as in the configuration.
        cutoff: r_cut in σ; ignored by a potential whose definition fixes its range.
        parameters: those that the name leaves open.

    Raises:
        ValueError: saying what is wrong and what is accepted.
    """
    if name not in REGISTRY:
        raise ValueError(f"{name!r} is not a pair potential; there are {', '.join(sorted(REGISTRY))}")
    kind, fixed = REGISTRY[name]
    free = [f for f in fields(kind) if f.init and f.name != "cutoff" and f.name not in fixed]
    accepted = ", ".join(f.name for f in free) or "none"
    if unknown := sorted(parameters.keys() - {f.name for f in free}):
        raise ValueError(f"{name} has no parameter {', '.join(unknown)}; its parameters: {accepted}")
    if missing := [f.name for f in free if f.default is MISSING and f.name not in parameters]:
        raise ValueError(f"{name} needs {', '.join(missing)}; its parameters: {accepted}")
    own_range = not kind.__dataclass_fields__["cutoff"].init
    return kind(**fixed, **parameters, **({} if own_range else {"cutoff": cutoff}))
