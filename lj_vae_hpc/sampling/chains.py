"""Runs many chains, LANES of them in each block."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lj_vae_hpc.config.system import System
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.sampling.cells import make_cells
from lj_vae_hpc.sampling.ensemble import Ensemble
from lj_vae_hpc.sampling.metropolis import make_sweeps, uniform_start
from lj_vae_hpc.sampling.streams import Stream
from lj_vae_hpc.sampling.vectors import LANES

MOVES_PER_CALL = 10_000_000  # trial moves between two reports of progress
MOVES_PER_THREAD = 300_000  # the same on a GPU, where the chains of any number take as long as one
GPU_FROM = 2048  # chains: an H100 runs as many as fast as four cores, and 200,000 as fast as fifty
CHAINS_AT_ONCE = {"cpu": 256, "cuda": 1 << 20}
NEVER = (1 << 32) - 1  # more sweeps than any chain makes
HEIGHTS = 3.0  # T / γ that a long move reaches upwards
CELLS_FROM = 600  # particles from which on cell lists are faster
PAIRS_IN_MEMORY = 32_000_000  # of all chains that run at once


class Chains:
    """Independent chains of one ensemble, each from its own uniform random start.

    Args:
        stream: of the ensemble's random numbers.
        system: the fluid.
        gamma: γ, one number or (k,).
        step: largest trial displacement in σ, one number or (k,).
        chain: (k,) number of each chain.
        device: `cpu` or `cuda`.
        long_every: each sweep of that number makes long moves, so that particles also move between places that no
            short path joins; 0: none does.
    """

    def __init__(
        self, stream: Stream, system: System, gamma: ArrayLike, step: ArrayLike, chain: ArrayLike, device: str = "cpu",
        long_every: int = 0,
    ) -> None:  # fmt: skip
        self._count, self._system, self._stream = len(np.asarray(chain)), system, stream
        self._blocks = -(-self._count // LANES)
        n = system.n_particles
        self._gamma = self._lanes(gamma, np.float32)
        self._steps = _aligned((3, self._blocks, LANES), np.float32)
        self._steps[0], self._steps[1:] = self._lanes(step, np.float32), long_steps(system, self._gamma)
        self._every = np.uint32(long_every or NEVER)
        self._chain = self._lanes(chain, np.uint32)
        self._first, self._accepted = self._lanes(0, np.uint32), self._lanes(0, np.float32)
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
        uniform_start(self._x, self._y, self._chain, *stream, np.float32(system.box_side))
        self._fill(self._x, self._y, self._pairs)

    def _lanes(self, values: ArrayLike, dtype: Any) -> NDArray[Any]:
        """(blocks, LANES) values of each chain; the lanes left over repeat the last."""
        array = _aligned((self._blocks, LANES), dtype)
        given = np.atleast_1d(np.asarray(values))
        array.flat[:] = given[np.minimum(np.arange(array.size), len(given) - 1)].astype(dtype)
        return array

    def run(self, sweeps: ArrayLike, advance: Callable[[int], None] = lambda moves: None) -> NDArray[np.int64]:
        """Advances every chain; returns (k,) accepted trial moves of each.

        Args:
            sweeps: how many sweeps, one number or (k,).
            advance: told the trial moves done, from time to time.
        """
        todo = self._lanes(sweeps, np.uint32)
        total = np.zeros(self._count, np.int64)
        while todo.any():
            now = np.minimum(todo, self._sweeps_per_call)
            self._accepted[:] = 0.0
            self._advance(
                self._x, self._y, self._pairs, self._accepted, self._gamma, self._steps, self._every, self._chain,
                *self._stream, self._first, now, np.float32(self._system.box_side),
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

    def resume(self, positions: ArrayLike, swept: ArrayLike) -> None:
        """Goes on, to the same bits, from positions (k, N, 2), in σ, to which so many sweeps, a number or (k,), led."""
        self.positions = positions
        self._first[:] = self._lanes(swept, np.uint32)

    @property
    def energy(self) -> NDArray[np.float64]:
        """(k,) total energy in ε, from the pair energies kept while moving, each in single precision."""
        pairs = self._pairs.sum(axis=1, dtype=np.float64) * self._system.pair_potential.prefactor
        total = pairs + self._gamma * self._y.sum(axis=1, dtype=np.float64)
        return np.asarray(total.ravel()[: self._count])

    def set_step(self, step: float) -> None:
        """Gives every chain the same largest trial displacement, in σ."""
        self._steps[0] = step


def long_steps(system: System, gamma: NDArray[np.float32]) -> NDArray[np.float32]:
    """(2, *gamma.shape) largest displacements of long moves in σ, sideways and upwards.

    Half the box; upwards at most three times T / γ, over which the density of a gas falls by a factor of e.
    """
    half = np.full_like(gamma, system.box_side / 2)
    upwards = HEIGHTS * system.temperature / np.maximum(np.abs(gamma), HEIGHTS * system.temperature / half)
    return np.stack([half, upwards.astype(np.float32)])


def _aligned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Zeros at an address that is a multiple of 64 bytes, as long vectors like it."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return np.asarray(raw[start : start + size].view(dtype).reshape(shape))


def choose_device(device: str, n_particles: int, chains: int, local_rank: int) -> str:
    """Where to sample, `cpu` or `cuda`; a GPU is taken for this process, evenly among the ranks of a node.

    Args:
        device: sampling.device.
        n_particles: of the fluid.
        chains: of a segment that each rank runs; `auto` leaves few to the CPU, which is faster.
        local_rank: this rank among those of its node.

    Raises:
        UserError: `cuda`, but numba finds no GPU, or there are more particles than it is for.
    """
    if device == "cuda" and n_particles >= CELLS_FROM:
        raise UserError(
            f"sampling.device is cuda, which is for less than {CELLS_FROM} particles; {n_particles} are sampled with "
            "cell lists on the CPU: set sampling.device=auto"
        )
    if device == "cpu" or n_particles >= CELLS_FROM or (device == "auto" and chains < GPU_FROM):
        return "cpu"
    problem = ""
    try:
        from lj_vae_hpc.sampling.gpu import find_gpu

        if find_gpu(local_rank):
            return "cuda"
    except Exception as error:  # numba-cuda fails in many ways where its versions do not fit
        problem = f" ({error})"
    if device == "cuda":
        raise UserError(
            f"sampling.device is cuda, but numba finds no GPU{problem}: it needs the NVIDIA driver and numba-cuda "
            "(`.venv/bin/pip install 'numba-cuda[cu13]'`, or cu12 for a driver of CUDA 12; `numba -s` tells what is "
            "missing). With sampling.device=auto the CPU does the same where there is none"
        )
    return "cpu"


def chains_at_once(n_particles: int, most: int) -> int:
    """How many chains of N particles may be in memory at once, at most so many."""
    return max(LANES, min(most, PAIRS_IN_MEMORY // n_particles**2) // LANES * LANES)


class Schedule(NamedTuple):
    """How an ensemble is sampled."""

    step: float
    """Largest trial displacement, in σ."""
    sweeps: int
    """Sweeps from the start of a chain to its first sample."""
    interval: int
    """Sweeps from one sample of a chain to the next."""

    def moves(self, ensemble: Ensemble, chains: NDArray[np.int64], begun: int = 0) -> NDArray[np.int64]:
        """(k,) trial moves of some chains with all their samples, where the first `begun` have come to their first."""
        later = (ensemble.samples_per_chain - 1) * self.interval
        return (np.where(chains < begun, 0, self.sweeps) + later) * ensemble.system.n_particles


class Begun(NamedTuple):
    """The first chains of an ensemble, where they have come to their first sample: those of its pilot."""

    positions: NDArray[np.float32]
    """(chains, N, 2) now, in σ."""
    accepted: NDArray[np.int64]
    """(chains,) trial moves of each that were accepted."""
    swept: int
    """Sweeps that each has made."""


def sample_rows(
    ensemble: Ensemble, rows: range, schedule: Schedule, device: str, advance: Callable[[int], None],
    begun: Begun | None = None,
) -> dict[str, NDArray[np.generic]]:  # fmt: skip
    """Some configurations of an ensemble, all samples of whole chains.

    Args:
        ensemble: what to sample.
        rows: which of its configurations; row = chain * samples_per_chain + sample.
        schedule: how.
        device: `cpu` or `cuda`, with the same result.
        advance: told the trial moves done.
        begun: the first chains, which go on from where they are.

    Returns:
        positions (n, N, 2) float32 in σ; gamma (n,) float64; ensemble (n,) int32; chain (n,) int64;
        acceptance (n,) float32, the share of accepted trial moves of the chain so far.
    """
    n, samples = ensemble.system.n_particles, ensemble.samples_per_chain
    chains = np.arange(rows.start // samples, rows.stop // samples)
    positions = np.empty((len(chains), samples, n, 2), np.float32)
    acceptance = np.empty((len(chains), samples), np.float32)
    at_once = chains_at_once(n, CHAINS_AT_ONCE[device])
    for start in range(0, len(chains), at_once):
        group = slice(start, start + at_once)
        chain = chains[group]
        running = Chains(
            ensemble.stream, ensemble.system, ensemble.gamma, schedule.step, chain, device, ensemble.long_every
        )
        (accepted, swept), first = np.zeros((2, len(chain)), np.int64), np.full(len(chain), schedule.sweeps)
        if begun and chain[0] < len(begun.positions):
            there = chain < len(begun.positions)
            now = running.positions
            now[there], accepted[there] = begun.positions[chain[there]], begun.accepted[chain[there]]
            swept[there], first[there] = begun.swept, 0
            running.resume(now, swept)
        for k in range(samples):
            sweeps = schedule.interval if k else first
            accepted += running.run(sweeps, advance)
            swept += sweeps
            positions[group, k] = running.positions
            acceptance[group, k] = accepted / np.maximum(1, swept * n)
    return {
        "positions": positions.reshape(-1, n, 2), "gamma": np.full(len(rows), ensemble.gamma),
        "ensemble": np.full(len(rows), ensemble.number, np.int32), "chain": np.repeat(chains, samples),
        "acceptance": acceptance.ravel(),
    }  # fmt: skip


def start_numba() -> None:
    """Compiles next to nothing: the start of numba itself takes longer than to load a kernel from its cache."""
    numba.njit()(lambda: None)()


def warm_up(system: System, device: str) -> None:
    """Compiles the kernel for a fluid's potential, or loads it from numba's cache; tries a GPU against the CPU.

    Raises:
        UserError: the GPU does not compute what the CPU does.
    """

    def some(device: str) -> NDArray[np.float32]:
        chains = Chains((np.uint32(1), np.uint32(2), np.uint32(3)), system, 1.0, 0.3, np.arange(LANES), device)
        chains.run(4)
        return chains.positions

    expected = some("cpu")
    if device != "cpu" and not np.array_equal(some(device), expected):
        raise UserError("this GPU does not give the numbers that the CPU gives; set sampling.device=cpu")
