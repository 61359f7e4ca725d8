"""The learned pair function and slopes beside the potential and the γ that the data were sampled with."""

from typing import Any

import numpy as np

from lj_vae_hpc.config.system import System
from lj_vae_hpc.evaluation.conditional.model import SPACING, ConditionalModel

RESOLVED = 0.1  # k_B T; where the standard error is larger there are too few pairs to tell


def learned_physics(model: ConditionalModel, system: System) -> dict[str, Any]:
    """What of summary.json compares the conditional model with the truth, which it has never been told.

    Args:
        model: the conditional model.
        system: the fluid.

    Returns:
        r in σ; learned, error and true pair energies in ε; gamma, learned_gamma and gamma_error; and the root mean
        square difference of the pair energies in ε where their error is small.
    """
    temperature = system.temperature
    r = (np.arange(len(model.pair)) * SPACING)[1:]
    learned, error = temperature * model.pair[1:], temperature * model.pair_error[1:]
    true = np.asarray(system.pair_potential.energy(np.square(r, dtype=np.float64)))
    resolved = (error < RESOLVED * temperature) & (error > 1e-2 * RESOLVED * temperature)  # the last knot is fixed
    difference = (learned - true)[resolved]
    return {
        "r": r.round(10).tolist(),
        "learned": learned.tolist(),
        "error": error.tolist(),
        "true": [float(u) if abs(u) < 1e6 else None for u in true],
        "gamma": list(model.gammas),
        "learned_gamma": (temperature * model.slope).tolist(),
        "gamma_error": (temperature * model.slope_error).tolist(),
        "resolved_from": float(r[resolved].min()) if resolved.any() else None,
        "rms_difference": float(np.sqrt((difference**2).mean())) if resolved.any() else None,
        "rms_error": float(np.sqrt((error[resolved] ** 2).mean())) if resolved.any() else None,
    }
