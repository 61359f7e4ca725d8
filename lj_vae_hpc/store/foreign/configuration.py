"""One configuration of a file of any origin, and whether it is one of the fluid."""

from math import isclose
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ACCEPTED = (
    "accepted are a dataset.h5 of lj-vae, .npz or HDF5 with an array `positions`, and .npy, of shape (n, N, 2) or "
    "(n, 2N), .xyz, .gsd, and text with one configuration per line, x1 y1 x2 y2 ..."
)
SHAPES = "(n, N, 2) or (n, 2N), x1 y1 x2 y2 ..."


class Configuration(NamedTuple):
    """One configuration of a file.

    Attributes:
        place: where it stands there, for messages: its row, from 0, and the line of a text file, from 1.
        positions: (N, 2), in σ.
        gamma: γ as the file tells it, if it does.
        box_side: L in σ as the file tells it, if it does.
        in_corner: whether the origin is known to lie in the corner of the box.
    """

    place: str
    positions: NDArray[Any]
    gamma: Any = None
    box_side: Any = None
    in_corner: bool = False


def configuration_shape(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """(N, 2) of configurations in an array of one of SHAPES; None of another. (n, 2) is none: N would be 1, or n."""
    if len(shape) == 2 and shape[1] % 2 == 0 and shape[1] > 2:
        return shape[1] // 2, 2
    return shape[1:] if len(shape) == 3 else None


def find_problem(configuration: Configuration, n_particles: int, box_side: float) -> str | None:
    """Why a configuration is not one of N particles in a box of side L, in σ, with the origin in a corner; or None."""
    r, side = configuration.positions, configuration.box_side
    if r.shape != (n_particles, 2):
        if r.ndim == 2 and r.shape[1] == 2:
            hint = "; one particle per line is not read, only one configuration per line" * (len(r) <= 2)
            return f"it has {len(r)} particles, system.n_particles is {n_particles}{hint}"
        return f"positions have shape {r.shape}, not ({n_particles}, 2); system.n_particles is {n_particles}"
    if not np.isfinite(r).all():
        return "a coordinate is not finite"
    try:
        same = side is None or isclose(side, box_side, rel_tol=1e-6)
    except TypeError:
        same = False
    if not same:
        return f"the box has side {side}, system.box_side is {box_side:g}"
    with np.errstate(over="ignore"):
        stored = r.astype(np.float32)  # as which a coordinate at the wall may be a little more than L
    for k in np.flatnonzero(((stored < 0) | (stored > np.float32(box_side))).any(axis=1))[:1]:
        centred = (np.abs(stored) <= np.float32(box_side / 2)).all()
        hint = "; --center takes boxes centred on the origin" if centred else ""
        return f"particle {k} at ({r[k, 0]:g}, {r[k, 1]:g}) is outside the box [0, {box_side:g}], system.box_side{hint}"
    return None
