"""From scores to p-values: exact cases, and normal configurations that look normal."""

import numpy as np
import pytest
from scipy.stats import binomtest, chi2, kstest
from sklearn.metrics import average_precision_score

from lj_vae_hpc.evaluation.calibration import CLAIM, PARTS, Calibration, Reference
from lj_vae_hpc.evaluation.metrics import localisation
from lj_vae_hpc.evaluation.summary import false_alarms

FALSE_ALARM = 1e-4


def test_shares_by_hand() -> None:
    reference = Reference(np.arange(1.0, 10.0))
    np.testing.assert_allclose(reference.p_value(np.array([0.0, 5.0, 9.0, 99.0])), [1.0, 0.6, 0.2, 0.1])
    np.testing.assert_allclose(np.exp(reference.log_p(np.array([0.0, 1.0, 3.5]))), [1.0, 1.0, 0.7])
    # Two-sided: twice the smaller share, at most 1.
    many = Reference(np.arange(1.0, 401.0))
    both = np.exp(many.log_p(np.array([20.0, 381.0, 200.0]), two_sided=True))
    np.testing.assert_allclose(both, [2 * 21 / 401, 2 * 21 / 401, 1.0])


def test_the_tail_is_exponential_and_keeps_the_order() -> None:
    values = np.sort(np.random.default_rng(0).exponential(size=8000))
    reference = Reference(values)
    beyond = np.array([9.0, 12.0, 20.0, 50.0])
    # Of 8,000 values 100 are in the tail, so that its scale is known to 10 %.
    np.testing.assert_allclose(-reference.log_p(beyond) / beyond, np.ones(4), rtol=0.25)
    order = reference.log_p(np.linspace(0, 60, 500))
    assert (np.diff(order) <= 0).all() and (np.diff(order[100:]) < 0).all()


def some_columns(n: int, seed: int) -> dict[str, np.ndarray]:
    """Normal scores that depend on each other."""
    random = np.random.default_rng(seed)
    shared = 2 * random.normal(size=n)
    names = [part.removesuffix("_two_sided") for part in PARTS]
    columns = {name: (shared + random.normal(size=n)).astype(np.float32) for name in names}
    return columns | {"claim": random.exponential(size=n).astype(np.float32)}


def test_p_values_of_4000_normal_configurations_are_uniform() -> None:
    calibration = Calibration(some_columns(4000, 0), some_columns(4000, 1))
    found = calibration.add(some_columns(4000, 2))
    for name in ("p_value", f"p_value_{CLAIM}"):
        # Both samples are random: the two-sample test, whose statistic is that of the ranks.
        assert kstest(found[name], np.arange(1, 4001) / 4001).pvalue > FALSE_ALARM, name
        # The threshold has an error of its own, so that the number below 1 % varies twice as much.
        assert binomtest(int((found[name] < 0.01).sum()) // 2, 2000, 0.01).pvalue > FALSE_ALARM, name
    assert false_alarms(found["p_value"], np.zeros(4000), 4000)["below"]["0.05"]["ci"][0] < 0.05
    # Without calibrating the combination again, as if the parts were independent, there are too many.
    as_if_independent = chi2.sf(2 * found["combined"], 2 * len(PARTS))
    assert kstest(as_if_independent, "uniform").pvalue < 1e-10


def test_combinations_by_hand() -> None:
    calibration = Calibration(some_columns(500, 0), some_columns(500, 1))
    found = calibration.add(some_columns(7, 2))
    logs = np.stack([found["displacement"], found["typicality"], found["latent_distance"]])
    references = [np.sort(some_columns(500, 0)[name.removesuffix("_two_sided")]) for name in PARTS]
    one = [Reference(reference).log_p(values) for reference, values in zip(references[:2], logs[:2], strict=True)]
    both = Reference(references[2]).log_p(logs[2], two_sided=True)
    parts = np.stack([*one, both])
    np.testing.assert_allclose(found["latent_distance_two_sided"], -both)
    np.testing.assert_allclose(found["combined"], -parts.sum(axis=0))
    np.testing.assert_allclose(found["combined_tippett"], -parts.min(axis=0))
    np.testing.assert_allclose(found["combined_cauchy"], np.log(np.exp(-parts).sum(axis=0)))


def test_what_is_claimed_and_what_is_odd_are_two_questions() -> None:
    calibration = Calibration(some_columns(2000, 0), some_columns(2000, 1))
    plain = {name: np.array([0.0, 0.0, 30.0], np.float32) for name in some_columns(1, 0)} | {
        "claim": np.array([0.5, 12.0, 0.5], np.float32)
    }
    found = calibration.add(plain)
    assert (found["p_value"][:2] > 0.1).all() and found["p_value"][2] < 1e-3
    assert (found["p_value_claim"][[0, 2]] > 0.1).all() and found["p_value_claim"][1] < 1e-3
    assert "p_value_claim" not in calibration.add({n: v for n, v in plain.items() if n != "claim"})


def test_average_precision_of_particles() -> None:
    random = np.random.default_rng(0)
    moved, score = random.random((200, 30)) < 0.1, random.normal(size=(200, 30))
    score += moved
    moved[0] = False  # nothing to find there
    each = [average_precision_score(m, s) for m, s in zip(moved[1:], score[1:], strict=True) if m.any()]
    found = localisation(moved, score)
    assert found["average_precision"] == pytest.approx(np.mean(each))
    assert found["error"] == pytest.approx(np.std(each, ddof=1) / np.sqrt(len(each)))
    assert found["chance"] == moved.mean()


def test_the_expected_share_of_false_alarms_is_that_of_many_calibrations() -> None:
    """Of random calibration and test splits of 300; the share lies within it in 95 % of them or a little more."""
    random, shares = np.random.default_rng(1), []
    for _ in range(2000):
        calibration, test = np.sort(random.normal(size=300)), random.normal(size=300)
        p_value = (1 + 300 - np.searchsorted(calibration, test)) / 301
        shares.append((p_value < 0.05).mean())
    gamma = np.repeat([0.1, 1.0], 150)
    below = false_alarms(p_value, gamma, 300)["below"]["0.05"]
    assert below["by_gamma"] == {"0.1": (p_value[:150] < 0.05).mean(), "1": (p_value[150:] < 0.05).mean()}
    low, high = below["expected"]  # of the sizes alone, so that it is asked for once
    assert below["share"] == shares[-1]
    assert 0.94 < np.mean((low <= np.array(shares)) & (np.array(shares) <= high)) < 0.98
