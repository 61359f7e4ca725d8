"""Runs many chains, LANES of them in each block."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lj_vae_hpc.config.system import System
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.sampling.cells import make_cells
from lj_vae_hpc.sampling.metropolis import make_sweeps, uniform_start
from lj_vae_hpc.sampling.plan import Plan
from lj_vae_hpc.sampling.streams import key
from lj_vae_hpc.sampling.vectors import LANES

MOVES_PER_CALL = 10_000_000  # trial moves between two reports of progress
MOVES_PER_THREAD = 300_000  # the same on a GPU, where the chains of any number take as long as one
CHAINS_AT_ONCE = {"cpu": 256, "cuda": 1 << 20}
CELLS_FROM = 600  # particles from which on cell lists are faster
PAIRS_IN_MEMORY = 32_000_000  # of all chains that run at once


class Chains:
    """Independent chains, each from its own uniform random start.

    Args:
        seed: the run's seed.
        system: the fluid.
        gamma: (k,) γ of each chain.
        step: (k,) largest trial displacement, in σ.
        ensemble: (k,) identity of the ensemble.
        chain: (k,) identity of the chain in it.
        device: `cpu` or `cuda`.
    """

    def __init__(
        self, seed: int, system: System, gamma: ArrayLike, step: ArrayLike, ensemble: ArrayLike, chain: ArrayLike,
        device: str = "cpu",
    ) -> None:  # fmt: skip
        self._count, self._system, self._key = len(np.asarray(gamma)), system, key(seed)
        self._blocks = -(-self._count // LANES)
        n = system.n_particles
        self._gamma, self._step = self._lanes(gamma, np.float32), self._lanes(step, np.float32)
        self._ensemble, self._chain = self._lanes(ensemble, np.uint32), self._lanes(chain, np.uint32)
        self._first, self._accepted = self._lanes(np.zeros(1), np.uint32), self._lanes(np.zeros(1), np.float32)
        self._x, self._y = (_aligned((self._blocks, n, LANES), np.float32) for _ in range(2))
        many = n >= CELLS_FROM
        self._pairs = _aligned((self._blocks, 1 if many else n * (n - 1) // 2, LANES), np.float32)
        self._trial, self._drawn = _aligned((n, LANES), np.float32), _aligned((4, LANES), np.uint32)
        moves = MOVES_PER_THREAD if device == "cuda" else MOVES_PER_CALL // (self._blocks * LANES)
        self._sweeps_per_call = np.uint32(max(1, moves // n))
        if many:
            self._advance, self._fill = make_cells(system.pair_potential, system.box_side, n)
        elif device == "cuda":
            from lj_vae_hpc.sampling.gpu import make_gpu

            self._advance, self._fill = make_gpu(system.pair_potential)
        else:
            self._advance, self._fill = make_sweeps(system.pair_potential)
        uniform_start(self._x, self._y, self._ensemble, self._chain, *self._key, np.float32(system.box_side))
        self._fill(self._x, self._y, self._pairs)

    def _lanes(self, values: ArrayLike, dtype: Any) -> NDArray[Any]:
        """(blocks, LANES) values of each chain; the lanes left over repeat the last."""
        array = _aligned((self._blocks, LANES), dtype)
        given = np.asarray(values)
        array.flat[:] = given[np.minimum(np.arange(array.size), len(given) - 1)].astype(dtype)
        return array

    def run(self, sweeps: ArrayLike, advance: Callable[[int], None] = lambda moves: None) -> NDArray[np.int64]:
        """Advances every chain; returns (k,) accepted trial moves of each.

        Args:
            sweeps: how many sweeps, one number or (k,).
            advance: told the trial moves done, from time to time.
        """
        todo = self._lanes(np.broadcast_to(sweeps, self._count), np.uint32)
        total = np.zeros(self._count, np.int64)
        while todo.any():
            now = np.minimum(todo, self._sweeps_per_call)
            self._accepted[:] = 0.0
            self._advance(
                self._x, self._y, self._pairs, self._accepted, self._gamma, self._step, self._ensemble, self._chain,
                *self._key, self._first, now, np.float32(self._system.box_side),
                np.float32(1.0 / self._system.temperature), self._trial, self._drawn,
            )  # fmt: skip
            total += self._accepted.ravel()[: self._count].astype(np.int64)
            self._first += now
            todo -= now
            advance(int(now.ravel()[: self._count].sum(dtype=np.int64)) * self._system.n_particles)
        return total

    @property
    def positions(self) -> NDArray[np.float32]:
        """(k, N, 2) float32, in σ."""
        by_chain = np.stack([self._x, self._y], axis=-1).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(by_chain.reshape(-1, *by_chain.shape[2:])[: self._count])

    @positions.setter
    def positions(self, positions: ArrayLike) -> None:
        """Other positions (k, N, 2), in σ, inside the box."""
        given = np.asarray(positions)[np.minimum(np.arange(self._blocks * LANES), self._count - 1)]
        by_block = given.reshape(self._blocks, LANES, *given.shape[1:])
        self._x[:], self._y[:] = by_block[..., 0].transpose(0, 2, 1), by_block[..., 1].transpose(0, 2, 1)
        self._fill(self._x, self._y, self._pairs)

    def resume(self, positions: ArrayLike, swept: int) -> None:
        """Goes on from positions (k, N, 2), in σ, to which so many sweeps have led, to the same bits."""
        self.positions = positions
        self._first[:] = swept

    @property
    def energy(self) -> NDArray[np.float64]:
        """(k,) total energy in ε, from the pair energies kept while moving, each in single precision."""
        pairs = self._pairs.sum(axis=1, dtype=np.float64) * self._system.pair_potential.prefactor
        total = pairs + self._gamma * self._y.sum(axis=1, dtype=np.float64)
        return np.asarray(total.ravel()[: self._count])

    def set_step(self, step: float) -> None:
        """Gives every chain the same largest trial displacement, in σ."""
        self._step[:] = step


def _aligned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Zeros at an address that is a multiple of 64 bytes, as long vectors like it."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return np.asarray(raw[start : start + size].view(dtype).reshape(shape))


def choose_device(device: str, n_particles: int, local_rank: int) -> str:
    """Where to sample, `cpu` or `cuda`; a GPU is taken for this process, evenly among the ranks of a node.

    Args:
        device: sampling.device.
        n_particles: of the fluid.
        local_rank: this rank among those of its node.

    Raises:
        UserError: `cuda`, but numba finds no GPU, or there are more particles than it is for.
    """
    if device == "cuda" and n_particles >= CELLS_FROM:
        raise UserError(
            f"sampling.device is cuda, which is for less than {CELLS_FROM} particles; {n_particles} are sampled with "
            "cell lists on the CPU: set sampling.device=auto"
        )
    if device == "cpu" or n_particles >= CELLS_FROM:
        return "cpu"
    from lj_vae_hpc.sampling.gpu import find_gpu

    if find_gpu(local_rank):
        return "cuda"
    if device == "cuda":
        raise UserError(
            "sampling.device is cuda, but numba finds no GPU: it needs the NVIDIA driver and a CUDA toolkit (load its "
            "module, or set CUDA_HOME to its folder; `numba -s` tells what is missing). With sampling.device=auto the "
            "CPU does the same where there is none"
        )
    return "cpu"


@dataclass(frozen=True)
class Schedule:
    """How each ensemble of a plan is sampled.

    Attributes:
        step: (E,) largest trial displacement, in σ.
        sweeps: (E,) sweeps from the start of a chain to its first sample.
        interval: (E,) sweeps from one sample to the next.
    """

    step: NDArray[np.float64]
    sweeps: NDArray[np.int64]
    interval: NDArray[np.int64]

    def moves(self, plan: Plan, rows: range) -> int:
        """Trial moves that the samples of these rows take."""
        ensemble, _, sample, _ = plan.identity(rows)
        local = ensemble - plan.first_ensemble
        return int(np.where(sample == 0, self.sweeps[local], self.interval[local]).sum()) * plan.system.n_particles


def sample_rows(
    plan: Plan, rows: range, schedule: Schedule, advance: Callable[[int], None]
) -> dict[str, NDArray[np.generic]]:
    """The configurations of some rows of a plan.

    Args:
        plan: what to sample.
        rows: which rows.
        schedule: how.
        advance: told the trial moves done.

    Returns:
        positions (n, N, 2) float32 in σ; gamma (n,) float64; ensemble (n,) int32; chain (n,) int64;
        acceptance (n,) float32, the share of accepted trial moves of the chain so far.
    """
    n = plan.system.n_particles
    ensemble, chain, sample, gamma = plan.identity(rows)
    local = ensemble - plan.first_ensemble
    positions, acceptance = np.empty((len(rows), n, 2), np.float32), np.empty(len(rows), np.float32)
    # The chains of these rows, those of similar length side by side.
    _, one, chain_of_row = np.unique(chain * len(plan.gammas) + local, return_index=True, return_inverse=True)
    last = np.zeros(len(one), np.int64)
    np.maximum.at(last, chain_of_row, sample)
    order = np.argsort(schedule.sweeps[local[one]] + last * schedule.interval[local[one]], kind="stable")
    at_once = max(LANES, min(CHAINS_AT_ONCE[plan.device], PAIRS_IN_MEMORY // (n * n)) // LANES * LANES)
    for start in range(0, len(order), at_once):
        group = order[start : start + at_once]
        of = one[group]
        chains = Chains(
            plan.seed, plan.system, gamma[of], schedule.step[local[of]], ensemble[of], chain[of], plan.device
        )
        accepted, swept = np.zeros(len(group), np.int64), np.zeros(len(group), np.int64)
        for k in range(int(last[group].max()) + 1):
            sweeps = np.where(k <= last[group], (schedule.interval if k else schedule.sweeps)[local[of]], 0)
            accepted += chains.run(sweeps, advance)
            swept += sweeps
            in_group = np.full(len(one), -1)
            in_group[group] = np.arange(len(group))
            taken = np.flatnonzero((in_group[chain_of_row] >= 0) & (sample == k))
            lane = in_group[chain_of_row[taken]]
            positions[taken] = chains.positions[lane]
            acceptance[taken] = accepted[lane] / np.maximum(1, swept[lane] * n)
    return {
        "positions": positions, "gamma": gamma, "ensemble": ensemble, "chain": chain, "acceptance": acceptance
    }  # fmt: skip


def warm_up(plan: Plan) -> None:
    """Compiles the kernel for this plan's potential, or loads it from numba's cache; tries a GPU against the CPU.

    Raises:
        UserError: the GPU does not compute what the CPU does.
    """

    def some(device: str) -> NDArray[np.float32]:
        one = np.ones(LANES)
        chains = Chains(plan.seed, plan.system, one, 0.3 * one, 0 * one, np.arange(LANES), device)
        chains.run(4)
        return chains.positions

    expected = some("cpu")
    if plan.device != "cpu" and not np.array_equal(some(plan.device), expected):
        raise UserError("this GPU does not give the numbers that the CPU gives; set sampling.device=cpu")
