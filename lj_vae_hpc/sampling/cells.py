"""The Metropolis kernel for many particles: one chain after another, neighbours from cell lists.

The particles of a cell lie side by side in vectors, so that a trial move looks at all particles of a cell at once; free
places hold a particle too far away to interact. It draws the same random numbers as the kernel of blocks and takes the
same arrays, but keeps of the pair energies only their sum.
"""

import math
from collections.abc import Callable
from functools import cache, partial

import numba
import numpy as np
from numba import float32, uint32

from lj_vae_hpc.physics.potentials.base import Potential
from lj_vae_hpc.sampling.arithmetic import (
    distance_squared,
    exp_negative,
    for_potential,
    inline,
    named_by_source,
    on_vectors,
    pair_energy,
)  # fmt: skip
from lj_vae_hpc.sampling.streams import philox, trial_numbers
from lj_vae_hpc.sampling.vectors import LANES, PLACES, load_places, maximum, place_words, store

FAR = np.float32(1e9)


@numba.njit(cache=True)
@named_by_source
def _draw(numbers, counter, chain, sweep, pair, key0, key1, key2):  # type: ignore[no-untyped-def]
    """Fills numbers (6, PLACES) with those of the trial moves of PLACES consecutive pairs of particles."""
    particles = load_places(counter, 0) + uint32(pair)
    a, b, c, d = philox(place_words(chain), place_words(key2), place_words(sweep), particles, key0, key1)
    right, up, threshold = trial_numbers(a, b)
    store(numbers, 0, right)
    store(numbers, 1, up)
    store(numbers, 2, threshold)
    right, up, threshold = trial_numbers(c, d)
    store(numbers, 3, right)
    store(numbers, 4, up)
    store(numbers, 5, threshold)


@numba.njit(cache=True)
def _cell(x, y, per_length, per_side):  # type: ignore[no-untyped-def]
    """Number of the cell of a point."""
    return min(int(y * per_length), per_side - 1) * per_side + min(int(x * per_length), per_side - 1)


@numba.njit(cache=True)
@named_by_source
def _fill_cells(x, y, per_length, per_side):  # type: ignore[no-untyped-def]
    """Positions by cell and place, (cells, places) each, which particle has a place, and each particle's place.

    A cell has a multiple of PLACES places, enough for the fullest one to take in another particle.
    """
    occupied = np.zeros(per_side * per_side, np.int64)
    fullest = 0
    for i in range(len(x)):
        cell = _cell(x[i], y[i], per_length, per_side)
        occupied[cell] += 1
        fullest = max(fullest, occupied[cell])
    places = (fullest // PLACES + 1) * PLACES
    cell_x, cell_y = np.full((len(occupied), places), FAR), np.full((len(occupied), places), FAR)
    owner, place = np.zeros((len(occupied), places), np.int64), np.zeros(len(x), np.int64)
    occupied[:] = 0
    for i in range(len(x)):
        cell = _cell(x[i], y[i], per_length, per_side)
        cell_x[cell, occupied[cell]], cell_y[cell, occupied[cell]] = x[i], y[i]
        owner[cell, occupied[cell]], place[i] = i, occupied[cell]
        occupied[cell] += 1
    return cell_x, cell_y, owner, place, occupied


def _pair_sums(x, y, vectors_x, vectors_y, scratch, per_length, per_side, r2_min):  # type: ignore[no-untyped-def]
    """A vector whose sum is Σ_j u / C of a particle at a point; the particle must not itself be in the cells."""
    column, row = min(int(x * per_length), per_side - 1), min(int(y * per_length), per_side - 1)
    rows_per_cell = len(vectors_x) // (per_side * per_side)
    scratch[0, :] = float32(0.0)
    total = load_places(scratch, 0)
    for r in range(max(0, row - 1), min(per_side, row + 2)):
        first, last = r * per_side + max(0, column - 1), r * per_side + min(per_side, column + 2)
        for k in range(first * rows_per_cell, last * rows_per_cell):
            r2 = maximum(distance_squared(load_places(vectors_x, k), load_places(vectors_y, k), x, y), r2_min)
            total = total + pair_energy(r2)
    return total


def _fill(x, y, pairs, scratch, per_length, per_side, r2_min):  # type: ignore[no-untyped-def]
    """Sums of all pair energies."""
    for block in range(x.shape[0]):
        for lane in range(LANES):
            px, py = x[block, :, lane].copy(), y[block, :, lane].copy()
            cell_x, cell_y, _, place, _ = _fill_cells(px, py, per_length, per_side)
            vectors_x, vectors_y = cell_x.reshape(-1, PLACES), cell_y.reshape(-1, PLACES)
            total = 0.0
            for i in range(len(px)):
                cell = _cell(px[i], py[i], per_length, per_side)
                cell_x[cell, place[i]] = FAR
                sums = _pair_sums(px[i], py[i], vectors_x, vectors_y, scratch, per_length, per_side, r2_min)
                store(scratch, 0, sums)
                total += scratch[0].sum()
                cell_x[cell, place[i]] = px[i]
            pairs[block, 0, lane] = total / 2


def make_cells(
    potential: Potential, box_side: float, n_particles: int
) -> tuple[Callable[..., None], Callable[..., None]]:
    """The kernel for one pair potential, one box and number of particles; one cell where there is no cutoff.

    Returns:
        advance: as that of metropolis.make_sweeps, but pairs (blocks, 1, LANES) hold the sum of all pair energies.
        fill: likewise.
    """
    per_side = 1
    if potential.cutoff:
        per_side = max(1, min(int(box_side / potential.cutoff), math.isqrt(n_particles)))  # not more than particles
    advance, fill = (partial(kernel, np.float32(per_side / box_side), per_side) for kernel in compiled(potential))
    return advance, fill


@cache
def compiled(potential: Potential) -> tuple[Callable[..., None], Callable[..., None]]:
    """The kernels of make_cells for any box: they first take the cells per length and per side."""
    prefactor, r2_min = np.float32(potential.prefactor), np.float32(potential.smallest_squared)
    operations = on_vectors(potential)
    its = for_potential(potential, operations)
    operations["_pair_sums"] = inline(its(_pair_sums))
    operations["_fill"] = numba.njit(its(_fill))

    @numba.njit(cache=True, error_model="numpy")
    @its
    def fill(per_length, per_side, x, y, pairs):  # type: ignore[no-untyped-def]
        scratch = np.empty((1, PLACES), np.float32)
        _fill(x, y, pairs, scratch, per_length, per_side, r2_min)

    @numba.njit(cache=True, error_model="numpy")
    @its
    def advance(  # type: ignore[no-untyped-def]
        per_length, per_side, x, y, pairs, accepted, gamma, steps, every, chain, key0, key1, key2, first, count,
        box_side, inverse_temperature, trial, drawn,
    ):  # fmt: skip
        numbers, scratch = np.empty((6, PLACES), np.float32), np.empty((1, PLACES), np.float32)
        counter = np.empty((1, PLACES), np.uint32)
        for k in range(PLACES):
            counter[0, k] = k
        for block in range(x.shape[0]):
            for lane in range(LANES):
                px, py = x[block, :, lane].copy(), y[block, :, lane].copy()
                g, taken = gamma[block, lane], 0
                for sweep in range(first[block, lane], first[block, lane] + count[block, lane]):
                    long = (sweep + 1) % every == 0
                    most_right = steps[1 if long else 0, block, lane]
                    most_up = steps[2 if long else 0, block, lane]
                    # Anew for every sweep: the order of sums then depends on positions alone, not on the calls before.
                    cell_x, cell_y, owner, place, occupied = _fill_cells(px, py, per_length, per_side)
                    vectors_x, vectors_y = cell_x.reshape(-1, PLACES), cell_y.reshape(-1, PLACES)
                    for i in range(len(px)):
                        k = i % (2 * PLACES)
                        if k == 0:
                            _draw(numbers, counter, chain[block, lane], uint32(sweep), uint32(i // 2), key0, key1, key2)
                        word = 3 * (k % 2)
                        old_x, old_y = px[i], py[i]
                        new_x = float32(old_x + numbers[word, k // 2] * most_right)
                        new_y = float32(old_y + numbers[word + 1, k // 2] * most_up)
                        new_x = new_x if float32(0.0) <= new_x <= box_side else old_x
                        new_y = new_y if float32(0.0) <= new_y <= box_side else old_y
                        here = _cell(old_x, old_y, per_length, per_side)
                        cell_x[here, place[i]] = FAR
                        new = _pair_sums(new_x, new_y, vectors_x, vectors_y, scratch, per_length, per_side, r2_min)
                        old = _pair_sums(old_x, old_y, vectors_x, vectors_y, scratch, per_length, per_side, r2_min)
                        store(scratch, 0, new - old)
                        for half in (8, 4, 2, 1):  # PLACES is 16
                            for w in range(half):
                                scratch[0, w] += scratch[0, w + half]
                        du = prefactor * scratch[0, 0] + g * (new_y - old_y)
                        scratch[0, :] = -du * inverse_temperature
                        store(scratch, 0, exp_negative(load_places(scratch, 0)))
                        if not numbers[word + 2, k // 2] < scratch[0, 0]:
                            cell_x[here, place[i]] = old_x
                            continue
                        taken += 1
                        px[i], py[i] = new_x, new_y
                        there = _cell(new_x, new_y, per_length, per_side)
                        if there != here:
                            occupied[here] -= 1  # the last particle of the cell takes the place that is left
                            last, hole = occupied[here], place[i]
                            cell_x[here, hole], cell_y[here, hole] = cell_x[here, last], cell_y[here, last]
                            owner[here, hole] = owner[here, last]
                            place[owner[here, last]] = hole
                            cell_x[here, last] = FAR
                            if occupied[there] == cell_x.shape[1]:
                                cell_x, cell_y, owner, place, occupied = _fill_cells(px, py, per_length, per_side)
                                vectors_x, vectors_y = cell_x.reshape(-1, PLACES), cell_y.reshape(-1, PLACES)
                                continue
                            place[i] = occupied[there]
                            owner[there, place[i]] = i
                            occupied[there] += 1
                        cell_x[there, place[i]], cell_y[there, place[i]] = new_x, new_y
                accepted[block, lane] += taken
                for i in range(len(px)):
                    x[block, i, lane], y[block, i, lane] = px[i], py[i]
        _fill(x, y, pairs, scratch, per_length, per_side, r2_min)

    return advance, fill
