"""Metrics against hand counts, brute force, scikit-learn and known coverage."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from lj_vae_hpc.evaluation.metrics import auroc, detection_metrics


def with_ties(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=300).round(1), random.normal(0.7, size=200).round(1)


def test_auroc_of_hand_counted_pairs() -> None:
    assert auroc(np.array([1.0, 2.0, 2.0]), np.array([2.0, 3.0]))[0] == pytest.approx((1 + 0.5 + 0.5 + 3) / 6)


def test_infinite_scores_are_the_largest_and_equal() -> None:
    assert auroc(np.array([0.0, np.inf]), np.array([np.inf, 1.0]))[0] == pytest.approx((1 + 0.5 + 1 + 0) / 4)


@pytest.mark.parametrize("paired", [False, True])
def test_one_anomaly_alone_has_an_interval_that_says_nothing(paired: bool) -> None:
    normal = np.arange(50.0)
    assert auroc(normal, np.array([24.5]), paired) == (0.5, (0.0, 1.0))
    assert auroc(np.array([24.5]), normal)[1] == (0.0, 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_auroc_agrees_with_scikit_learn_and_brute_force(seed: int) -> None:
    normal, anomalous = with_ties(seed)
    labels = np.r_[np.zeros(300), np.ones(200)]
    pairs = anomalous[:, None] - normal
    brute = (pairs > 0).mean() + 0.5 * (pairs == 0).mean()
    assert auroc(normal, anomalous)[0] == pytest.approx(brute, abs=1e-12)
    assert auroc(normal, anomalous)[0] == pytest.approx(roc_auc_score(labels, np.r_[normal, anomalous]), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_precision_and_false_positives_agree_with_brute_force(seed: int) -> None:
    normal, anomalous = with_ties(seed)
    precision, before, rates = 0.0, 0.0, []
    for threshold in np.unique(np.r_[normal, anomalous])[::-1]:
        found, false = (anomalous >= threshold).sum(), (normal >= threshold).sum()
        precision += (found / 200 - before) * found / (found + false)
        before = found / 200
        if found / 200 >= 0.95:
            rates.append(false / 300)
    metrics = detection_metrics(normal, anomalous)
    labels = np.r_[np.zeros(300), np.ones(200)]
    assert metrics["average_precision"] == pytest.approx(precision, abs=1e-12)
    assert precision == pytest.approx(average_precision_score(labels, np.r_[normal, anomalous]), abs=1e-12)
    assert metrics["fpr_at_95_tpr"] == pytest.approx(min(rates), abs=1e-12)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    # 1,000 trials: 95 % coverage leaves [0.933, 0.967] with probability 1.6 %, a wrong width by 20 % is far outside.
    random = np.random.default_rng(1)
    truth = norm.cdf(1.0 / np.sqrt(2))
    covered = 0
    for _ in range(1000):
        _, (low, high) = auroc(random.normal(size=120), random.normal(1.0, size=80))
        covered += low <= truth <= high
    assert 0.933 <= covered / 1000 <= 0.967


def test_interval_covers_the_truth_for_few_anomalies_of_another_spread() -> None:
    # Their placements vary otherwise than those of the many normal ones: which variance is divided by which number
    # matters. 1,000 trials as above; 30 anomalies are few for a normal interval, so the limits are wider.
    random = np.random.default_rng(2)
    truth = norm.cdf(1.0 / np.sqrt(1 + 0.5**2))
    covered, widths = 0, []
    for _ in range(1000):
        _, (low, high) = auroc(random.normal(size=1000), random.normal(1.0, 0.5, size=30))
        covered += low <= truth <= high
        widths.append(high - low)
    assert 0.92 <= covered / 1000 <= 0.98, covered


def test_interval_covers_the_truth_for_paired_scores() -> None:
    # 600 trials: 95 % coverage leaves [0.925, 0.975] with probability 0.5 %.
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
    assert (area, high) == (1.0, 1.0) and low == pytest.approx(1 - (1 - 0.025 ** (1 / 40)))
    assert auroc(np.arange(100.0, 140.0), np.arange(50.0))[0] == 0.0
    assert auroc(np.ones(20), np.ones(30)) == (0.5, (0.5, 0.5))


def test_perfect_scores_have_an_average_precision_of_one() -> None:
    """Not of 1 + 2e-16, as the sum over 43 configurations would give."""
    scores = np.arange(1.0, 44.0)
    assert detection_metrics(-scores, scores)["average_precision"] == 1.0
