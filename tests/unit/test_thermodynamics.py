"""Thermodynamics over γ against closed forms and quadrature, and the coverage of its errors."""

import numpy as np
import pytest
from scipy.stats import binom, norm

from lj_vae_hpc.scan.reweighting import Observed, Reweighting
from lj_vae_hpc.scan.thermodynamics import (
    ENOUGH,
    FALSE_ALARMS,
    Thermodynamics,
    capacity_check,
    checks,
    thermodynamics,
)

SIDE, T = 4.0, 0.75
QUANTITIES = ("energy", "heat_capacity", "height", "free_energy")


def heights(random: np.random.Generator, gamma: float, shape: tuple[int, ...]) -> np.ndarray:
    """Heights with density exp(−γ y / T) in the box."""
    a = gamma / T
    return -np.log1p(-random.uniform(size=shape) * -np.expm1(-a * SIDE)) / a


def ideal_gas(seed: int, gammas: list[float], each: int, particles: int) -> Observed:
    random = np.random.default_rng(seed)
    total = np.concatenate([heights(random, g, (each, particles)).sum(axis=1) for g in gammas])
    chain = np.tile(np.arange(each), len(gammas))
    return Observed(np.repeat(gammas, each), chain, np.zeros(len(total)), total, T)


def exact_ideal_gas(gamma: float, first: float, particles: int) -> dict[str, float]:
    """Closed forms of N particles without interaction."""
    a, b = gamma / T, first / T
    span = a * SIDE
    height = 1 / a - SIDE / np.expm1(span)
    variance = 1 / a**2 - SIDE**2 * np.exp(span) / np.expm1(span) ** 2
    log_z, log_z_first = (np.log(-np.expm1(-c * SIDE) / c) for c in (a, b))
    return {
        "energy": particles * gamma * height, "heat_capacity": particles * gamma**2 * variance / T**2,
        "height": height, "free_energy": -T * particles * (log_z - log_z_first),
    }  # fmt: skip


def pulls(found: Thermodynamics, exact: dict[float, dict[str, float]]) -> list[float]:
    return [
        (row[name] - exact[row["gamma"]][name]) / row[f"{name}_error"]
        for row in found.rows for name in QUANTITIES if row[f"{name}_error"]
    ]  # fmt: skip


@pytest.mark.parametrize("particles", [1, 30])
def test_ideal_gas_and_the_coverage_of_its_errors(particles: int) -> None:
    gammas, repeats = [0.3, 0.6, 1.0], 30
    runs = [thermodynamics(ideal_gas(seed, gammas, 300, particles), particles) for seed in range(repeats)]
    exact = {row["gamma"]: exact_ideal_gas(row["gamma"], 0.3, particles) for row in runs[0].rows}
    assert len(exact) == 11 and not runs[0].gaps
    found = np.array(
        [pulls(run, exact) for run in runs]
    )  # (repeats, quantities), columns not independent of each other
    for bound in (1.0, 2.0):
        share, expected = (np.abs(found) < bound).mean(axis=0), norm.cdf(bound) - norm.cdf(-bound)
        low, high = binom.interval(1 - 1e-3 / found.shape[1], repeats, expected)
        assert (share >= low / repeats).all() and (share <= high / repeats).all(), (bound, share)
    # At least 60 independent values (⟨Σy⟩ and its variance in 30 runs): 1 ± 0.09, three standard deviations.
    assert 0.73 < np.sqrt((found**2).mean()) < 1.27


def test_two_particles_against_quadrature() -> None:
    """Positions by rejection, so exact; Z by quadrature over the separation, gravity in closed form."""
    random, gammas, each = np.random.default_rng(5), [0.4, 0.8, 1.4], 2000
    columns = []
    for gamma in gammas:
        y = heights(random, gamma, (12 * each, 2))
        x = random.uniform(0, SIDE, y.shape)
        pair = lennard_jones((x[:, 0] - x[:, 1]) ** 2 + (y[:, 0] - y[:, 1]) ** 2)
        kept = np.flatnonzero(random.uniform(size=len(pair)) < np.exp(-(pair + 1) / T))[:each]
        assert len(kept) == each
        columns.append((np.full(each, gamma), np.arange(each), pair[kept], y[kept].sum(axis=1)))
    found = thermodynamics(Observed(*(np.concatenate(c) for c in zip(*columns, strict=True)), T), 2)
    exact = {row["gamma"]: exact_pair(row["gamma"], 0.4) for row in found.rows}
    # 43 values, 1e-4 in all.
    values = pulls(found, exact)
    assert len(values) == 43 and np.abs(values).max() < norm.isf(0.5e-4 / 43)
    assert all(check.p_value > FALSE_ALARMS for check in found.checks)


def lennard_jones(squared: np.ndarray) -> np.ndarray:
    q3 = 1 / np.maximum(squared, 1e-3) ** 3
    return 4 * q3 * (q3 - 1)


def exact_pair(gamma: float, first: float, cells: int = 1600) -> dict[str, float]:
    """By the midpoint rule in |dx| and |dy|; the sum of the heights has moments in closed form at given |dy|."""

    def moments(g: float) -> tuple[float, float, float, float]:
        d = (np.arange(cells) + 0.5) * SIDE / cells
        dx, dy = d[:, None], d[None, :]
        a, free = 2 * g / T, SIDE - dy  # the lower height s in [0, L − |dy|] has density exp(−2 γ s / T)
        z = -np.expm1(-a * free) / a
        s1 = 1 / a - free / np.expm1(a * free)
        s2 = 1 / a**2 - free**2 * np.exp(a * free) / np.expm1(a * free) ** 2
        pair = lennard_jones(dx**2 + dy**2)
        weight = (SIDE - dx) * z * np.exp(-g * dy / T) * np.exp(-pair / T)
        total, u = weight.sum(), pair + g * (2 * s1 + dy)
        mean = (weight * u).sum() / total
        square = (weight * (u**2 + (2 * g) ** 2 * s2)).sum() / total
        return np.log(total), mean, square - mean**2, (weight * (2 * s1 + dy)).sum() / total

    log_z, mean, variance, height = moments(gamma)
    return {"energy": mean, "heat_capacity": variance / T**2, "height": height / 2,
            "free_energy": -T * (log_z - moments(first)[0])}  # fmt: skip


def test_gaps_are_named_and_no_free_energy_crosses_them() -> None:
    found = thermodynamics(ideal_gas(1, [0.2, 0.3, 6.0, 7.0], 400, 30), 30)
    assert found.gaps == [(0.3, 6.0)] and "gap: γ = 0.3 and 6" in found.text
    first = {row["group"]: row for row in reversed(found.rows)}
    assert [first[k]["gamma"] for k in (0, 1)] == [0.2, 6.0] and first[1]["free_energy"] == 0.0
    assert not any(0.3 < row["gamma"] < 6.0 for row in found.rows)
    alone = thermodynamics(ideal_gas(1, [0.2, 9.0], 400, 30), 30)
    assert len(alone.rows) == 2 and alone.gaps == [(0.2, 9.0)] and all(row["energy"] is not None for row in alone.rows)


def test_shared_configurations() -> None:
    same = ideal_gas(0, [0.5, 0.5 + 1e-9], 100, 3)
    assert Reweighting(same).shared[0] == pytest.approx(50)  # each of 200 belongs to either with probability 1/2
    assert Reweighting(ideal_gas(0, [0.1, 30.0], 100, 30)).shared[0] < 1e-6


def test_thinning_keeps_the_ends_and_bounds_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lj_vae_hpc.scan.reweighting.MOST_STATES", 5)
    monkeypatch.setattr("lj_vae_hpc.scan.reweighting.MOST_ELEMENTS", 5 * 5 * 40)
    thinned = ideal_gas(0, list(np.linspace(0.2, 1, 9)), 100, 3).thinned(9)
    assert len(thinned) == 9 * 40
    some = thinned.of_some_states()
    assert some.gammas == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0]) and len(some) == 5 * 40


def test_a_curve_over_many_gammas_has_points_between_them() -> None:
    found = thermodynamics(ideal_gas(0, list(np.linspace(0.2, 1, 401)), 30, 3), 3)
    sampled = [row for row in found.rows if row["sampled"]]
    assert len(sampled) == 64 and len(found.rows) == 64 + 4 * 63 and "1920 of 12030 configurations at 64" in found.text


def test_configurations_of_one_chain_widen_the_errors() -> None:
    one = ideal_gas(2, [0.5, 0.8], 400, 3)
    twice = one.take(np.repeat(np.arange(len(one)), 2))  # every configuration twice, as of one chain
    assert twice.inefficiency() == pytest.approx(2.0) and one.inefficiency() == 1.0
    errors = [np.sqrt(Reweighting(o).averages([0.6]).covariance[0, 2, 0, 2]) for o in (one, twice)]
    assert errors[1] == pytest.approx(errors[0], rel=1e-6)


def test_checks_hold_and_tell_wrong_data() -> None:
    good = ideal_gas(3, [0.3, 0.5, 0.8], 1000, 30)
    assert all(check.p_value > FALSE_ALARMS for check in checks(good, Reweighting(good).shared))
    # One γ whose configurations are of another: as of chains that have not relaxed.
    wrong = Observed(np.where(good.gamma == 0.5, 0.6, good.gamma), good.chain, good.pair_energy, good.height_sum, T)
    slope, _ = checks(wrong, Reweighting(wrong).shared)
    assert slope.p_value < FALSE_ALARMS and "FAILS" in slope.text
    # Too wide a distribution of the energy at one γ, with the right mean.
    mean = good.height_sum[good.gamma == 0.5].mean()
    wide = np.where(good.gamma == 0.5, mean + 1.5 * (good.height_sum - mean), good.height_sum)
    _, capacity = checks(Observed(good.gamma, good.chain, good.pair_energy, wide, T), Reweighting(good).shared)
    assert capacity.p_value < FALSE_ALARMS


def test_variances_of_few_configurations_rarely_fail_by_chance() -> None:
    """Skew energies of 64 γ, of which C is known, at the fewest configurations: 0.1 % fail, 15 % by plain variances."""
    random, failed = np.random.default_rng(0), 0
    for _ in range(300):
        energy = random.gamma(30, size=(64, ENOUGH))
        variance = energy.var(axis=1, ddof=1)
        kurtosis = (((energy - energy.mean(axis=1, keepdims=True)) ** 2).var(axis=1) / variance**2).mean()
        exact, inflation = np.full(64, 30.0), np.full(64, ENOUGH**-0.5)
        failed += capacity_check(np.arange(64.0), exact, 0 * exact, variance, inflation, kurtosis).fails
    assert failed < binom.isf(1e-4, 300, 0.002)
