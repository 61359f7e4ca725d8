"""The Metropolis kernel on a GPU: one chain in each thread.

It draws the same random numbers as the kernel of blocks and does the same roundings in the same order, so that a data
set does not tell which of the two made it. It keeps no pair energies: the old ones of a trial move are computed again.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import config, cuda, float32, uint32, uint64

from lj_vae_hpc.physics.potentials.base import Potential
from lj_vae_hpc.sampling.arithmetic import (
    distance_squared,
    exp_negative,
    exponential,
    for_potential,
    pair_energy,
    specialise,
)  # fmt: skip
from lj_vae_hpc.sampling.metropolis import make_sweeps
from lj_vae_hpc.sampling.streams import CENTRE, HALF_RANGE, HALF_UNIT, UNIT, WEYL, A, B
from lj_vae_hpc.sampling.vectors import LANES, fma

THREADS = 64  # of a thread block: small, so that few chains already use every multiprocessor

# A pilot has few chains.
config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # type: ignore[attr-defined]


def find_gpu(local_rank: int) -> bool:
    """Whether there is a GPU that numba can use; takes one, so that the ranks of a node share them evenly."""
    if not cuda.is_available():
        return False
    cuda.select_device(local_rank % len(cuda.gpus))
    return True


@cuda.jit(device=True)
def _fma(a, b, c):  # type: ignore[no-untyped-def]
    return cuda.fma(a, b, c)


@cuda.jit(device=True)
def _maximum(a, b):  # type: ignore[no-untyped-def]
    return a if a > b else b


@cuda.jit(device=True)
def _minimum(a, b):  # type: ignore[no-untyped-def]
    return a if a < b else b


@cuda.jit(device=True)
def _select(mask, a, b):  # type: ignore[no-untyped-def]
    return a if mask else b


@cuda.jit(device=True)
def _square_root(x):  # type: ignore[no-untyped-def]
    return float32(math.sqrt(x))


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


on_device = cuda.jit(device=True)
ON_GPU: dict[str, Any] = {
    "fma": _fma, "maximum": _maximum, "minimum": _minimum, "select": _select, "square_root": _square_root
}  # fmt: skip
for _function in (exp_negative, exponential, distance_squared):
    ON_GPU[_function.__name__] = specialise(_function, ON_GPU, on_device)


@cache
def make_gpu(potential: Potential) -> tuple[Callable[..., None], Callable[..., None]]:
    """The compiled kernel for one pair potential, with the arguments of metropolis.make_sweeps and the same results."""
    prefactor, r2_min = np.float32(potential.prefactor), np.float32(potential.smallest_squared)
    operations = ON_GPU | {"pair_energy": specialise(potential.truncated_formula(), ON_GPU, on_device)}
    _, fill = make_sweeps(potential)

    @cuda.jit
    @for_potential(potential, operations)
    def sweeps(  # type: ignore[no-untyped-def]
        x, y, accepted, gamma, steps, every, chain, key0, key1, key2, first, count, box_side, inverse_temperature
    ):
        thread = cuda.grid(1)
        block, lane = thread // LANES, thread % LANES
        if block >= x.shape[0]:
            return
        n_particles, taken = x.shape[1], 0
        c0, c1 = chain[block, lane], key2
        a = b = c = d = uint32(0)
        for sweep in range(count[block, lane]):
            index = uint32(first[block, lane] + uint32(sweep))
            long = (index + uint32(1)) % every == uint32(0)
            most_right, most_up = steps[1 if long else 0, block, lane], steps[2 if long else 0, block, lane]
            for i in range(n_particles):
                if i % 2 == 0:  # four words serve two trial moves
                    a, b, c, d = _philox(c0, c1, index, uint32(i // 2), key0, key1)
                else:
                    a, b = c, d
                low = ((a & uint32(0x7FF)) << uint32(11)) | (b & uint32(0x7FF))
                right = fma(float32(a >> uint32(11)), HALF_RANGE, HALF_UNIT - float32(1.0))
                up = fma(float32(b >> uint32(11)), HALF_RANGE, HALF_UNIT - float32(1.0))
                threshold = fma(float32(low), UNIT, CENTRE)

                x_old, y_old = x[block, i, lane], y[block, i, lane]
                x_new, y_new = fma(right, most_right, x_old), fma(up, most_up, y_old)
                x_new = x_new if float32(0.0) <= x_new and x_new <= box_side else x_old
                y_new = y_new if float32(0.0) <= y_new and y_new <= box_side else y_old
                old = new = float32(0.0)
                for j in range(n_particles):
                    if j != i:
                        xj, yj = x[block, j, lane], y[block, j, lane]
                        new += pair_energy(distance_squared(x_new, y_new, xj, yj))
                        r2 = distance_squared(x_old, y_old, xj, yj)
                        old += pair_energy(r2 if r2 > r2_min else r2_min)
                change = fma(gamma[block, lane], y_new - y_old, prefactor * (new - old))
                if threshold < exp_negative(change * -inverse_temperature):
                    x[block, i, lane], y[block, i, lane] = x_new, y_new
                    taken += 1
        accepted[block, lane] += float32(taken)

    def advance(  # type: ignore[no-untyped-def]
        x, y, pairs, accepted, gamma, steps, every, chain, key0, key1, key2, first, count, box_side,
        inverse_temperature, trial, drawn,
    ):  # fmt: skip
        on_gpu = [cuda.to_device(array) for array in (x, y, accepted)]
        others = [cuda.to_device(array) for array in (gamma, steps, chain, first, count)]
        sweeps[-(-count.size // THREADS), THREADS](
            *on_gpu, *others[:2], every, *others[2:3], key0, key1, key2, *others[3:], box_side, inverse_temperature
        )
        for device, host in zip(on_gpu, (x, y, accepted), strict=True):
            device.copy_to_host(host)
        fill(x, y, pairs)

    return advance, fill
