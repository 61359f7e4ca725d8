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

from lj_vae_hpc.physics.potentials import Mie
from lj_vae_hpc.sampling.streams import START, philox, trial_numbers
from lj_vae_hpc.sampling.vectors import fma, load, maximum, minimum, select, store, to_float, words

# exp on [-1.5, 0] by a polynomial through the Chebyshev points, coefficients from low to high.
EXPONENTIAL = (
    np.polynomial.Chebyshev.interpolate(np.exp, 7, domain=[-1.5, 0.0])
    .convert(kind=np.polynomial.Polynomial)
    .coef.astype(np.float32)
)
_P0, _P1, _P2, _P3, _P4, _P5, _P6, _P7 = EXPONENTIAL


@numba.njit(inline="always")
def exp_negative(x):  # type: ignore[no-untyped-def]
    """exp(min(x, 0)) of a vector to 1e-5 relative, clamped below exp(-24) = 4e-11, far below any threshold.

    exp(x/16) by a polynomial, then four squarings: no table, no branch.
    """
    t = maximum(minimum(float32(0.0), x), float32(-24.0)) * float32(1 / 16)
    p = fma(fma(fma(fma(fma(fma(fma(t, _P7, _P6), t, _P5), t, _P4), t, _P3), t, _P2), t, _P1), t, _P0)
    p = p * p
    p = p * p
    p = p * p
    return p * p


@numba.njit(inline="always")
def distance_squared(xi, yi, xj, yj):  # type: ignore[no-untyped-def]
    """Squared distances in σ²."""
    dx, dy = xi - xj, yi - yj
    return fma(dx, dx, dy * dy)


@numba.njit(inline="always")
def pair_energy(r2, half_m, half_difference, truncated, r2_cut):  # type: ignore[no-untyped-def]
    """u(r) / C of Mie at squared distances, from constants that make_sweeps derives from it."""
    q = float32(1.0) / r2
    s = t = q
    for _ in range(half_m - 1):
        s = s * q
    for _ in range(half_difference - 1):
        t = t * q
    u = fma(s, t, -s)
    return select(r2 < r2_cut, u, float32(0.0)) if truncated else u


@numba.njit(cache=True)
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


def constants(potential: Mie) -> tuple[int, int, np.float32, np.float32, bool, np.float32]:
    """Half of m and of n - m, C, the least squared distance, whether there is a cutoff, and its square.

    Plain numbers, since numba keys its cache by the values that a function closes over. Starting positions may overlap:
    their squared distances are taken as the least one, so that sums stay finite.
    """
    least = max(1e-4, 10.0 ** (-68 / potential.repulsive))
    cutoff = potential.cutoff
    return (
        potential.attractive // 2, (potential.repulsive - potential.attractive) // 2, np.float32(potential.prefactor),
        np.float32(least), cutoff is not None, np.float32((cutoff or 0.0) ** 2),
    )  # fmt: skip


@cache
def make_sweeps(potential: Mie) -> tuple[Callable[..., None], Callable[..., None]]:
    """The compiled kernel for one pair potential: its exponents and cutoff are constants of the machine code.

    Returns:
        advance: changes x, y (blocks, N, LANES) float32 positions in σ, pairs (blocks, N (N - 1) / 2, LANES) float32
            energies of the pairs (i, j < i) in units of the potential's prefactor, and accepted (blocks, LANES)
            float32. It takes gamma, step (blocks, LANES) float32; chain (blocks, LANES) uint32; the three words of
            the ensemble's stream; first, count (blocks, LANES) uint32, the sweeps each chain has behind it and those to
            do now; box_side, inverse_temperature float32; trial (N, LANES) float32 and drawn (4, LANES) uint32 scratch.
            One sweep is one trial per particle in index order; a trial displacement is uniform in [-step, step] per
            component; a component that would leave the box keeps its old value; acceptance is min(1, exp(-ΔU/T))
            (Metropolis et al., J. Chem. Phys. 21, 1087, 1953).
        fill: computes pairs from x and y; must be called before where positions were set.
    """
    half_m, half_difference, prefactor, r2_min, truncated, r2_cut = constants(potential)

    @numba.njit(cache=True, error_model="numpy")
    def fill(x, y, pairs):  # type: ignore[no-untyped-def]
        for block in range(x.shape[0]):
            xb, yb, ub = x[block], y[block], pairs[block]
            for i in range(x.shape[1]):
                for j in range(i):
                    r2 = distance_squared(load(xb, i), load(yb, i), load(xb, j), load(yb, j))
                    u = pair_energy(maximum(r2, r2_min), half_m, half_difference, truncated, r2_cut)
                    store(ub, i * (i - 1) // 2 + j, u)

    @numba.njit(cache=True, error_model="numpy")
    def advance(  # type: ignore[no-untyped-def]
        x, y, pairs, accepted, gamma, step, chain, key0, key1, key2, first, count, box_side, inverse_temperature,
        trial, drawn,
    ):  # fmt: skip
        n_particles = x.shape[1]
        for block in range(x.shape[0]):
            xb, yb, ub = x[block], y[block], pairs[block]
            chains, ensemble = load(chain, block), words(key2)
            gammas, largest = load(gamma, block), load(step, block)
            for sweep in range(count[block].max()):
                index, active = load(first, block) + uint32(sweep), words(uint32(sweep)) < load(count, block)
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
                    x_new, y_new = fma(right, largest, x_old), fma(up, largest, y_old)
                    x_new = select((float32(0.0) <= x_new) & (x_new <= box_side), x_new, x_old)
                    y_new = select((float32(0.0) <= y_new) & (y_new <= box_side), y_new, y_old)

                    old = new = x_old - x_old
                    row = i * (i - 1) // 2
                    for j in range(i):
                        r2 = distance_squared(x_new, y_new, load(xb, j), load(yb, j))
                        u = pair_energy(r2, half_m, half_difference, truncated, r2_cut)
                        new, old = new + u, old + load(ub, row + j)
                        store(trial, j, u)
                    row = i * (i + 1) // 2 + i
                    for j in range(i + 1, n_particles):
                        r2 = distance_squared(x_new, y_new, load(xb, j), load(yb, j))
                        u = pair_energy(r2, half_m, half_difference, truncated, r2_cut)
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
