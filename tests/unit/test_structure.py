"""Structure of configurations against exact cases, and two samples of the same against each other."""

import tracemalloc

import numpy as np
import pytest

from lj_vae_hpc.config.system import System
from lj_vae_hpc.evaluation.structure import (
    PAIR_DISTANCES,
    Sample,
    density_profile,
    hexatic_order,
    pair_distribution,
    scalars,
    two_point_correlation,
)  # fmt: skip
from lj_vae_hpc.scan.profiles import profile_rows

SYSTEM = System(n_particles=20, box_side=6.0)


def uniform(n: int, seed: int, count: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 6, (n, count, 2)).astype(np.float32)


def test_hexatic_order() -> None:
    # A patch of a triangular lattice: |ψ6| = 1 for its 23² particles that have six neighbours.
    i, j = np.meshgrid(np.arange(25), np.arange(25))
    lattice = np.stack([(i + j / 2).ravel(), j.ravel() * np.sqrt(3) / 2], axis=1)[None].astype(np.float32)
    assert 23**2 / 25**2 <= hexatic_order(lattice)[0] < 1.0
    # By brute force for every particle of a random configuration.
    x, expected = uniform(1, 3)[0].astype(float), []
    for k in range(len(x)):
        offset = np.delete(x, k, axis=0) - x[k]
        first = offset[np.argsort((offset**2).sum(axis=1))[:6]]
        expected.append(abs(np.exp(6j * np.arctan2(first[:, 1], first[:, 0])).mean()))
    assert hexatic_order(uniform(1, 3))[0] == pytest.approx(np.mean(expected)) and np.mean(expected) < 0.6


def test_independent_particles_have_no_structure_whatever_their_density() -> None:
    positions = uniform(2000, 0)
    positions[..., 1] *= np.random.default_rng(1).uniform(0, 1, positions.shape[:2])  # denser near the floor
    g = pair_distribution(positions)
    assert len(g) == len(PAIR_DISTANCES)
    np.testing.assert_allclose(g[3:], np.ones(len(g) - 3), atol=0.06)  # 6,000 pairs and more in each bin


def test_pair_distribution_of_another_shape() -> None:
    for shape in ((3, 2), (5, 6), (1, 3, 2)):
        with pytest.raises(ValueError, match="expected positions"):
            pair_distribution(np.ones(shape, np.float32))


def test_pair_distribution_of_a_fixed_distance() -> None:
    positions = uniform(500, 0, count=2)
    angle = np.random.default_rng(2).uniform(0, 2 * np.pi, 500)
    positions[:, 1] = positions[:, 0] + 1.25 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    g = pair_distribution(positions)
    assert g.argmax() == 12 and PAIR_DISTANCES[12] == pytest.approx(1.25) and g[:12].sum() == 0 and g[13:].sum() == 0


def test_memory_does_not_grow_with_the_square_of_the_particles() -> None:
    positions = np.random.default_rng(0).uniform(0, 100, (2, 3000, 2)).astype(np.float32)
    tracemalloc.start()
    hexatic_order(positions)
    pair_distribution(positions)
    assert tracemalloc.get_traced_memory()[1] < 8 * 3000**2 / 4
    tracemalloc.stop()


def test_density_profile() -> None:
    rho = density_profile(uniform(5000, 0), 6.0)
    np.testing.assert_allclose(rho, np.full(20, 20 / 36), rtol=0.06)
    assert rho.sum() * 36 / 20 == pytest.approx(20.0)


def test_errors_of_a_profile_are_those_of_a_mean() -> None:
    """Each of 20 independent particles is in one of 20 slices, of 1.8 σ², with probability 1/20."""
    rows = [row for row in profile_rows(0.5, uniform(400, 0), SYSTEM) if row["quantity"] == "density"]
    assert [row["x"] for row in rows] == pytest.approx(list(0.15 + 0.3 * np.arange(20)))
    exact = np.sqrt(20 * 1 / 20 * 19 / 20 / 400) / 1.8
    # Of 10 blocks: 9 degrees of freedom in each slice but for one, five standard deviations of their mean.
    assert np.mean([row["error"] ** 2 for row in rows]) == pytest.approx(exact**2, rel=5 * np.sqrt(2 / (9 * 19)))


def test_two_point_correlation_of_a_full_row() -> None:
    row = np.stack([(np.arange(20) + 0.5) * 0.3, np.full(20, 0.1)], axis=1)[None].astype(np.float32)
    np.testing.assert_allclose(two_point_correlation(row, 6.0), np.full(11, 1 / 20))


def test_scalars() -> None:
    positions = uniform(5, 0)
    found = scalars(positions, 0.7, SYSTEM)
    r = positions.astype(float)
    u = []
    for one in r:
        d = np.linalg.norm(one[:, None] - one, axis=-1)[np.triu_indices(20, 1)]
        u.append(np.where(d < 3, 4 * (d**-12 - d**-6), 0).sum() + 0.7 * one[:, 1].sum())
    np.testing.assert_allclose(found["energy"], u, rtol=1e-6)


def test_two_halves_of_a_sample_are_alike_and_another_sample_is_not() -> None:
    whole = Sample(uniform(800, 0), 0.5, SYSTEM)
    same = whole.part(slice(400)).compare(whole.part(slice(400, None)))
    lower = uniform(400, 9)
    lower[..., 1] *= 0.9
    other = Sample(lower, 0.5, SYSTEM).compare(whole)
    for name in ("energy", "height_sum", "smallest_distance", "psi6"):
        assert same[name]["ks_p"] > 1e-4, name
    assert other["height_sum"]["ks_p"] < 1e-6
    assert other["height_sum"]["wasserstein"] == pytest.approx(0.1 * 60, rel=0.25)
    assert 0 <= same["height_sum"]["jensen_shannon"] < other["height_sum"]["jensen_shannon"] < 1
    assert other["density_profile"]["rms"] > 2 * same["density_profile"]["rms"]
