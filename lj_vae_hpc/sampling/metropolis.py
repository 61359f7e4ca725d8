"""The Metropolis kernel: LANES independent chains advance in lockstep, one particle after another.

Positions are kept as [particle][lane], so that every inner loop is the same arithmetic over a constant number of lanes
and becomes vector instructions. For that no lane may branch on its data: walls, cutoff and acceptance are written as
blends with a factor 0 or 1. No re-association or contraction is allowed (fastmath is off), so a chain's result is the
same whatever chains share its vector, and on any CPU.
"""

from collections.abc import Callable
from functools import cache

import numba
import numpy as np
from numba import float32, uint32

from lj_vae_hpc.physics.potentials import Mie
from lj_vae_hpc.sampling.streams import START, philox

LANES = 256
TO_UNIT = np.float32(2.0**-24)  # 24 random bits to [0, 1)


# exp on [-1.5, 0] by a polynomial through the Chebyshev points, coefficients from low to high.
_P0, _P1, _P2, _P3, _P4, _P5, _P6, _P7 = (
    np.polynomial.Chebyshev.interpolate(np.exp, 7, domain=[-1.5, 0.0])
    .convert(kind=np.polynomial.Polynomial)
    .coef.astype(np.float32)
)


@numba.njit(inline="always")
def _exp_negative(x):  # type: ignore[no-untyped-def]
    """exp(x) for x <= 0 to 1e-5 relative; clamped below exp(-24) = 4e-11, which 24 random bits cannot tell from 0.

    exp(x/16) by a polynomial, then four squarings: no table, no branch.
    """
    t = max(min(x, float32(0.0)), float32(-24.0)) * float32(1 / 16)
    p = ((((((_P7 * t + _P6) * t + _P5) * t + _P4) * t + _P3) * t + _P2) * t + _P1) * t + _P0
    p = p * p
    p = p * p
    p = p * p
    return p * p


@numba.njit(cache=True)
def uniform_start(x, y, ensemble, chain, key0, key1, box_side):  # type: ignore[no-untyped-def]
    """Fills x and y, each (N, LANES) float32, with independent uniform positions in the box (σ)."""
    for i in range(x.shape[0]):
        for w in range(LANES):
            a, b, _, _ = philox(chain[w], ensemble[w], uint32(0), uint32(i) | START, key0, key1)
            x[i, w] = float32(a >> uint32(8)) * TO_UNIT * box_side
            y[i, w] = float32(b >> uint32(8)) * TO_UNIT * box_side


@numba.njit(error_model="numpy")
def _draw(u, v, threshold, ensemble, chain, sweep, particle, key0, key1):  # type: ignore[no-untyped-def]
    """Three uniform numbers per lane in [0, 1)."""
    for w in range(LANES):
        a, b, c, _ = philox(chain[w], ensemble[w], sweep, particle, key0, key1)
        u[w] = float32(a >> uint32(8)) * TO_UNIT
        v[w] = float32(b >> uint32(8)) * TO_UNIT
        threshold[w] = float32(c >> uint32(8)) * TO_UNIT


@numba.njit(error_model="numpy")
def _propose(new_x, new_y, x, y, step, box_side):  # type: ignore[no-untyped-def]
    """Turns uniform numbers in new_x, new_y into trial positions; a component leaving the box keeps its old value."""
    one = float32(1.0)
    for w in range(LANES):
        dx = (new_x[w] + new_x[w] - one) * step[w]
        dy = (new_y[w] + new_y[w] - one) * step[w]
        to_x, to_y = x[w] + dx, y[w] + dy
        new_x[w] = x[w] + float32((to_x >= float32(0.0)) & (to_x <= box_side)) * dx
        new_y[w] = y[w] + float32((to_y >= float32(0.0)) & (to_y <= box_side)) * dy


@numba.njit(error_model="numpy")
def _accept(  # type: ignore[no-untyped-def]
    x, y, accepted, new_x, new_y, prefactor, delta, gamma, threshold, inverse_temperature
):
    """The Metropolis rule: takes the new position where threshold < exp(-ΔU/T)."""
    for w in range(LANES):
        du = prefactor * delta[w] + gamma[w] * (new_y[w] - y[w])
        a = float32(threshold[w] < _exp_negative(-du * inverse_temperature))
        x[w] = a * new_x[w] + (float32(1.0) - a) * x[w]
        y[w] = a * new_y[w] + (float32(1.0) - a) * y[w]
        accepted[w] += np.int32(a)


@cache
def make_sweeps(potential: Mie) -> Callable[..., None]:
    """The compiled kernel for one pair potential: its exponents and cutoff are constants of the machine code.

    The kernel's arguments: x, y (N, LANES) float32 positions in σ, changed in place; accepted (LANES,) int32, added to;
    gamma, step (LANES,) float32; ensemble, chain (LANES,) uint32; key0, key1 uint32; first_sweep, sweeps int;
    box_side, inverse_temperature float32. One sweep is one trial per particle in index order; a trial displacement is
    uniform in [-step, step] per component; a component that would leave the box keeps its old value; acceptance is
    min(1, exp(-ΔU/T)) (Metropolis et al., J. Chem. Phys. 21, 1087, 1953).
    """
    half_m = potential.attractive // 2
    half_difference = (potential.repulsive - potential.attractive) // 2
    prefactor = np.float32(potential.prefactor)
    # Squared distances are kept above r2_min: below it a move is rejected or accepted all the same, and neither
    # 1/(a b) nor the sum over particles overflows single precision.
    r2_min = np.float32(max(1e-4, 10.0 ** (-68 / potential.repulsive)))
    truncated = potential.cutoff is not None
    r2_cut = np.float32((potential.cutoff or 0.0) ** 2)

    @numba.njit(cache=True, error_model="numpy")
    def sweeps_of_lanes(  # type: ignore[no-untyped-def]
        x, y, accepted, gamma, step, ensemble, chain, key0, key1, first_sweep, sweeps, box_side, inverse_temperature
    ):
        n_particles = x.shape[0]
        new_x = np.empty(LANES, np.float32)
        new_y = np.empty(LANES, np.float32)
        threshold = np.empty(LANES, np.float32)
        delta = np.empty(LANES, np.float32)
        one = float32(1.0)
        for sweep in range(first_sweep, first_sweep + sweeps):
            for i in range(n_particles):
                _draw(new_x, new_y, threshold, ensemble, chain, uint32(sweep), uint32(i), key0, key1)
                xi, yi = x[i], y[i]
                _propose(new_x, new_y, xi, yi, step, box_side)
                delta[:] = float32(0.0)
                for j in range(n_particles):
                    if j == i:
                        continue
                    xj, yj = x[j], y[j]
                    for w in range(LANES):
                        ox, oy = xi[w] - xj[w], yi[w] - yj[w]
                        nx, ny = new_x[w] - xj[w], new_y[w] - yj[w]
                        old = max(ox * ox + oy * oy, r2_min)
                        new = max(nx * nx + ny * ny, r2_min)
                        inverse = one / (old * new)  # one division serves both
                        q_old, q_new = inverse * new, inverse * old
                        s_old, s_new, t_old, t_new = q_old, q_new, q_old, q_new
                        for _ in range(half_m - 1):
                            s_old, s_new = s_old * q_old, s_new * q_new
                        for _ in range(half_difference - 1):
                            t_old, t_new = t_old * q_old, t_new * q_new
                        u_old, u_new = s_old * (t_old - one), s_new * (t_new - one)
                        if truncated:  # a constant of the machine code
                            u_old, u_new = u_old * float32(old < r2_cut), u_new * float32(new < r2_cut)
                        delta[w] += u_new - u_old
                _accept(xi, yi, accepted, new_x, new_y, prefactor, delta, gamma, threshold, inverse_temperature)

    return sweeps_of_lanes  # type: ignore[no-any-return]
