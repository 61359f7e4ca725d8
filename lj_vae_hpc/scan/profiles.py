"""Structure of the configurations of one γ: density profile, g(r) and hexatic order, with errors."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.system import System
from lj_vae_hpc.evaluation.structure import (
    PAIR_DISTANCES,
    density_profile,
    from_pair_counts,
    heights,
    hexatic_order,
    pair_counts,
)

Floats = NDArray[np.float64]
Positions = NDArray[np.float32]

MOST, PARTICLES = 1000, 200_000  # configurations of each γ, and particles of them in all
BLOCKS = 10  # of configurations, whose spread gives the errors


def most_profiled(system: System) -> int:
    """How many configurations of a γ are looked at."""
    return max(4, min(MOST, PARTICLES // system.n_particles))


def profile_rows(gamma: float, positions: Positions, system: System) -> Iterator[dict[str, Any]]:
    """Rows with gamma, quantity, x, value and error: `density` ρ(y) in σ⁻², `pair_distribution` g(r), `psi6` |ψ6|.

    x is y or r at the middle of a bin, in σ; psi6 has none. Errors are those of the spread over blocks.

    Args:
        gamma: γ.
        positions: (n, N, 2) independent configurations, in σ; at most most_profiled are used.
        system: the fluid.
    """
    positions = positions[: most_profiled(system)]
    parts = np.array_split(positions, max(2, min(BLOCKS, len(positions) // 2)))
    sizes = [len(part) for part in parts]
    counts = [pair_counts(part) for part in parts]
    within, between = np.sum(counts, axis=0)
    pairs = np.stack([from_pair_counts(*both, system.n_particles) for both in counts])
    density = np.stack([density_profile(part, system.box_side) for part in parts])
    psi6 = np.array([[hexatic_order(part).mean()] for part in parts])
    quantities: dict[str, tuple[Floats, Floats, Floats]] = {
        "density": (heights(system.box_side), density, np.average(density, axis=0, weights=sizes)),
        "pair_distribution": (PAIR_DISTANCES, pairs, from_pair_counts(within, between, system.n_particles)),
        "psi6": (np.array([np.nan]), psi6, np.average(psi6, axis=0, weights=sizes)),
    }
    for quantity, (places, blocks, value) in quantities.items():
        error = blocks.std(axis=0, ddof=1) / np.sqrt(len(parts))
        for x, v, e in zip(places, value, error, strict=True):
            yield {"gamma": gamma, "quantity": quantity, "x": None if np.isnan(x) else x, "value": v, "error": e}
