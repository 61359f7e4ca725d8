"""Averages and free energies at any γ and T from configurations of many γ, by MBAR.

Shirts and Chodera, J. Chem. Phys. 129, 124105 (2008), as pymbar does it: with the reduced potential
u(x; γ, T) = (U₀(x) + γ Σy) / T, where U₀ is the pair energy, all configurations count at every γ.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

MOST_STATES = 64  # γ that enter; evenly chosen where there are more
MOST_ELEMENTS = 1 << 21  # of the matrix (γ, configurations), some copies of which pymbar holds at once
AT_ONCE = 16  # points whose averages are computed together
ROUNDS = 200  # of pymbar's solver at most; from thermodynamic integration it takes about ten


@dataclass(frozen=True, eq=False)
class Observed:
    """What is needed of n configurations of one fluid at one temperature.

    Attributes:
        gamma: (n,) γ of each.
        chain: (n,) number of its Markov chain; chains are independent.
        pair_energy: (n,) U₀, in ε.
        height_sum: (n,) Σy, in σ.
        temperature: T, in ε/k_B.
    """

    gamma: Floats
    chain: NDArray[np.int64]
    pair_energy: Floats
    height_sum: Floats
    temperature: float

    def __len__(self) -> int:
        return len(self.gamma)

    @cached_property
    def gammas(self) -> Floats:
        """(K,) the values of γ, ascending."""
        return np.unique(self.gamma)

    @cached_property
    def energy(self) -> Floats:
        """(n,) U = U₀ + γ Σy, in ε."""
        return np.asarray(self.pair_energy + self.gamma * self.height_sum)

    def take(self, which: NDArray[np.generic]) -> "Observed":
        """Some of the configurations."""
        columns = (self.gamma, self.chain, self.pair_energy, self.height_sum)
        gamma, chain, pair_energy, height_sum = (values[which] for values in columns)
        return Observed(gamma, chain, pair_energy, height_sum, self.temperature)

    def at(self, gamma: float) -> "Observed":
        """Those of one γ."""
        return self.take(self.gamma == gamma)

    def thinned(self, states: int) -> "Observed":
        """At most MOST_ELEMENTS / K² configurations of each γ, evenly chosen, in order of γ.

        Args:
            states: how many γ there are in all; at most K of them, MOST_STATES, are reweighted together.
        """
        each = max(1, MOST_ELEMENTS // min(MOST_STATES, states) ** 2)
        rows = [np.flatnonzero(self.gamma == gamma) for gamma in self.gammas]
        kept = [row[np.linspace(0, len(row) - 1, min(each, len(row))).round().astype(int)] for row in rows]
        return self.take(np.concatenate(kept))

    def of_some_states(self) -> "Observed":
        """Those of at most MOST_STATES values of γ, evenly chosen, in order of γ."""
        count = min(MOST_STATES, len(self.gammas))
        chosen = self.gammas[np.linspace(0, len(self.gammas) - 1, count).round().astype(int)]
        return self.take(np.concatenate([np.flatnonzero(self.gamma == gamma) for gamma in chosen]))

    def inefficiency(self) -> float:
        """By how much configurations of one chain, if there are several, add to the variance of a mean; at least 1."""
        ratios = []
        for gamma in self.gammas:
            here = self.at(gamma)
            _, number, sizes = np.unique(here.chain, return_inverse=True, return_counts=True)
            if len(sizes) < 10 or sizes.max() == 1:
                continue
            for values in (here.energy, here.height_sum):
                sums = np.bincount(number, values - values.mean())
                ratios.append((sums**2).sum() / max(((values - values.mean()) ** 2).sum(), 1e-300))
        return max(1.0, float(np.mean(ratios))) if ratios else 1.0


def observed_of(columns: dict[str, NDArray[Any]], temperature: float) -> Observed:
    """Observed configurations from the columns of a data set.

    Args:
        columns: gamma, chain, energy (U, in ε) and height (Σy, in σ) of every configuration.
        temperature: T, in ε/k_B.
    """
    gamma, height = columns["gamma"], columns["height"]
    return Observed(gamma, columns["chain"], columns["energy"] - gamma * height, height, temperature)


def merged(parts: Sequence[Observed]) -> Observed:
    """All configurations of some parts of one temperature."""
    columns = [[p.gamma, p.chain, p.pair_energy, p.height_sum] for p in parts]
    gamma, chain, pair_energy, height_sum = (np.concatenate(values) for values in zip(*columns, strict=True))
    return Observed(gamma, chain, pair_energy, height_sum, parts[0].temperature)


@dataclass(frozen=True, eq=False)
class Averages:
    """Moments at L points, with their covariance.

    Attributes:
        values: (L, 6) f = F/T up to a constant, ⟨U₀⟩, ⟨Σy⟩, ⟨U₀²⟩, ⟨U₀ Σy⟩, ⟨(Σy)²⟩; the last three of U₀ and Σy less
            their means over all configurations.
        covariance: (L, 6, L, 6).
        effective: (L,) effective number of configurations (Kish).
    """

    values: Floats
    covariance: Floats
    effective: Floats


class Reweighting:
    """MBAR of configurations of several γ that overlap.

    Args:
        observed: the configurations, in order of γ.

    Attributes:
        inefficiency: by which every variance is multiplied.
    """

    def __init__(self, observed: Observed) -> None:
        pymbar = _pymbar()
        self._temperature, self.inefficiency = observed.temperature, observed.inefficiency()
        self._centre = np.array([observed.pair_energy.mean(), observed.height_sum.mean()])
        self._pair = observed.pair_energy - self._centre[0]
        self._height = observed.height_sum - self._centre[1]
        gammas = observed.gammas
        numbers = np.searchsorted(gammas, observed.gamma)
        sizes = np.bincount(numbers)
        means = np.bincount(numbers, self._height) / sizes
        start = np.r_[0.0, np.cumsum(np.diff(gammas) * (means[1:] + means[:-1]) / 2)] / observed.temperature
        self._mbar = pymbar.MBAR(
            self._reduced(gammas, np.full(len(gammas), observed.temperature)), sizes, initial_f_k=start,
            maximum_iterations=ROUNDS, solver_protocol=({"method": "adaptive"},),
        )  # fmt: skip

    def averages(self, gammas: ArrayLike, temperatures: ArrayLike | None = None) -> Averages:
        """Moments at L points; memory grows as the number of configurations times 6 L.

        Args:
            gammas: (L,) γ.
            temperatures: (L,) T; that of the configurations unless given.
        """
        gamma = np.atleast_1d(np.asarray(gammas, dtype=float))
        temperature = np.full(len(gamma), self._temperature) if temperatures is None else np.asarray(temperatures)
        observables = np.stack([
            self._pair, self._height, self._pair**2, self._pair * self._height, self._height**2,
        ])  # fmt: skip
        offset = 1.0 + np.abs(observables).max(axis=1)  # pymbar takes logarithms, and cannot of a smallest value of 0
        observables += offset[:, None]
        which = np.stack([np.repeat(np.arange(len(gamma)), 5), np.tile(np.arange(5), len(gamma))])
        reduced = self._reduced(gamma, temperature)
        found = self._mbar.compute_expectations_inner(observables, reduced, which, return_theta=True)
        moments = found["observables"].reshape(-1, 5) - offset
        # Theta is the covariance of ln c for the observables and then, repeated, for the states; ⟨A⟩ = c_A / c.
        theta, count = found["Theta"] * self.inefficiency, 5 * len(gamma)
        scale = found["observables"] - found["Amin"]
        jacobian = np.zeros((len(gamma), 6, 2 * count))
        for k in range(len(gamma)):
            jacobian[k, 0, count + 5 * k] = 1.0
            for j in range(5):
                jacobian[k, 1 + j, [5 * k + j, count + 5 * k + j]] = np.array([-1.0, 1.0]) * scale[5 * k + j]
        flat = jacobian.reshape(-1, 2 * count)
        values = np.c_[found["f"][::5] + (self._centre[0] + gamma * self._centre[1]) / temperature, moments]
        values[:, 1:3] += self._centre
        covariance = (flat @ theta @ flat.T).reshape(len(gamma), 6, len(gamma), 6)
        return Averages(values, covariance, self._effective(reduced))

    @cached_property
    def shared(self) -> Floats:
        """(K − 1,) how many configurations the γ up to each and the γ beyond share.

        Every configuration has a probability p to be of one of the γ beyond. The sum of p (1 − p) is the number of
        shared configurations: the free energy across has an error of at most about k_B T over its square root (as
        Bennett's between two states). It is 0 where there is a gap.
        """
        below = np.cumsum(self._mbar.weights() * self._mbar.N_k, axis=1)[:, :-1]
        return np.asarray((below * (1 - below)).clip(min=0).sum(axis=0))

    def free_energy_slopes(self, gammas: Floats) -> tuple[Floats, Floats]:
        """(K,) dF/dγ by central differences of F, and its standard error, in σ."""
        width = 0.05 * self._temperature / max(float(self._height.std()), 1e-12)
        points = np.stack([gammas - width, gammas + width], axis=1)
        slopes, errors = [], []
        for low, high in points:
            both = self.averages([low, high])
            spread = both.covariance[1, 0, 1, 0] + both.covariance[0, 0, 0, 0] - 2 * both.covariance[1, 0, 0, 0]
            slopes.append(self._temperature * (both.values[1, 0] - both.values[0, 0]) / (high - low))
            errors.append(self._temperature * np.sqrt(max(spread, 0.0)) / (high - low))
        return np.array(slopes), np.array(errors)

    def heat_capacities(self, gammas: Floats) -> tuple[Floats, Floats]:
        """(K,) d⟨U⟩/dT by central differences in T, and its standard error, in k_B."""
        width = 0.01 * self._temperature
        found, errors = [], []
        for gamma in gammas:
            both = self.averages([gamma, gamma], self._temperature + np.array([-width, width]))
            direction = np.zeros((2, 6))
            direction[:, 1], direction[:, 2] = [-1.0, 1.0], [-gamma, gamma]
            direction /= 2 * width
            variance = np.einsum("ai,aibj,bj", direction, both.covariance, direction)
            found.append((direction * both.values).sum())
            errors.append(np.sqrt(max(float(variance), 0.0)))
        return np.array(found), np.array(errors)

    def energy_moments(self, gamma: float, moments: Floats) -> tuple[Floats, Floats]:
        """⟨U⟩ and var U of moments (6,), and the gradients of both in them, (2,) and (2, 6)."""
        first = moments[1:3] - self._centre
        weights = np.array([1.0, 2 * gamma, gamma**2])
        mean = moments[1] + gamma * moments[2]
        shifted = first[0] + gamma * first[1]
        variance = weights @ moments[3:] - shifted**2
        gradient = np.zeros((2, 6))
        gradient[0, 1:3] = 1.0, gamma
        gradient[1, 1:3] = -2 * shifted, -2 * shifted * gamma
        gradient[1, 3:] = weights
        return np.array([mean, variance]), gradient

    def _reduced(self, gamma: Floats, temperature: Floats) -> Floats:
        """(L, n) reduced potentials, less those of the mean configuration."""
        return np.asarray((self._pair + gamma[:, None] * self._height) / temperature[:, None])

    @cached_property
    def _log_mixture(self) -> Floats:
        """(n,) logarithm of the mixture of all states at every configuration."""
        f, counts, reduced = self._mbar.f_k, self._mbar.N_k, self._mbar.u_kn
        return np.asarray(np.logaddexp.reduce(np.log(counts)[:, None] + f[:, None] - reduced, axis=0))

    def _effective(self, reduced: Floats) -> Floats:
        logs = -reduced - self._log_mixture
        weights = np.exp(logs - logs.max(axis=1, keepdims=True))
        return np.asarray(weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1))


def _pymbar() -> Any:
    """The library, which prints an advertisement for another one when it is loaded."""
    logging.getLogger("pymbar").setLevel(logging.ERROR)
    import pymbar

    return pymbar
