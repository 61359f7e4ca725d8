"""The pilot of protocol `equilibrated`: it finds each ensemble's step size, which is then frozen."""

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.sampling.chains import Chains
from lj_vae_hpc.sampling.metropolis import LANES
from lj_vae_hpc.sampling.plan import Plan

ROUNDS, SWEEPS_PER_ROUND = 24, 25
PILOT_CHAIN = 1 << 31  # pilot chains are numbered from here: their streams are no production chain's


def tuned_steps(plan: Plan, ensembles: range) -> NDArray[np.float64]:
    """The step size in σ of some ensembles of a plan.

    `reference` keeps the configured step. `equilibrated` adapts it in a pilot of its own chains, whose states are
    thrown away: log(step) follows the acceptance towards its target (Robbins and Monro, Ann. Math. Stat. 22, 400,
    1951), and the mean of the last half is taken.
    """
    if plan.sampling.protocol == "reference":
        return np.full(len(ensembles), plan.sampling.step)
    return np.array([_tune(plan, ensemble) for ensemble in ensembles])


def _tune(plan: Plan, ensemble: int) -> float:
    log_step, history = np.log(plan.sampling.step), []
    chain = PILOT_CHAIN + np.arange(LANES, dtype=np.int64)
    identity = np.full(LANES, plan.first_ensemble + ensemble, np.int32)
    pilot = Chains(plan.seed, plan.system, np.full(LANES, plan.gammas[ensemble]), np.ones(LANES), identity, chain)
    for _ in range(ROUNDS):
        pilot.set_step(float(np.exp(log_step)))
        acceptance = pilot.run(SWEEPS_PER_ROUND).mean() / (SWEEPS_PER_ROUND * plan.system.n_particles)
        log_step += 1.5 * (acceptance - plan.sampling.target_acceptance)
        log_step = float(np.clip(log_step, np.log(1e-3), np.log(plan.system.box_side / 2)))
        history.append(log_step)
    return float(f"{np.exp(np.mean(history[ROUNDS // 2 :])):.4g}")
