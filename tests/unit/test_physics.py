"""Potentials and energies against exact values."""

import tracemalloc

import numpy as np
import pytest

from lj_vae_hpc.physics.arithmetic import exponential
from lj_vae_hpc.physics.energies import height_sum, pair_distances_squared, pair_energy, total_energy
from lj_vae_hpc.physics.observables import smallest_distance
from lj_vae_hpc.physics.potentials import make_potential

LJ = make_potential("lennard_jones", 3.0)


def test_total_energy_of_three_particles() -> None:
    positions = np.array([[[0.0, 1.0], [1.5, 1.0], [0.0, 3.0]]])
    u = sum(4 * (r**-12 - r**-6) for r in (1.5, 2.0, 2.5))
    assert total_energy(positions, 0.7, LJ)[0] == pytest.approx(u + 0.7 * 5.0, rel=1e-12)
    assert height_sum(positions)[0] == 5.0


def test_chunks_do_not_change_the_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    positions = np.random.default_rng(0).uniform(0, 10, (50, 30, 2))
    whole = pair_energy(positions, LJ)
    monkeypatch.setattr("lj_vae_hpc.physics.energies.PAIRS_AT_ONCE", 1000)
    np.testing.assert_array_equal(pair_energy(positions, LJ), whole)


def test_energies_do_not_depend_on_their_company() -> None:
    positions = np.random.default_rng(0).uniform(0, 10, (40, 30, 2)).astype(np.float32)
    alone = np.concatenate([pair_energy(positions[k : k + 1], LJ) for k in range(40)])
    np.testing.assert_array_equal(alone, pair_energy(positions, LJ))


def test_energies_of_many_particles_particle_by_particle(monkeypatch: pytest.MonkeyPatch) -> None:
    positions = np.random.default_rng(0).uniform(0, 10, (3, 30, 2)).astype(np.float32)
    whole = pair_energy(positions, LJ)
    monkeypatch.setattr("lj_vae_hpc.physics.energies.MOST_PAIRS", 434)
    np.testing.assert_allclose(pair_energy(positions, LJ), whole, rtol=1e-12)


@pytest.mark.parametrize(("n", "particles"), [(200, 2), (200, 30), (3, 700)])
def test_smallest_distance_against_all_pairs(n: int, particles: int) -> None:
    positions = np.random.default_rng(n + particles).uniform(0, 10, (n, particles, 2)).astype(np.float32)
    positions[0, :, 0] = 1.0  # the order of x then helps nothing
    found = smallest_distance(positions)
    np.testing.assert_array_equal(found, np.sqrt(pair_distances_squared(positions).min(axis=1)))


def test_smallest_distance_of_many_particles_needs_no_list_of_pairs() -> None:
    side = 300
    x, y = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    positions = np.stack([x.ravel(), y.ravel()], axis=-1)[None]
    positions[0, 777] += (0.25, 0.0)
    tracemalloc.start()
    found = smallest_distance(positions)[0]
    assert found == 0.75 and tracemalloc.get_traced_memory()[1] < 100 * positions.nbytes
    tracemalloc.stop()


def test_exponential_in_double_precision() -> None:
    x = np.r_[np.linspace(-690, 690, 5001), np.linspace(-1, 1, 2001), 0.0]
    np.testing.assert_allclose(exponential(x), np.exp(x), rtol=4e-16)
    assert exponential(np.array([0.0, np.inf, -np.inf]))[1] > 1e300
