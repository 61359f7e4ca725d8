"""Sums of a tabulated pair function over configurations, compiled."""

import numba
import numpy as np
from numba import float32, float64, int32

from lj_vae_hpc.sampling.arithmetic import exp_negative, named_by_source, specialise

FAST = {"contract", "reassoc", "nsz", "arcp", "nnan", "ninf"}  # lets loops become vector instructions
OUTSIDE = np.float32(1e4)  # energy in k_B T of a place outside the box


@numba.njit(inline="always")
def _fma(a, b, c):  # type: ignore[no-untyped-def]
    return a * b + c


_exponential = specialise(exp_negative, {"fma": _fma, "maximum": max, "minimum": min}, numba.njit(inline="always"))


@numba.njit(fastmath=FAST, cache=True)
def _add_pair(out, xs, ys, x, y, values, slopes, inverse):  # type: ignore[no-untyped-def]
    """Adds the pair function between (x, y) and each of some places; linear in r² between the entries of the table."""
    last = float32(len(values) - 1)
    for k in range(len(xs)):
        dx, dy = xs[k] - x, ys[k] - y
        t = min((dx * dx + dy * dy) * inverse, last)
        i = int32(t)
        out[k] += values[i] + (t - float32(i)) * slopes[i]


@numba.njit(fastmath=FAST, cache=True)
@named_by_source
def _boltzmann(energies, least, weights):  # type: ignore[no-untyped-def]
    """Σ exp(least - e); overwrites `weights` with the terms. No energy may be below `least`.

    A loop that stored and summed would sum one by one, with another rounding, where both arrays happen to lie close by.
    """
    for k in range(len(energies)):
        weights[k] = _exponential(least - energies[k])
    total = float32(0.0)
    for k in range(len(energies)):
        total += weights[k]
    return float64(total)


@numba.njit(fastmath=FAST, cache=True)
def _least(energies):  # type: ignore[no-untyped-def]
    least = energies[0]
    for k in range(1, len(energies)):
        least = min(least, energies[k])
    return least


@numba.njit(cache=True)
def field(xs, ys, slope, side, cells, reach, values, slopes, inverse, total, near):  # type: ignore[no-untyped-def]
    """Energy of one more particle at the centre of every cell of a square grid, and the part of each particle in it.

    Args:
        xs, ys: (N,) float32 positions, in σ.
        slope: of the energy in y, in k_B T / σ.
        side: L.
        cells: along each side.
        reach: cells on each side of a particle's own that it acts on.
        values, slopes, inverse: the table of the pair function.
        total: (cells, cells) float32, rows are y; overwritten with the energies in k_B T.
        near: (N, 2 reach + 1, 2 reach + 1) float32; overwritten with each particle's part, 0 outside the grid.
    """
    width = side / float32(cells)
    centres, rows = np.empty(cells, np.float32), np.empty(cells, np.float32)
    for cell in range(cells):
        centres[cell] = (cell + 0.5) * width
    for row in range(cells):
        total[row, :] = slope * centres[row]
    for i in range(len(xs)):
        column, line = min(cells - 1, int(xs[i] / width)), min(cells - 1, int(ys[i] / width))
        left, right = max(0, column - reach), min(cells, column + reach + 1)
        for row in range(max(0, line - reach), min(cells, line + reach + 1)):
            rows[:] = centres[row]
            part = near[i, row - line + reach, left - column + reach : right - column + reach]
            part[:] = 0.0
            _add_pair(part, centres[left:right], rows[left:right], xs[i], ys[i], values, slopes, inverse)
            for k in range(right - left):
                total[row, left + k] += part[k]


@numba.njit(cache=True)
@named_by_source
def local_energies(  # type: ignore[no-untyped-def]
    x, y, slope, side, cells, reach, values, slopes, inverse, offset_x, offset_y, range_of_offsets, pair, free, moved
):  # fmt: skip
    """Of every particle of n configurations: its energy, and what it would be elsewhere.

    Args:
        x, y: (n, N) float32 positions in the box, in σ.
        slope: (n,) float32 of the energy in y, in k_B T / σ.
        side, cells, reach, values, slopes, inverse: as of `field`.
        offset_x, offset_y: (k,) float32 displacements, in σ, none longer in a component than range_of_offsets.
        range_of_offsets: float32.
        pair: (n, N) float32; overwritten with Σ_j w(r_ij), in k_B T.
        free: (n, N) float64; overwritten with the logarithm of the mean of exp(-energy) over the box.
        moved: (n, N) float64; overwritten with the logarithm of the mean of exp(energy - energy there) over the
            displacements; places outside the box count as 0.
    """
    n, count = x.shape
    size = 2 * reach + 1
    total, near = np.empty((cells, cells), np.float32), np.zeros((count, size, size), np.float32)
    weights, after = np.empty((cells, cells), np.float32), np.empty(size, np.float32)
    terms = np.empty(max(size, len(offset_x)), np.float32)
    one, width = np.empty(count, np.float32), side / float32(cells)
    close_x, close_y = np.empty(count, np.float32), np.empty(count, np.float32)
    there_x, there_y = np.empty(len(offset_x), np.float32), np.empty(len(offset_x), np.float32)
    there = np.empty(len(offset_x), np.float32)
    radius = np.sqrt(float32(len(values) - 1) / inverse) + range_of_offsets
    for a in range(n):
        xs, ys, g = x[a], y[a], slope[a]
        field(xs, ys, g, side, cells, reach, values, slopes, inverse, total, near)
        least, everywhere = _least(total.reshape(-1)), 0.0
        for row in range(cells):
            everywhere += _boltzmann(total[row], least, weights[row])
        for i in range(count):
            # The mean over the box without particle i: only near it does the field change.
            column, line = min(cells - 1, int(xs[i] / width)), min(cells - 1, int(ys[i] / width))
            left, right = max(0, column - reach), min(cells, column + reach + 1)
            low, high = max(0, line - reach), min(cells, line + reach + 1)
            lowest = least
            for row in range(low, high):
                part = near[i, row - line + reach, left - column + reach : right - column + reach]
                for k in range(right - left):
                    lowest = min(lowest, total[row, left + k] - part[k])
            own = free_part = 0.0
            for row in range(low, high):
                part = near[i, row - line + reach, left - column + reach : right - column + reach]
                for k in range(right - left):
                    after[k] = total[row, left + k] - part[k]
                own += float64(weights[row, left:right].sum())
                free_part += _boltzmann(after[: right - left], lowest, terms)
            sum_there = max(everywhere - own, 0.0) * np.exp(float64(lowest - least)) + free_part
            free[a, i] = np.log(sum_there / (cells * cells)) - lowest
            # Elsewhere nearby.
            neighbours = 0
            for j in range(count):
                if j != i and abs(xs[j] - xs[i]) < radius and abs(ys[j] - ys[i]) < radius:
                    close_x[neighbours], close_y[neighbours] = xs[j], ys[j]
                    neighbours += 1
            one[:neighbours] = 0.0
            _add_pair(
                one[:neighbours], close_x[:neighbours], close_y[:neighbours], xs[i], ys[i], values, slopes, inverse
            )
            here = one[:neighbours].sum()
            pair[a, i] = here
            for k in range(len(there)):
                there_x[k], there_y[k] = offset_x[k] + xs[i], offset_y[k] + ys[i]
                there[k] = g * there_y[k]
            for j in range(neighbours):
                _add_pair(there, there_x, there_y, close_x[j], close_y[j], values, slopes, inverse)
            for k in range(len(there)):
                if there_x[k] < 0.0 or there_y[k] < 0.0 or there_x[k] > side or there_y[k] > side:
                    there[k] = OUTSIDE
            lowest = _least(there)
            mean = _boltzmann(there, lowest, terms) / len(there)
            moved[a, i] = float64(here + g * ys[i]) - float64(lowest) + np.log(mean)


@numba.njit(cache=True)
def hat_functions(positions, which, places, spacing, out):  # type: ignore[no-untyped-def]
    """Of a particle at each of some places, how often its distances to the others fall at each knot, shared linearly.

    Args:
        positions: (n, N, 2), in σ.
        which: (n, m) numbers of particles.
        places: (n, m, c, 2), in σ.
        spacing: of the knots in r, in σ; the first is at 0.
        out: (n, m, c, knots), zeros; overwritten.
    """
    knots = out.shape[3]
    for a in range(places.shape[0]):
        for b in range(places.shape[1]):
            for c in range(places.shape[2]):
                for j in range(positions.shape[1]):
                    if j != which[a, b]:
                        dx = positions[a, j, 0] - places[a, b, c, 0]
                        dy = positions[a, j, 1] - places[a, b, c, 1]
                        t = np.sqrt(dx * dx + dy * dy) / spacing
                        k = int(t)
                        if k < knots:
                            out[a, b, c, k] += 1.0 - (t - k)
                        if k + 1 < knots:
                            out[a, b, c, k + 1] += t - k
