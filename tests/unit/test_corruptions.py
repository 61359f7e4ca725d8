"""Particles moved on purpose."""

import numpy as np
import pytest
from scipy.stats import kstest

from lj_vae_hpc.config.evaluation import Corruption
from lj_vae_hpc.evaluation.suites.corrupted import corrupt

SIDE = 10.0


def random_positions(n: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, SIDE, (n, 30, 2)).astype(np.float32)


def origins(n: int) -> np.ndarray:
    return np.stack([np.full(n, 77), np.arange(n), np.zeros(n, int)], axis=1)


@pytest.mark.parametrize(("amplitude", "keep"), [(0.2, True), (2.83, True), (2.83, False), (1000.0, True)])
def test_corruption_moves_the_stated_number_by_the_stated_distance(amplitude: float, keep: bool) -> None:
    positions = random_positions(300)
    corruption = Corruption(particles=4, amplitude=amplitude, keep_in_box=keep)
    moved = corrupt(positions, origins(300), corruption, 1, SIDE)
    shift = np.abs(moved - positions)
    assert ((shift > 0).any(axis=2).sum(axis=1) == 4).all()
    assert shift.max() <= amplitude * 1.0001 and shift.max() > 0.9 * min(amplitude, SIDE)
    outside = (moved < 0) | (moved > SIDE)
    assert outside.any() != keep
    inside = moved[(shift > 0) & ~outside]
    assert inside.min() < 0.2 and inside.max() > SIDE - 0.2


def test_moves_in_the_box_are_uniform_on_what_of_the_square_is_in_it() -> None:
    # 4,000 moves of a particle at x = 0.5 by up to 2: uniform on [0, 2.5], mean 1.25, standard error 0.011.
    positions = np.full((4000, 1, 2), (0.5, 5.0), np.float32)
    moved = corrupt(positions, origins(4000), Corruption(particles=1, amplitude=2.0), 1, SIDE)
    x, y = moved[:, 0].T
    assert x.mean() == pytest.approx(1.25, abs=0.045) and y.mean() == pytest.approx(5.0, abs=0.07)
    assert np.histogram(x, 5, (0, 2.5))[0] == pytest.approx(np.full(5, 800), abs=110)


def test_moves_follow_from_what_a_configuration_is_and_not_from_its_place() -> None:
    positions, where = random_positions(50), origins(50)
    corruption = Corruption(particles=3, amplitude=0.5)
    whole = corrupt(positions, where, corruption, 1, SIDE)
    some = np.array([31, 4, 17])
    np.testing.assert_array_equal(corrupt(positions[some], where[some], corruption, 1, SIDE), whole[some])
    for other in (where + np.eye(3, dtype=int)[k] for k in range(3)):
        assert (corrupt(positions, other, corruption, 1, SIDE) != whole).any(axis=(1, 2)).all()
    assert (corrupt(positions, where, corruption, 2, SIDE)[0] != whole).any(axis=(1, 2)).all()


def test_a_particle_is_put_anywhere_in_the_box_without_an_amplitude() -> None:
    positions = np.full((4000, 1, 2), (0.5, 5.0), np.float32)
    moved = corrupt(positions, origins(4000), Corruption(particles=1, amplitude=None), 1, SIDE)
    assert kstest(moved.ravel(), "uniform", (0, SIDE)).pvalue > 1e-4
