"""The functions that a pair potential's formula may use, here for NumPy arrays in double precision.

`lj_vae_hpc.sampling` has the same names in single precision for the vectors of a CPU and for a GPU.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LN2_HIGH, LN2_LOW = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")  # their sum is ln 2
TERMS = 14  # of the exponential series; the next one is below 1e-17 for |t| <= ln(2) / 2


def fma(a: Array, b: Array, c: Array | float) -> Array:
    """A * b + c; the kernels round it once."""
    return a * b + c


def select(mask: NDArray[np.bool_], a: Array | float, b: Array | float) -> Array:
    """A where the mask is set, else b."""
    return np.where(mask, a, b)


def square_root(x: Array) -> Array:
    """The square root."""
    return np.sqrt(x)


def exponential(x: Array) -> Array:
    """exp(x) by x = k ln 2 + t and a series in t: NumPy's own differs in the last bits between processors.

    The kernels clamp x to [-24, 24].
    """
    x = np.clip(x, -700.0, 700.0)
    k = np.rint(x / np.log(2.0))
    t = (x - k * LN2_HIGH) - k * LN2_LOW
    series = np.ones_like(t)
    for n in range(TERMS - 1, 0, -1):
        series = 1.0 + series * t / n
    return np.asarray(np.ldexp(series, k.astype(np.int64)))
