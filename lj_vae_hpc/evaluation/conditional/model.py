"""What is known of one particle from the others."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from lj_vae_hpc.evaluation.conditional.kernels import local_energies

Floats = NDArray[np.float64]

SPACING, RANGE = 0.05, 4.0  # of the knots of the pair function, and where it ends, in σ
TABLE = 0.01  # spacing of the table in r², in σ²
CELL, MOST_CELLS = 0.4, 512  # width of the cells that the box is divided into, in σ, and how many at most per side
OFFSETS = 48  # displacements that are tried
PAIRS = 1 << 18  # whose forces are computed at once
SHORTEST, LONGEST = 0.1, 4.0  # the range of their scales, in σ


class LocalEnergies(NamedTuple):
    """Of every particle, given the others; all in k_B T or nats."""

    pair: NDArray[np.float32]  # (n, N) Σ_j w(r_ij)
    surprise: Floats  # (n, N) -log of the conditional density times the area of the box
    displaced: Floats  # (n, N) log likelihood ratio: displaced by U(-a, a)², log a uniform from SHORTEST to LONGEST


@dataclass(frozen=True, eq=False)
class ConditionalModel:
    """p(x_i | all others, γ) = exp(-Σ_j w(r_ij) - s(γ) y_i) / Z in the box.

    Under a Boltzmann distribution w is u / T and s is γ / T, but neither is given: both are learned (fit.py).

    Attributes:
        pair: (K,) w in k_B T at r = k · SPACING, in σ.
        pair_error: (K,) standard errors.
        gammas: (k,) the γ of the training split.
        slope: (k,) s in k_B T / σ of each.
        slope_error: (k,) standard errors.
        box_side: L, in σ.
    """

    pair: Floats
    pair_error: Floats
    gammas: Sequence[float]
    slope: Floats
    slope_error: Floats
    box_side: float

    def local(self, positions: NDArray[np.float32], weights: Floats) -> LocalEnergies:
        """What the model makes of n configurations.

        Args:
            positions: (n, N, 2), in σ; what lies outside the box is taken as being at the wall, and is `displaced`.
            weights: (n, k) probabilities of γ, which average the slope.
        """
        inside = np.clip(positions, 0.0, np.float32(self.box_side))
        x, y = (np.ascontiguousarray(inside[..., k]) for k in range(2))
        slope = (weights @ self.slope).astype(np.float32)
        pair, free, displaced = np.empty(x.shape, np.float32), np.empty(x.shape), np.empty(x.shape)
        local_energies(
            x, y, slope, *self._grid, *self._table, *self._offsets, np.float32(LONGEST), pair, free, displaced
        )  # fmt: skip
        outside = (inside != positions).any(axis=2)
        surprise = pair + slope[:, None] * y + free
        return LocalEnergies(pair, *(np.where(outside, IMPOSSIBLE, part) for part in (surprise, displaced)))

    def energy(self, at: Floats, others: NDArray[np.float32], slope: float) -> Floats:
        """(m,) energy in k_B T of one more particle at places (m, 2) among some (N - 1, 2) others, in σ."""
        r = np.linalg.norm(at[:, None] - others.astype(np.float64), axis=-1)
        pairs = np.interp(r, np.arange(len(self.pair)) * SPACING, self.pair, right=0.0)
        return np.asarray(pairs.sum(axis=1) + slope * at[:, 1])

    def forces(self, positions: NDArray[np.float32], slope: float) -> Floats:
        """(n, N, 2) minus the gradient of the energy, in k_B T / σ, for positions (n, N, 2) in σ."""
        size = max(1, PAIRS // positions.shape[1] ** 2)
        parts = [self._forces(positions[start : start + size], slope) for start in range(0, len(positions), size)]
        return np.concatenate(parts)

    def _forces(self, positions: NDArray[np.float32], slope: float) -> Floats:
        """The same of so many configurations as are in memory at once."""
        x = positions.astype(np.float64)
        offset = x[:, :, None] - x[:, None]
        r = np.sqrt((offset**2).sum(axis=-1))
        r[:, np.arange(r.shape[1]), np.arange(r.shape[1])] = np.inf
        gradient = np.interp(r, np.arange(len(self.pair)) * SPACING, np.gradient(self.pair, SPACING), right=0.0)
        force = -((gradient / np.maximum(r, SPACING))[..., None] * offset).sum(axis=2)
        force[..., 1] -= slope
        return np.asarray(force)

    @cached_property
    def _table(self) -> tuple[NDArray[np.float32], NDArray[np.float32], np.float32]:
        r = np.sqrt(np.arange(0.0, RANGE**2 + TABLE / 2, TABLE))
        values = np.interp(r, np.arange(len(self.pair)) * SPACING, self.pair)
        values[-1] = 0.0
        return values.astype(np.float32), np.diff(values, append=0.0).astype(np.float32), np.float32(1 / TABLE)

    @cached_property
    def _grid(self) -> tuple[np.float32, int, int]:
        cells = min(MOST_CELLS, math.ceil(self.box_side / CELL))
        reach = min(cells - 1, math.ceil(RANGE / (self.box_side / cells)))
        return np.float32(self.box_side), cells, reach

    @cached_property
    def _offsets(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        scale, x, y = qmc.Halton(3, seed=0).random(OFFSETS).T
        amplitude = SHORTEST * (LONGEST / SHORTEST) ** scale
        return ((2 * x - 1) * amplitude).astype(np.float32), ((2 * y - 1) * amplitude).astype(np.float32)


IMPOSSIBLE = 100.0  # nats, of a particle outside the box
