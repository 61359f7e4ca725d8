"""Structure of the configurations of one γ: density profile, g(r) and hexatic order, with errors."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.system import System
from lj_vae_hpc.evaluation.structure import (
    PAIR_DISTANCES,
    density_profile,
    heights,
    hexatic_order,
    pair_distribution,
)

Floats = NDArray[np.float64]
Positions = NDArray[np.float32]

MOST = 1000  # configurations of each γ, the first ones
BLOCKS = 10  # of configurations, whose spread gives the errors


def profile_rows(gamma: float, positions: Positions, system: System) -> Iterator[dict[str, Any]]:
    """Rows with gamma, quantity, x, value and error: `density` ρ(y) in σ⁻², `pair_distribution` g(r), `psi6` |ψ6|.

    x is y or r at the middle of a bin, in σ; psi6 has none.

    Args:
        gamma: γ.
        positions: (n, N, 2) independent configurations, in σ; at most the first MOST are used.
        system: the fluid.
    """
    positions = positions[:MOST]
    quantities: dict[str, tuple[Floats, Callable[[Positions], Floats]]] = {
        "density": (heights(system.box_side), lambda part: density_profile(part, system.box_side)),
        "pair_distribution": (PAIR_DISTANCES, pair_distribution),
        "psi6": (np.array([np.nan]), lambda part: np.array([hexatic_order(part).mean()])),
    }
    for quantity, (places, of) in quantities.items():
        value, error = of(positions), _error(positions, of)
        for x, v, e in zip(places, value, error, strict=True):
            yield {"gamma": gamma, "quantity": quantity, "x": None if np.isnan(x) else x, "value": v, "error": e}


def _error(positions: Positions, of: Callable[[Positions], Floats]) -> Floats:
    """Standard error of a quantity from its spread over blocks, each of at least two configurations."""
    blocks = max(2, min(BLOCKS, len(positions) // 2))
    values = np.stack([of(part) for part in np.array_split(positions, blocks)])
    return np.asarray(values.std(axis=0, ddof=1) / np.sqrt(blocks))
