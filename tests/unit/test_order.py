"""The order parameter against an exponential family in which it is known exactly."""

import numpy as np
import pytest

from lj_vae_hpc.evaluation.nearest_class import NearestClass
from lj_vae_hpc.evaluation.order import OrderParameter, class_of

GAMMAS = np.array([0.2, 1.0, 2.5])


def codes(gammas: np.ndarray, n: int, seed: int) -> np.ndarray:
    """(n, 3) per γ: N(0, 1) tilted by exp(-γ h), h = 0.8 z_0 - 0.6 z_1, which is N(-γ (0.8, -0.6, 0), 1)."""
    random = np.random.default_rng(seed)
    return np.stack([random.normal(size=(n, 3)) - gamma * np.array([0.8, -0.6, 0.0]) for gamma in gammas])


def test_axis_and_probabilities() -> None:
    z = codes(GAMMAS, 6000, 0)
    order = OrderParameter(z.reshape(-1, 3), np.repeat(GAMMAS, 6000))
    # The errors of 18,000 configurations are about 0.01.
    np.testing.assert_allclose(order.direction, [0.8, -0.6, 0.0], atol=0.05)
    new = codes(GAMMAS, 200, 1).reshape(-1, 3)
    h = new @ np.array([0.8, -0.6, 0.0])
    exponent = -np.outer(h, GAMMAS) - GAMMAS**2 / 2  # ln Z = γ² / 2
    weights = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    np.testing.assert_allclose(order.probability(new), weights / weights.sum(axis=1, keepdims=True), atol=0.05)
    possible = np.array([-0.6, 0.2, 1.0, 2.5, 4.0])
    exponent = -np.outer(h, possible) - possible**2 / 2
    weights = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    found = np.exp(order.log_probability_of(np.full(600, 2.5), new))
    np.testing.assert_allclose(found, (weights / weights.sum(axis=1, keepdims=True))[:, 3], atol=0.15)
    assert np.corrcoef(found, weights[:, 3] / weights.sum(axis=1))[0, 1] > 0.99
    assert (order.log_probability_of(np.full(600, 0.7), new) == -np.inf).all()


def test_one_gamma_has_its_principal_axis() -> None:
    z = np.random.default_rng(0).normal(size=(500, 3)) * [1.0, 5.0, 1.0]
    order = OrderParameter(z, np.full(500, 0.4))
    assert abs(order.direction[1]) > 0.99
    np.testing.assert_array_equal(order.probability(z[:4]), np.ones((4, 1)))
    np.testing.assert_array_equal(order.log_probability_of(np.array([0.4, 0.5]), z[:2]), [0.0, -np.inf])


def test_many_gammas_are_put_together() -> None:
    gammas = np.linspace(0.1, 2.0, 40)
    found = class_of(gammas, gammas)
    assert len(set(found)) == 16 and (np.diff(found) >= 0).all() and np.bincount(found).max() == 3
    np.testing.assert_array_equal(class_of(np.array([0.4, 0.1]), np.array([0.1, 0.4])), [1, 0])


@pytest.mark.parametrize("transform", [False, True])
def test_a_normal_configuration_is_near_its_own_class(transform: bool) -> None:
    random = np.random.default_rng(0)
    gamma = np.repeat([0.1, 1.0], 3000)
    features = random.normal(size=(6000, 4)) + 20 * gamma[:, None]
    features[:, 0] = np.exp(features[:, 0] - 20 * gamma)
    near = NearestClass(features, gamma, transform)
    assert near(features).mean() == pytest.approx(4.0, rel=0.1)
    between = features[:5].copy()
    between[:, 1:] = 20 * 0.55
    assert (near(between) > 200).all()


def test_few_configurations_of_a_class() -> None:
    features, gamma = np.random.default_rng(0).normal(size=(24, 4)), np.repeat([0.1, 0.4, 1.0], 8)
    assert np.isfinite(NearestClass(features, gamma, True)(features)).all()
