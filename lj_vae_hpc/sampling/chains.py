"""Runs many chains, a vector of lanes at a time."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config import System
from lj_vae_hpc.sampling.metropolis import LANES, make_sweeps, uniform_start
from lj_vae_hpc.sampling.plan import Plan
from lj_vae_hpc.sampling.streams import key

MOVES_PER_CALL = 20_000_000  # trial moves between two reports of progress


class Chains:
    """Up to LANES independent chains in lockstep; fewer are filled up with copies of the last.

    Args:
        seed: the run's seed.
        system: the fluid.
        gamma: (k,) γ of each chain, k <= LANES.
        step: (k,) largest trial displacement, in σ.
        ensemble: (k,) identity of the ensemble.
        chain: (k,) identity of the chain in it.

    Attributes:
        swept: sweeps done so far.
    """

    def __init__(
        self,
        seed: int,
        system: System,
        gamma: NDArray[np.float64],
        step: NDArray[np.float64],
        ensemble: NDArray[np.int32],
        chain: NDArray[np.int64],
    ) -> None:
        lanes = np.minimum(np.arange(LANES), len(gamma) - 1)
        self._count, self._system, self._key = len(gamma), system, key(seed)
        self._gamma, self._step = gamma[lanes].astype(np.float32), step[lanes].astype(np.float32)
        self._ensemble, self._chain = ensemble[lanes].astype(np.uint32), chain[lanes].astype(np.uint32)
        self._x = np.empty((system.n_particles, LANES), np.float32)
        self._y = np.empty_like(self._x)
        self._sweeps = make_sweeps(system.mie)
        self.swept = 0
        uniform_start(self._x, self._y, self._ensemble, self._chain, *self._key, np.float32(system.box_side))

    def set_step(self, step: float) -> None:
        """Gives every chain the same largest trial displacement, in σ."""
        self._step[:] = step

    def run(self, sweeps: int, advance: Callable[[int], None] = lambda moves: None) -> NDArray[np.int64]:
        """Advances every chain; returns (k,) accepted trial moves of each.

        Args:
            sweeps: how many sweeps.
            advance: told the trial moves done, from time to time.
        """
        total = np.zeros(LANES, np.int64)
        at_once = max(1, MOVES_PER_CALL // self._x.size)
        end = self.swept + sweeps
        while self.swept < end:
            now = min(at_once, end - self.swept)
            accepted = np.zeros(LANES, np.int32)
            self._sweeps(
                self._x, self._y, accepted, self._gamma, self._step, self._ensemble, self._chain, *self._key,
                self.swept, now, np.float32(self._system.box_side), np.float32(1.0 / self._system.temperature),
            )  # fmt: skip
            total += accepted
            self.swept += now
            advance(now * self._system.n_particles * self._count)
        return total[: self._count]

    @property
    def positions(self) -> NDArray[np.float32]:
        """(k, N, 2) float32, in σ."""
        return np.ascontiguousarray(np.stack([self._x, self._y], axis=-1).transpose(1, 0, 2)[: self._count])


def sample_rows(
    plan: Plan, rows: range, steps: NDArray[np.float64], advance: Callable[[int], None]
) -> dict[str, NDArray[np.generic]]:
    """The configurations of some rows of a plan, each the last state of its own chain.

    Args:
        plan: what to sample.
        rows: which rows.
        steps: (ensembles,) largest trial displacement of each ensemble, in σ.
        advance: told the trial moves done.

    Returns:
        positions (n, N, 2) float32 in σ; gamma (n,) float64; ensemble (n,) int32; chain (n,) int64;
        acceptance (n,) float32, the share of accepted trial moves.
    """
    ensemble, chain, gamma = plan.identity(rows)
    positions = np.empty((len(rows), plan.system.n_particles, 2), np.float32)
    acceptance = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), LANES):
        part = slice(start, start + LANES)
        step = steps[ensemble[part] - plan.first_ensemble]
        chains = Chains(plan.seed, plan.system, gamma[part], step, ensemble[part], chain[part])
        acceptance[part] = chains.run(plan.sampling.sweeps, advance) / max(1, plan.moves_per_row)
        positions[part] = chains.positions
    return {
        "positions": positions, "gamma": gamma, "ensemble": ensemble, "chain": chain, "acceptance": acceptance
    }  # fmt: skip


def warm_up(plan: Plan) -> None:
    """Compiles the kernel for this plan's potential, or loads it from numba's cache."""
    one = np.ones(1)
    Chains(plan.seed, plan.system, one, one, one.astype(np.int32), one.astype(np.int64)).run(1)
