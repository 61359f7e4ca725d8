"""How often the proof of equilibrium rejects a burn-in that is too short, for some numbers and lengths of chains.

    python benchmarks/proof.py [GAMMA ...]      0.1, 0.4 and 3 by default

Each pilot is drawn with replacement from many chains of both starts. A burn-in of 5 τ, a half and a quarter of
it are put to the test: once to what the pilots were until now, 128 chains of about 100 τ whose means from the two
starts are compared from the burn-in to twice the burn-in and to the end, and to pilots that stop at twice the burn-in.
The bias is that of the chains at the burn-in, the largest of the three observables in standard deviations; the truth is
the mean of the last half of the long chains. The rule of at least 5 τ, which rejects all but the first, is left out.
"""

import sys

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.sampling import Sampling
from lj_vae_hpc.config.system import System
from lj_vae_hpc.sampling.chains import Chains
from lj_vae_hpc.sampling.ensemble import Ensemble
from lj_vae_hpc.sampling.equilibration import (
    ERRORS_APART,
    RELAXATIONS,
    RHAT_MAX,
    autocorrelation_time,
    between_starts,
    nested_rhat,
    suffices,
)
from lj_vae_hpc.sampling.pilot import observe, settled_lattice, tuned_step
from lj_vae_hpc.sampling.streams import stream

EVERY, LONG, SHORT, AT_ONCE = 32, 512, 4096, 512
SIZES, PILOTS = (128, 256, 512, 1024), 100
Records = NDArray[np.float32]


def records(gamma: float, step: float, count: int, sweeps: int, name: str) -> Records:
    """(3, count, times) observables of chains, every other one from the lattice."""
    system, parts = System(), []
    for first in range(0, count, AT_ONCE):
        chains = Chains(
            stream(name), system, gamma, step, np.arange(first, first + AT_ONCE), long_every=Sampling().long_every
        )
        positions = chains.positions
        positions[1::2] = settled_lattice(system.n_particles, system.box_side)
        chains.positions = positions
        rows = [observe(chains, positions)]
        while len(rows) <= sweeps // EVERY:
            chains.run(EVERY)
            rows.append(observe(chains, chains.positions))
        parts.append(np.stack(rows, axis=-1).astype(np.float32))
    return np.concatenate(parts, axis=1)


def drawn(random: np.random.Generator, pool: Records, count: int) -> NDArray[np.float64]:
    """The records of so many chains of a pool, half of them from each start."""
    pairs = random.integers(0, pool.shape[1] // 2, (count // 2, 2))
    return pool[:, (2 * pairs + [0, 1]).ravel()].astype(float)


def until_now(pilot: NDArray[np.float64], at: int) -> bool:
    """Whether few long chains reject a burn-in."""
    both = (between_starts(pilot[..., at:stop]) for stop in (2 * at, None))
    return any((abs(difference) > ERRORS_APART * error).any() for difference, error in both)


def rejects(pilot: NDArray[np.float64], at: int) -> bool:
    """Whether a pilot that ends at twice a burn-in rejects it."""
    pilot = pilot[..., : 2 * at + 1]
    return not suffices(pilot, at) or bool((nested_rhat(pilot[..., at:]) > RHAT_MAX).any())


def proof(gamma: float) -> None:
    """The table of one γ."""
    random = np.random.default_rng(1)
    step = tuned_step(Ensemble(1, System(), gamma, Sampling()))
    assert step is not None
    first = records(gamma, step, AT_ONCE, 8192, "first")[..., 128:]
    tau = max(autocorrelation_time(one.astype(float)) for one in first)
    burn_in = int(np.ceil(RELAXATIONS * tau))
    long = records(gamma, step, LONG, int(100 * tau) * EVERY, "long")
    short = records(gamma, step, SHORT, (2 * burn_in + 1) * EVERY, "short")
    half = long[..., long.shape[-1] // 2 :]
    mean, deviation = half.mean(axis=(1, 2), dtype=float), half.std(axis=(1, 2), dtype=float)
    print(f"gamma {gamma:g}: step {step:g}, τ {EVERY * tau:.0f} sweeps")
    print("  burn-in  bias: uniform lattice    128 of 100 τ   " + "   ".join(f"{n:4d} chains" for n in SIZES))
    for part in (1, 2, 4):
        at = burn_in // part
        soon = short[..., at : at + -(-at // 4)].mean(axis=-1, dtype=float)
        bias = [abs((soon[:, start::2].mean(axis=1) - mean) / deviation).max() for start in (0, 1)]
        old = np.mean([until_now(drawn(random, long, 128), at) for _ in range(PILOTS)])
        new = [np.mean([rejects(drawn(random, short, n), at) for _ in range(PILOTS)]) for n in SIZES]
        print(
            f"  {EVERY * at:7d}        {bias[0]:7.3f} {bias[1]:7.3f}           {100 * old:3.0f} %   "
            + "   ".join(f"     {100 * share:3.0f} %" for share in new),
            flush=True,
        )


if __name__ == "__main__":
    for value in sys.argv[1:] or ("0.1", "0.4", "3"):
        proof(float(value))
