"""The Metropolis kernel on a GPU: one chain in each thread.

It draws the same random numbers as the kernel of blocks and does the same roundings in the same order, so that a data
set does not tell which of the two made it. It keeps no pair energies: the old ones of a trial move are computed again.
"""

from collections.abc import Callable
from functools import cache

from numba import config, cuda, float32, uint32, uint64

from lj_vae_hpc.physics.potentials import Mie
from lj_vae_hpc.sampling.metropolis import EXPONENTIAL, constants, make_sweeps
from lj_vae_hpc.sampling.streams import CENTRE, HALF_RANGE, HALF_UNIT, UNIT, WEYL, A, B
from lj_vae_hpc.sampling.vectors import LANES

THREADS = 64  # of a thread block: small, so that few chains already use every multiprocessor
P0, P1, P2, P3, P4, P5, P6, P7 = EXPONENTIAL

# A pilot has few chains.
config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # type: ignore[attr-defined]


def find_gpu(local_rank: int) -> bool:
    """Whether there is a GPU that numba can use; takes one, so that the ranks of a node share them evenly."""
    if not cuda.is_available():
        return False
    cuda.select_device(local_rank % len(cuda.gpus))
    return True


@cuda.jit(device=True)
def _exp_negative(x):  # type: ignore[no-untyped-def]
    t = float32(0.0) if float32(0.0) < x else x
    t = (t if t > float32(-24.0) else float32(-24.0)) * float32(1 / 16)
    p = cuda.fma(t, P7, P6)
    p = cuda.fma(p, t, P5)
    p = cuda.fma(p, t, P4)
    p = cuda.fma(p, t, P3)
    p = cuda.fma(p, t, P2)
    p = cuda.fma(p, t, P1)
    p = cuda.fma(p, t, P0)
    p = p * p
    p = p * p
    p = p * p
    return p * p


@cuda.jit(device=True)
def _philox(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    for _ in range(10):
        product0, product1 = uint64(A) * uint64(c0), uint64(B) * uint64(c2)
        c0 = uint32(uint32(product1 >> uint64(32)) ^ c1 ^ k0)
        c2 = uint32(uint32(product0 >> uint64(32)) ^ c3 ^ k1)
        c1, c3 = uint32(product1 & uint64(0xFFFFFFFF)), uint32(product0 & uint64(0xFFFFFFFF))
        k0 = uint32((uint64(k0) + uint64(WEYL[0])) & uint64(0xFFFFFFFF))
        k1 = uint32((uint64(k1) + uint64(WEYL[1])) & uint64(0xFFFFFFFF))
    return c0, c1, c2, c3


@cuda.jit(device=True)
def _distance_squared(xi, yi, xj, yj):  # type: ignore[no-untyped-def]
    dx, dy = xi - xj, yi - yj
    return cuda.fma(dx, dx, dy * dy)


@cache
def make_gpu(potential: Mie) -> tuple[Callable[..., None], Callable[..., None]]:
    """The compiled kernel for one pair potential, with the arguments of metropolis.make_sweeps and the same results."""
    half_m, half_difference, prefactor, r2_min, truncated, r2_cut = constants(potential)
    _, fill = make_sweeps(potential)

    @cuda.jit(device=True)
    def pair_energy(r2):  # type: ignore[no-untyped-def]
        q = float32(1.0) / r2
        s = t = q
        for _ in range(half_m - 1):
            s = s * q
        for _ in range(half_difference - 1):
            t = t * q
        u = cuda.fma(s, t, -s)
        return u if r2 < r2_cut or not truncated else float32(0.0)

    @cuda.jit
    def sweeps(  # type: ignore[no-untyped-def]
        x, y, accepted, gamma, step, chain, key0, key1, key2, first, count, box_side, inverse_temperature
    ):
        thread = cuda.grid(1)
        block, lane = thread // LANES, thread % LANES
        if block >= x.shape[0]:
            return
        n_particles, taken = x.shape[1], 0
        c0, c1, largest = chain[block, lane], key2, step[block, lane]
        a = b = c = d = uint32(0)
        for sweep in range(count[block, lane]):
            index = uint32(first[block, lane] + uint32(sweep))
            for i in range(n_particles):
                if i % 2 == 0:  # four words serve two trial moves
                    a, b, c, d = _philox(c0, c1, index, uint32(i // 2), key0, key1)
                else:
                    a, b = c, d
                low = ((a & uint32(0x7FF)) << uint32(11)) | (b & uint32(0x7FF))
                right = cuda.fma(float32(a >> uint32(11)), HALF_RANGE, HALF_UNIT - float32(1.0))
                up = cuda.fma(float32(b >> uint32(11)), HALF_RANGE, HALF_UNIT - float32(1.0))
                threshold = cuda.fma(float32(low), UNIT, CENTRE)

                x_old, y_old = x[block, i, lane], y[block, i, lane]
                x_new, y_new = cuda.fma(right, largest, x_old), cuda.fma(up, largest, y_old)
                x_new = x_new if float32(0.0) <= x_new and x_new <= box_side else x_old
                y_new = y_new if float32(0.0) <= y_new and y_new <= box_side else y_old
                old = new = float32(0.0)
                for j in range(n_particles):
                    if j != i:
                        xj, yj = x[block, j, lane], y[block, j, lane]
                        new += pair_energy(_distance_squared(x_new, y_new, xj, yj))
                        r2 = _distance_squared(x_old, y_old, xj, yj)
                        old += pair_energy(r2 if r2 > r2_min else r2_min)
                change = cuda.fma(gamma[block, lane], y_new - y_old, prefactor * (new - old))
                if threshold < _exp_negative(change * -inverse_temperature):
                    x[block, i, lane], y[block, i, lane] = x_new, y_new
                    taken += 1
        accepted[block, lane] += float32(taken)

    def advance(  # type: ignore[no-untyped-def]
        x, y, pairs, accepted, gamma, step, chain, key0, key1, key2, first, count, box_side, inverse_temperature,
        trial, drawn,
    ):  # fmt: skip
        on_gpu = [cuda.to_device(array) for array in (x, y, accepted)]
        others = [cuda.to_device(array) for array in (gamma, step, chain, first, count)]
        sweeps[-(-count.size // THREADS), THREADS](
            *on_gpu, *others[:3], key0, key1, key2, *others[3:], box_side, inverse_temperature
        )
        for device, host in zip(on_gpu, (x, y, accepted), strict=True):
            device.copy_to_host(host)
        fill(x, y, pairs)

    return advance, fill
