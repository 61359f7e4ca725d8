"""The Metropolis kernel: the chains of a block, one in each lane of a vector, advance in lockstep.

No lane branches on its data: walls, cutoff and acceptance select between two values. The energy of every pair is kept,
so that a trial move computes only the new ones: a block's pair energies, N (N - 1) / 2 vectors, stay in the fast caches
for N of some tens. A lane's result is the same whatever chains share its block.
"""

from collections.abc import Callable
from functools import cache

import numba
import numpy as np
from numba import float32, uint32

from lj_vae_hpc.physics.potentials.base import Potential
from lj_vae_hpc.sampling.arithmetic import (
    distance_squared,
    exp_negative,
    for_potential,
    named_by_source,
    on_vectors,
    pair_energy,
)  # fmt: skip
from lj_vae_hpc.sampling.streams import START, philox, trial_numbers
from lj_vae_hpc.sampling.vectors import LANES, fma, load, maximum, select, store, to_float, words


@numba.njit(cache=True)
@named_by_source
def uniform_start(x, y, chain, key0, key1, key2, box_side):  # type: ignore[no-untyped-def]
    """Fills x and y, each (blocks, N, LANES) float32, with independent uniform positions in the box (σ)."""
    to_box = float32(box_side * float32(2.0**-24))
    for block in range(x.shape[0]):
        chains = load(chain, block)
        for i in range(x.shape[1]):
            particle = words(uint32(i) | START)
            a, b, _, _ = philox(chains, words(key2), words(uint32(0)), particle, key0, key1)
            store(x[block], i, to_float(a >> uint32(8)) * to_box)
            store(y[block], i, to_float(b >> uint32(8)) * to_box)


@cache
def make_sweeps(potential: Potential) -> tuple[Callable[..., None], Callable[..., None]]:
    """The compiled kernel for one pair potential: its parameters are constants of the machine code.

    Returns:
        advance: changes x, y (blocks, N, LANES) float32 positions in σ, pairs (blocks, N (N - 1) / 2, LANES) float32
            energies of the pairs (i, j < i) in units of the potential's prefactor, and accepted (blocks, LANES)
            float32. It takes gamma (blocks, LANES) float32; steps (3, blocks, LANES) float32, the largest trial
            displacements per component in σ: of usual sweeps, and of long ones sideways and upwards; every uint32: each
            sweep of that number is long; chain (blocks, LANES) uint32; the three words of the ensemble's stream; first,
            count (blocks, LANES) uint32, the sweeps each chain has behind it and those to do now; box_side,
            inverse_temperature float32; trial (N, LANES) float32 and drawn (4, LANES) uint32 scratch.
            One sweep is one trial per particle in index order; trial displacements are uniform up to the largest; a
            component that would leave the box keeps its old value; acceptance is min(1, exp(-ΔU/T))
            (Metropolis et al., J. Chem. Phys. 21, 1087, 1953).
        fill: computes pairs from x and y; must be called before where positions were set.
    """
    prefactor, r2_min = np.float32(potential.prefactor), np.float32(potential.smallest_squared)
    its = for_potential(potential, on_vectors(potential))

    @numba.njit(cache=True, error_model="numpy")
    @its
    def fill(x, y, pairs):  # type: ignore[no-untyped-def]
        for block in range(x.shape[0]):
            xb, yb, ub = x[block], y[block], pairs[block]
            for i in range(x.shape[1]):
                for j in range(i):
                    r2 = distance_squared(load(xb, i), load(yb, i), load(xb, j), load(yb, j))
                    u = pair_energy(maximum(r2, r2_min))
                    store(ub, i * (i - 1) // 2 + j, u)

    @numba.njit(cache=True, error_model="numpy")
    @its
    def advance(  # type: ignore[no-untyped-def]
        x, y, pairs, accepted, gamma, steps, every, chain, key0, key1, key2, first, count, box_side,
        inverse_temperature, trial, drawn,
    ):  # fmt: skip
        n_particles = x.shape[1]
        for block in range(x.shape[0]):
            xb, yb, ub = x[block], y[block], pairs[block]
            chains, ensemble = load(chain, block), words(key2)
            gammas, phase = load(gamma, block), load(first, block) % every
            longest = uint32(0)
            for lane in range(LANES):
                longest = max(longest, count[block, lane])
            for sweep in range(longest):
                index, active = load(first, block) + uint32(sweep), words(uint32(sweep)) < load(count, block)
                # (index + 1) % every is 0; in vectors of words a remainder is slow.
                long = ((phase + uint32(sweep % every + 1)) ^ every) < uint32(1)
                most_right = select(long, load(steps[1], block), load(steps[0], block))
                most_up = select(long, load(steps[2], block), load(steps[0], block))
                for i in range(n_particles):
                    half = 2 * (i % 2)
                    if half == 0:  # four words serve two trial moves
                        a, b, c, d = philox(chains, ensemble, index, words(uint32(i // 2)), key0, key1)
                        store(drawn, 0, a)
                        store(drawn, 1, b)
                        store(drawn, 2, c)
                        store(drawn, 3, d)
                    right, up, threshold = trial_numbers(load(drawn, half), load(drawn, half + 1))

                    x_old, y_old = load(xb, i), load(yb, i)
                    x_new, y_new = fma(right, most_right, x_old), fma(up, most_up, y_old)
                    x_new = select((float32(0.0) <= x_new) & (x_new <= box_side), x_new, x_old)
                    y_new = select((float32(0.0) <= y_new) & (y_new <= box_side), y_new, y_old)

                    old = new = x_old - x_old
                    row = i * (i - 1) // 2
                    for j in range(i):
                        r2 = distance_squared(x_new, y_new, load(xb, j), load(yb, j))
                        u = pair_energy(r2)
                        new, old = new + u, old + load(ub, row + j)
                        store(trial, j, u)
                    row = i * (i + 1) // 2 + i
                    for j in range(i + 1, n_particles):
                        r2 = distance_squared(x_new, y_new, load(xb, j), load(yb, j))
                        u = pair_energy(r2)
                        new, old = new + u, old + load(ub, row)
                        store(trial, j, u)
                        row += j

                    change = fma(gammas, y_new - y_old, prefactor * (new - old))
                    accept = active & (threshold < exp_negative(change * -inverse_temperature))
                    store(xb, i, select(accept, x_new, x_old))
                    store(yb, i, select(accept, y_new, y_old))
                    store(accepted, block, load(accepted, block) + select(accept, float32(1.0), float32(0.0)))
                    # Not by one select: it would become a masked store, slow on AMD.
                    kept = select(accept, float32(0.0), float32(1.0))
                    row = i * (i - 1) // 2
                    for j in range(i):
                        store(ub, row + j, fma(kept, load(ub, row + j), select(accept, load(trial, j), float32(0.0))))
                    row = i * (i + 1) // 2 + i
                    for j in range(i + 1, n_particles):
                        store(ub, row, fma(kept, load(ub, row), select(accept, load(trial, j), float32(0.0))))
                        row += j

    return advance, fill
