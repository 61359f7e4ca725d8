"""What the arguments of the Python interface must be."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def array(values: ArrayLike, name: str) -> NDArray[Any]:
    """An array of real numbers, not copied if it is one."""
    try:
        found = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} is not a rectangular array") from None
    if found.dtype.kind not in "fiu":
        raise ValueError(f"{name} holds {found.dtype}; expected real numbers")
    return found


def check_finite(values: NDArray[Any], name: str, first: int = 0) -> None:
    """Whether all numbers of an array are finite; `first` is where it begins in the one that the user gave.

    Raises:
        ValueError: one is not.
    """
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        place = ", ".join(map(str, [first + wrong[0][0], *wrong[0][1:]]))
        raise ValueError(f"{name}[{place}] is {values[tuple(wrong[0])]}; expected finite numbers")


def per_configuration(gamma: ArrayLike, count: int) -> NDArray[np.float64]:
    """(n,) γ of n configurations from one number or one per configuration."""
    values = array(gamma, "gamma").astype(np.float64)
    if values.shape not in ((), (count,)):
        raise ValueError(f"gamma has shape {values.shape}; expected one number or ({count},)")
    check_finite(np.atleast_1d(values), "gamma")
    return np.array(np.broadcast_to(values, count))
