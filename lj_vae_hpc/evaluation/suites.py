"""The anomaly suites: which configurations a detector should find odd.

None of them is seen in training, and nothing is tuned on them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.evaluation import Corruption
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.system import System
from lj_vae_hpc.sampling.plan import Plan
from lj_vae_hpc.training.batches import Read

NORMAL, SOFT, UNIFORM = "normal", "soft", "uniform"
FIRST_SUITE_ENSEMBLE = 1 << 20  # identities of the suites' ensembles; no training ensemble reaches them


@dataclass(frozen=True)
class Suite:
    """Configurations to score.

    Attributes:
        name: as in summary.json.
        rows: how many.
        read: a contiguous range of them.
    """

    name: str
    rows: int
    read: Read


def soft_system(system: System) -> System:
    """The same system with the soft potential u = 4 (r^-4 - r^-2), not truncated."""
    return system.model_copy(update={"potential": "soft", "cutoff": None})


def unseen_name(gamma: float) -> str:
    """Name of the suite of an unseen γ."""
    return f"gamma_{gamma:g}"


def sampled_plans(config: RunConfig) -> dict[str, Plan]:
    """Plans of the suites that are drawn with the sampler, by name: unseen γ, soft potential, uniform."""
    wanted: dict[str, tuple[System, float, dict[str, object]]] = {
        unseen_name(gamma): (config.system, gamma, {}) for gamma in config.evaluation.unseen_gammas
    }
    wanted[SOFT] = (soft_system(config.system), config.evaluation.soft_gamma, {})
    wanted[UNIFORM] = (config.system, 0.0, {"protocol": "reference", "sweeps": 0})  # the uniform start itself
    protocol = "reference" if config.sampling.protocol == "reference" else "equilibrated"  # also beside imported data
    return {
        name: Plan(
            config.seed,
            system,
            config.sampling.model_copy(
                update={
                    "protocol": protocol,
                    "gammas": (gamma,),
                    "samples_per_chain": 1,
                    "configurations": config.evaluation.configurations,
                    **changes,
                }
            ),
            FIRST_SUITE_ENSEMBLE + k,
        )
        for k, (name, (system, gamma, changes)) in enumerate(wanted.items())
    }


def corrupt(
    positions: NDArray[np.float32], rows: range, corruption: Corruption, key: tuple[int, int]
) -> NDArray[np.float32]:
    """Moves some particles of each configuration by U(-amplitude, amplitude) per component; they may leave the box.

    Args:
        positions: (n, N, 2), in σ.
        rows: their numbers; with the key they determine the moves, whoever makes them.
        corruption: how many particles, how far.
        key: (seed, number of the suite).
    """
    moved = positions.copy()
    for k, row in enumerate(rows):
        random = np.random.default_rng([*key, row])
        chosen = random.choice(positions.shape[1], corruption.particles, replace=False)
        moved[k, chosen] += random.uniform(-corruption.amplitude, corruption.amplitude, (corruption.particles, 2))
    return moved
