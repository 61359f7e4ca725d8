"""The pilot: it tunes an ensemble's step size and proves how long a chain takes to equilibrium.

Its chains start from two opposite states, uniformly random and a lattice settled on the floor. They go on until, after
some burn-in, nothing tells where they started. Under `equilibrated` they are the ensemble's first chains: their last
states are its first configurations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.physics.observables import close_pairs
from lj_vae_hpc.sampling.chains import Chains, Schedule
from lj_vae_hpc.sampling.ensemble import Ensemble
from lj_vae_hpc.sampling.equilibration import CHAINS, RELAXATIONS, Pilot, Stored, assess_equilibrium

CLOSE = np.float32(1.5)
APART = 1 << 31  # chains that give no data are numbered from here: their streams are no production chain's
TUNING_CHAINS, TUNING_ROUNDS, SWEEPS_PER_ROUND = 32, 40, 50
FIRST_LENGTH, FIRST_EVERY, MOST_RECORDS = 512, 32, 256


@dataclass
class PilotState(Stored):
    """A pilot under way: enough to continue it to the same bits.

    Attributes:
        step: largest trial displacement, in σ.
        length: sweeps of each chain until the next verdict.
        every: sweeps between two records.
        accepted: (chains,) trial moves of each chain that were accepted.
        positions: (chains, N, 2) now, in σ.
        records: (times, 3, chains) observables from the start on.
    """

    step: float
    length: int
    every: int
    accepted: NDArray[np.int64]
    positions: NDArray[np.float32]
    records: Any

    @property
    def swept(self) -> int:
        """Sweeps that each chain has made."""
        return (len(self.records) - 1) * self.every

    def part(self, chains: range) -> "PilotState":
        """That of some of the chains."""
        which = slice(chains.start, chains.stop)
        records = [record[:, which] for record in self.records]
        return PilotState(self.step, self.length, self.every, self.accepted[which], self.positions[which], records)


def gather_chains(team: World, array: NDArray[Any], axis: int = 0) -> NDArray[Any]:
    """The array of all chains, which lie along an axis, from every rank's own."""
    return np.concatenate(team.gather(array), axis=axis)


def gather_state(team: World, state: PilotState) -> PilotState:
    """The state of all chains, from every rank's own."""
    records = gather_chains(team, np.stack(state.records), axis=2)
    accepted, positions = gather_chains(team, state.accepted), gather_chains(team, state.positions)
    return PilotState(state.step, state.length, state.every, accepted, positions, records)


ONE_RANK = World()
ShouldStop = Callable[[PilotState | None], bool]


def run_pilot(
    ensemble: Ensemble, state: PilotState | None = None, should_stop: ShouldStop = lambda _: False,
    team: World = ONE_RANK,
) -> tuple[Pilot, PilotState] | None:  # fmt: skip
    """Tunes and proves one ensemble; where it is proved, the result depends on nothing else, not even on the budget.

    Args:
        ensemble: the ensemble.
        state: where the pilot was left, of all chains, if it was begun.
        should_stop: asked after every record, with the state of this rank's chains, and without one while the step is
            tuned, of which nothing is kept; where it says yes, on every rank, there is no result.
        team: the ranks that share the chains, a divisor of the number of blocks of chains, or lanes would idle; all
            of them call this.

    Returns:
        What it found out, and the state of all its chains.
    """
    own, n = team.shard(CHAINS), ensemble.system.n_particles
    step = state.step if state else tuned_step(ensemble, should_stop, team)
    if step is None:
        return None
    first = 0 if gives_data(ensemble) else APART
    chains = _chains(ensemble, step, own, first, ensemble.sampling.long_every)
    if state:
        state = state.part(own)
        chains.resume(state.positions, state.swept)
    else:
        positions = chains.positions
        positions[np.arange(own.start, own.stop) % 2 == 1] = settled_lattice(n, ensemble.system.box_side)
        chains.positions = positions
        accepted = np.zeros(len(positions), np.int64)
        length = lengthened(FIRST_LENGTH, ensemble.sampling.sweeps if gives_data(ensemble) else 0)
        state = PilotState(step, length, _every(length), accepted, positions, [])
        state.records.append(observe(chains, positions))
    while True:
        while state.swept < state.length:
            state.accepted = state.accepted + chains.run(state.every)
            state.positions = chains.positions
            state.records.append(observe(chains, state.positions))
            if should_stop(state):
                return None
        full = gather_state(team, state)
        acceptance = float(full.accepted.mean()) / (full.swept * n)
        pilot = assess_equilibrium(np.moveaxis(full.records, 0, -1), full.every, step, acceptance)
        if pilot.converged or not may_continue(pilot, ensemble):
            return pilot, full
        state.length = next_length(pilot)
        thinner = _every(state.length) // state.every
        state.records, state.every = state.records[::thinner], state.every * thinner


def gives_data(ensemble: Ensemble) -> bool:
    """Whether the pilot's chains are the ensemble's own; those of `reference` are as published."""
    return ensemble.sampling.protocol == "equilibrated"


def lengthened(length: int, least: int) -> int:
    """The first of at least so many sweeps among 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, ... times FIRST_LENGTH / 4."""
    while length < least:
        length += 1 << (length.bit_length() - 3)
    return length


def next_length(pilot: Pilot) -> int:
    """Sweeps for which the chains of a pilot without proof go on, in all: twice the burn-in that τ asks for."""
    wanted = int(2 * RELAXATIONS * pilot.tau.max())
    return lengthened(pilot.length, min(max(pilot.length + 1, wanted), 2 * pilot.length))


def may_continue(pilot: Pilot, ensemble: Ensemble) -> bool:
    """Whether the budget allows longer pilot chains."""
    return next_length(pilot) <= ensemble.sampling.max_pilot_sweeps


def _every(length: int) -> int:
    """Sweeps between two records of chains of some length."""
    every = FIRST_EVERY
    while length // every > MOST_RECORDS:
        every *= 2
    return every


def tuned_step(ensemble: Ensemble, should_stop: ShouldStop = lambda _: False, team: World = ONE_RANK) -> float | None:
    """Step size in σ at which the target share of usual moves is accepted; None where it was told to stop.

    log(step) follows the acceptance (Robbins and Monro, Ann. Math. Stat. 22, 400, 1951); the mean of the last half is
    taken.
    """
    log_step, history = np.log(ensemble.sampling.step), []
    chains = _chains(ensemble, ensemble.sampling.step, team.shard(TUNING_CHAINS), APART + CHAINS, 0)
    for _ in range(TUNING_ROUNDS):
        chains.set_step(float(np.exp(log_step)))
        accepted = gather_chains(team, chains.run(SWEEPS_PER_ROUND)).mean()
        acceptance = accepted / (SWEEPS_PER_ROUND * ensemble.system.n_particles)
        log_step += 1.5 * (acceptance - ensemble.sampling.target_acceptance)
        log_step = float(np.clip(log_step, np.log(1e-3), np.log(ensemble.system.box_side / 2)))
        history.append(log_step)
        if should_stop(None):
            return None
    return float(f"{np.exp(np.mean(history[TUNING_ROUNDS // 2 :])):.4g}")


def settled_lattice(n_particles: int, box_side: float) -> NDArray[np.float32]:
    """(N, 2) positions in σ on a triangular lattice that fills the box from the floor up.

    Neighbours are at the distance of the Lennard-Jones minimum, 2^(1/6) σ, closer where the box would be too low.
    """
    spacing = 2.0 ** (1 / 6)
    while True:
        columns = int(box_side / spacing) + 1
        rows = -(-n_particles // columns)
        if (rows - 1) * spacing * np.sqrt(3) / 2 <= box_side:
            break
        spacing *= 0.99
    row, column = np.divmod(np.arange(n_particles), columns)
    gap = (box_side - (columns - 1) * spacing) / 2 if columns > 1 else 0.0
    x = np.clip(column * spacing + gap + (row % 2 - 0.5) * min(gap, spacing / 2), 0.0, box_side)
    return np.stack([x, row * spacing * np.sqrt(3) / 2], axis=1).astype(np.float32)


def _chains(ensemble: Ensemble, step: float, own: range, first: int, long_every: int) -> Chains:
    chain = first + np.arange(own.start, own.stop, dtype=np.int64)
    return Chains(ensemble.stream, ensemble.system, ensemble.gamma, step, chain, long_every=long_every)


def observe(chains: Chains, positions: NDArray[np.float32]) -> NDArray[np.float64]:
    """(3, chains) observables of chains at some positions, in the order of OBSERVABLES."""
    return np.stack([chains.energy, positions[..., 1].sum(axis=1, dtype=np.float64), close_pairs(positions, CLOSE)])


def schedule(ensemble: Ensemble, pilot: Pilot | None) -> Schedule:
    """What the protocol makes of the pilot; `reference` keeps its own step and sweeps."""
    s = ensemble.sampling
    if s.protocol == "reference":
        return Schedule(s.step, s.sweeps, s.sweeps)
    assert pilot is not None
    return Schedule(pilot.step, max(s.sweeps, pilot.burn_in), pilot.interval)


def pilot_table(pilots: Sequence[Pilot]) -> dict[str, NDArray[np.generic]]:
    """The pilots' attributes, each with an entry per ensemble, to be stored under /ensembles/pilot."""
    columns = [pilot.columns() for pilot in pilots]
    return {f"pilot/{name}": np.stack([c[name] for c in columns]) for name in (columns[0] if columns else ())}
