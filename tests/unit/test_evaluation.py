"""Metrics and ceilings against exact values and known coverage."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from lj_vae_hpc.config.evaluation import Corruption
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.ceilings import log_normal_density, relative_free_energies
from lj_vae_hpc.evaluation.metrics import auroc, detection_metrics
from lj_vae_hpc.evaluation.suites import corrupt, sampled_plans


def test_auroc_of_hand_counted_pairs() -> None:
    assert auroc(np.array([1.0, 2.0, 2.0]), np.array([2.0, 3.0]))[0] == pytest.approx((1 + 0.5 + 0.5 + 3) / 6)


def test_auroc_agrees_with_scikit_learn() -> None:
    random = np.random.default_rng(0)
    normal, anomalous = random.normal(size=300).round(1), random.normal(0.7, size=200).round(1)
    labels = np.r_[np.zeros(300), np.ones(200)]
    assert auroc(normal, anomalous)[0] == pytest.approx(roc_auc_score(labels, np.r_[normal, anomalous]), abs=1e-12)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    # 1,000 trials: 95 % coverage leaves [0.933, 0.967] with probability 1.6 %, a wrong width by 20 % is far outside.
    random = np.random.default_rng(1)
    truth = norm.cdf(1.0 / np.sqrt(2))
    covered = 0
    for _ in range(1000):
        _, (low, high) = auroc(random.normal(size=120), random.normal(1.0, size=80))
        covered += low <= truth <= high
    assert 0.933 <= covered / 1000 <= 0.967


def test_interval_covers_the_truth_for_paired_scores() -> None:
    random = np.random.default_rng(3)
    truth = norm.cdf(0.5 / np.sqrt(2))
    covered = {True: 0, False: 0}
    for _ in range(600):
        normal = random.normal(size=150)
        anomalous = 0.9 * normal[:100] + np.sqrt(1 - 0.81) * random.normal(size=100) + 0.5
        for paired in covered:
            _, (low, high) = auroc(normal, anomalous, paired)
            covered[paired] += low <= truth <= high
    assert 0.925 <= covered[True] / 600 <= 0.975
    assert covered[False] / 600 > 0.985, "treated as independent they would be too wide"


def test_perfect_separation_has_an_interval() -> None:
    area, (low, high) = auroc(np.arange(50.0), np.arange(100.0, 140.0))
    assert (area, high) == (1.0, 1.0) and 0.9 < low < 1.0
    assert auroc(np.ones(20), np.ones(30)) == (0.5, (0.5, 0.5))


def test_false_positive_rate_at_95_percent() -> None:
    metrics = detection_metrics(np.arange(100.0), np.arange(50.0, 150.0))
    assert metrics["fpr_at_95_tpr"] == pytest.approx(0.45, abs=0.011)
    assert metrics["average_precision"] > 0.8


GAMMAS, T = (0.5, 1.0, 1.5), 0.75


def barometric(gammas: tuple[float, ...], n: int, side: float) -> np.ndarray:
    """(n, k) heights of one ideal particle under each γ, by inversion."""
    u = np.random.default_rng(2).uniform(size=(n, len(gammas)))
    g = np.array(gammas) / T
    return -np.log(1 - u * (1 - np.exp(-g * side))) / g


def test_free_energies_of_an_ideal_gas() -> None:
    # One particle: Z_γ = (T/γ) (1 - exp(-γL/T)) exactly. 20,000 heights per γ give ln Z to 0.02.
    side = 6.0
    heights = barometric(GAMMAS, 20_000, side)
    which = np.tile(np.arange(3), len(heights))
    log_z = relative_free_energies(heights.ravel(), which, GAMMAS, T)
    g = np.array(GAMMAS) / T
    exact = np.log((1 - np.exp(-g * side)) / g)
    np.testing.assert_allclose(log_z - log_z[0], exact - exact[0], atol=0.02)


def test_no_score_beats_the_likelihood_ratio() -> None:
    side, other = 6.0, 3.0
    normal = barometric(GAMMAS, 4000, side).ravel()
    anomalous = barometric((other,), 12_000, side).ravel()
    which = np.tile(np.arange(3), 4000)
    log_z = relative_free_energies(normal, which, GAMMAS, T)
    ratios = [-other * h / T - log_normal_density(np.zeros(len(h)), h, GAMMAS, log_z, T) for h in (normal, anomalous)]
    ceiling = auroc(*ratios)[0]
    for score in (lambda h: -h, lambda h: h, lambda h: -np.abs(h - 0.2), lambda h: np.sin(3 * h)):
        assert auroc(score(normal), score(anomalous))[0] <= ceiling + 1e-3
    assert ceiling > 0.7


def test_corruption_moves_the_stated_number_by_the_stated_distance() -> None:
    positions = np.random.default_rng(0).uniform(0, 10, (200, 30, 2)).astype(np.float32)
    corruption = Corruption(particles=4, amplitude=0.2)
    moved = corrupt(positions, range(200), corruption, (1, 0))
    shift = np.abs(moved - positions)
    assert ((shift > 0).any(axis=2).sum(axis=1) == 4).all()
    assert 0.19 < shift.max() <= 0.2001
    np.testing.assert_array_equal(corrupt(positions[50:60], range(50, 60), corruption, (1, 0)), moved[50:60])


def test_suites_are_independent_of_the_training_data() -> None:
    plans = sampled_plans(RunConfig())
    assert list(plans) == ["gamma_3", "gamma_0.55", "gamma_0.25", "gamma_1.3", "soft", "uniform"]
    assert len({plan.first_ensemble for plan in plans.values()}) == 6
    assert min(plan.first_ensemble for plan in plans.values()) > 1_000_000
    assert plans["soft"].system.potential == "soft" and plans["soft"].system.cutoff is None
