"""Functions that the kernels for CPU vectors and for GPUs share: written once, compiled for each.

A function of this module or a pair potential's formula names its operations (`fma`, `select`, `exponential`, ...);
`specialise` decides which ones they are.
"""

import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CellType, FunctionType
from typing import Any

import numba
import numpy as np
from numba import float32

from lj_vae_hpc.physics.potentials import base
from lj_vae_hpc.physics.potentials.base import Potential
from lj_vae_hpc.sampling import streams, vectors
from lj_vae_hpc.sampling.vectors import fma, maximum, minimum

Compile = Callable[[Any], Any]

SHARED = (__name__, streams.__name__, vectors.__name__, base.__name__)  # modules whose source is part of every kernel


def _polynomial(degree: int, low: float, high: float) -> tuple[np.float32, ...]:
    """Exp by a polynomial through the Chebyshev points, coefficients from low to high."""
    series = np.polynomial.Chebyshev.interpolate(np.exp, degree, domain=[low, high])
    return tuple(series.convert(kind=np.polynomial.Polynomial).coef.astype(np.float32))


_P0, _P1, _P2, _P3, _P4, _P5, _P6, _P7 = _polynomial(7, -1.5, 0.0)
_Q0, _Q1, _Q2, _Q3, _Q4, _Q5, _Q6, _Q7, _Q8 = _polynomial(8, -0.75, 0.75)


def exp_negative(x):  # type: ignore[no-untyped-def]
    """exp(min(x, 0)) to 1e-5 relative, clamped below exp(-24) = 4e-11, far below any threshold.

    exp(x/16) by a polynomial, then four squarings: no table, no branch.
    """
    t = maximum(minimum(float32(0.0), x), float32(-24.0)) * float32(1 / 16)
    p = fma(fma(fma(fma(fma(fma(fma(t, _P7, _P6), t, _P5), t, _P4), t, _P3), t, _P2), t, _P1), t, _P0)
    p = p * p
    p = p * p
    p = p * p
    return p * p


def exponential(x):  # type: ignore[no-untyped-def]
    """exp(x) to 1e-5 relative, x clamped to [-24, 24]; exp(x/32) by a polynomial, then five squarings."""
    t = maximum(minimum(float32(24.0), x), float32(-24.0)) * float32(1 / 32)
    p = fma(fma(fma(fma(fma(fma(fma(fma(t, _Q8, _Q7), t, _Q6), t, _Q5), t, _Q4), t, _Q3), t, _Q2), t, _Q1), t, _Q0)
    p = p * p
    p = p * p
    p = p * p
    p = p * p
    return p * p


def distance_squared(xi, yi, xj, yj):  # type: ignore[no-untyped-def]
    """Squared distances in σ²."""
    dx, dy = xi - xj, yi - yj
    return fma(dx, dx, dy * dy)


def specialise(function: Any, operations: Mapping[str, Any], compiled: Compile) -> Any:
    """The function, compiled, with these operations in place of those of the same names in its module.

    Numbers with a point, in its code or of the function around it, become single precision; functions that it closes
    over are specialised likewise.
    """

    def single(value: Any) -> Any:
        if isinstance(value, FunctionType):
            return specialise(value, operations, compiled)
        return np.float32(value) if isinstance(value, float) else value

    code = function.__code__.replace(co_consts=tuple(map(single, function.__code__.co_consts)))
    cells = tuple(CellType(single(cell.cell_contents)) for cell in function.__closure__ or ())
    return compiled(FunctionType(code, function.__globals__ | operations, function.__name__, None, cells))


def pair_energy(r_squared):  # type: ignore[no-untyped-def]
    """Stands in the kernels for the formula of their pair potential, which `for_potential` puts in its place."""
    raise NotImplementedError


def for_potential(potential: Potential, operations: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Decorator of a kernel: names of its module that are among the operations mean those.

    A compiled function that a kernel closed over would be part of the key of numba's cache and differ in every process.
    Instead the kernel's own name, by which the cache finds it, tells the potential, its parameters and its source. All
    constants of the machine code must follow from these: where two processes at once fill the cache under one name,
    numba may keep the code of one as that of the other.
    """
    own = repr(potential).encode() + Path(inspect.getfile(type(potential))).read_bytes()
    identity = f"{type(potential).__name__}_{hashlib.sha256(own + _shared_source()).hexdigest()[:16]}"
    return lambda function: _named(function, function.__globals__ | operations, identity)


def named_by_source(function: Any) -> Any:
    """Decorator of a kernel for any potential: its name, too, tells the source of what it calls.

    Numba looks for changes only in the file of the kernel itself.
    """
    return _named(function, function.__globals__, hashlib.sha256(_shared_source()).hexdigest()[:16])


def _shared_source() -> bytes:
    return b"".join(Path(str(sys.modules[name].__file__)).read_bytes() for name in SHARED)


def _named(function: Any, names: dict[str, Any], identity: str) -> Any:
    kernel = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    kernel.__qualname__, kernel.__module__ = f"{function.__qualname__}.{identity}", function.__module__
    return kernel


inline = numba.njit(forceinline=True, error_model="numpy")  # by LLVM: numba's own inlining takes seconds to compile

ON_VECTORS: dict[str, Any] = {
    "fma": vectors.fma, "maximum": vectors.maximum, "minimum": vectors.minimum, "select": vectors.select,
    "square_root": vectors.square_root,
}  # fmt: skip
"""What the names of operations mean for the vectors of a CPU."""
for _function in (exp_negative, exponential, distance_squared):
    ON_VECTORS[_function.__name__] = specialise(_function, ON_VECTORS, inline)


def on_vectors(potential: Potential) -> dict[str, Any]:
    """The same with the pair potential's formula."""
    return ON_VECTORS | {"pair_energy": specialise(potential.truncated_formula(), ON_VECTORS, inline)}
