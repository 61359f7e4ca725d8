"""Potentials and energies against exact values."""

import numpy as np
import pytest

from lj_vae_hpc.physics.energies import height_sum, pair_energy, total_energy
from lj_vae_hpc.physics.potentials import Mie

LJ, SOFT = Mie(12, 6, 3.0), Mie(4, 2, None)


@pytest.mark.parametrize(
    ("potential", "r", "expected"),
    [
        (LJ, 1.0, 0.0),
        (LJ, 2 ** (1 / 6), -1.0),
        (LJ, 2.0, 4 * (2**-12 - 2**-6)),
        (LJ, 0.5, 4 * (2**12 - 2**6)),
        (LJ, 2.999999, 4 * (2.999999**-12 - 2.999999**-6)),
        (LJ, 3.0, 0.0),
        (SOFT, 1.0, 0.0),
        (SOFT, 2**0.5, -1.0),
        (SOFT, 7.0, 4 * (7.0**-4 - 7.0**-2)),
        (Mie(18, 6, None), (18 / 6) ** (1 / 12), -1.0),
    ],
)
def test_pair_potential(potential: Mie, r: float, expected: float) -> None:
    assert potential.energy(np.array([r**2]))[0] == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_overlap_is_infinite_never_nan() -> None:
    positions = np.zeros((1, 3, 2), np.float32)
    assert pair_energy(positions, LJ)[0] == np.inf
    assert LJ.energy(np.array([0.0]))[0] == np.inf


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
    monkeypatch.setattr("lj_vae_hpc.physics.energies.PAIRS_AT_ONCE", 434)
    np.testing.assert_allclose(pair_energy(positions, LJ), whole, rtol=1e-12)
