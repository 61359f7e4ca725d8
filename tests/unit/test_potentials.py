"""Pair potentials: exact values, and what holds for every one that there is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from lj_vae_hpc.config.system import System
from lj_vae_hpc.physics.energies import pair_energy, total_energy
from lj_vae_hpc.physics.potentials import make_potential
from lj_vae_hpc.physics.potentials.base import Potential
from lj_vae_hpc.physics.potentials.mie import Mie
from lj_vae_hpc.physics.potentials.wca import WCA
from lj_vae_hpc.sampling import chains as chains_module
from lj_vae_hpc.sampling.chains import Chains
from lj_vae_hpc.sampling.streams import stream
from tests.conftest import ROOT, potential_keys

LJ, SOFT = make_potential("lennard_jones", 3.0), make_potential("soft")
MINIMUM = 2 ** (1 / 6)


@pytest.mark.parametrize(
    ("potential", "r", "expected"),
    [
        (LJ, 1.0, 0.0),
        (LJ, MINIMUM, -1.0),
        (LJ, 2.0, 4 * (2**-12 - 2**-6)),
        (LJ, 0.5, 4 * (2**12 - 2**6)),
        (LJ, 2.999999, 4 * (2.999999**-12 - 2.999999**-6)),
        (LJ, 3.0, 0.0),
        (SOFT, 1.0, 0.0),
        (SOFT, 2**0.5, -1.0),
        (SOFT, 7.0, 4 * (7.0**-4 - 7.0**-2)),
        (Mie(18, 6), (18 / 6) ** (1 / 12), -1.0),
        (WCA(), 1.0, 1.0),
        (WCA(), 0.9, 4 * (0.9**-12 - 0.9**-6) + 1),
        (WCA(), MINIMUM * (1 - 1e-9), 0.0),
        (WCA(), MINIMUM, 0.0),
        (WCA(), 1.5, 0.0),
    ],
)
def test_exact_values(potential: Potential, r: float, expected: float) -> None:
    assert potential.energy(np.array([r**2]))[0] == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_soft_particles_come_closer() -> None:
    assert LJ.core_diameter(0.75) == pytest.approx(2 ** (-1 / 6), rel=1e-12)  # 4 (s^2 - s) = 8 at s = r^-6 = 2
    assert SOFT.core_diameter(0.75) == pytest.approx(2 ** (-1 / 2), rel=1e-12)
    assert WCA().core_diameter(50.0) < WCA().core_diameter(1.0) == WCA().core_diameter(0.1)


@pytest.mark.parametrize("key", potential_keys(), ids=str)
def test_overlap_is_infinite_never_nan(key: object) -> None:
    potential = System(potential=key).pair_potential
    assert pair_energy(np.zeros((1, 3, 2), np.float32), potential)[0] == np.inf


@pytest.mark.parametrize("cells_from", [chains_module.CELLS_FROM, 0], ids=["blocks", "cell lists"])
@pytest.mark.parametrize("key", potential_keys(), ids=str)
def test_kernels_have_the_energies_of_double_precision(
    key: object, cells_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains_module, "CELLS_FROM", cells_from)
    distances = np.r_[0.8:1.2:0.01, 1.2:5:0.07]
    distances = distances[np.abs(distances - 3.0) > 1e-3]
    k = len(distances)
    pairs = Chains(stream("5"), System(n_particles=2, potential=key), 0.4, 0.1, np.arange(k))
    positions = np.full((k, 2, 2), 1.0, np.float32)
    positions[:, 1, 0] += distances
    pairs.positions = positions
    potential = System(potential=key).pair_potential
    np.testing.assert_allclose(pairs.energy, total_energy(positions, 0.4, potential), rtol=1e-5, atol=5e-6)

    many = Chains(stream("5"), System(n_particles=20, potential=key), 0.4, 0.5, np.arange(16))
    many.positions = np.full((16, 20, 2), 2.5)  # all particles in one point
    assert np.isfinite(many.energy).all()
    accepted = many.run(300)
    assert (accepted > 0).all() and (accepted < 300 * 20).all()
    np.testing.assert_allclose(many.energy, total_energy(many.positions, 0.4, potential), rtol=1e-4, atol=1e-3)


def test_a_name_belongs_to_one_potential() -> None:
    with pytest.raises(TypeError, match="two pair potentials are called soft"):

        class Other(Potential):
            names: ClassVar = {"soft": {}}


GAUSSIAN = '''
"""A Gaussian core."""

from dataclasses import dataclass

from lj_vae_hpc.physics.arithmetic import exponential
from lj_vae_hpc.physics.potentials.base import Potential


@dataclass(frozen=True)
class GaussianCore(Potential):
    """u(r) = exp(-(r / width)^2); Stillinger, J. Chem. Phys. 65, 3968 (1976)."""

    names = {"gaussian_core": {}}

    width: float = 1.0

    @property
    def prefactor(self):
        return 3.0

    def formula(self):
        inverse = 1.0 / self.width**2

        def energy(r_squared):
            return exponential(-r_squared * inverse)

        return energy
'''
SAMPLE = """
import numpy as np
from lj_vae_hpc.config.load import load
from lj_vae_hpc.physics.energies import total_energy
from lj_vae_hpc.sampling import chains as module
from lj_vae_hpc.sampling.cells import compiled
from lj_vae_hpc.sampling.metropolis import make_sweeps
from lj_vae_hpc.sampling.streams import stream
system = load(None, ("system={n_particles: 12, box_side: 4, potential: {kind: gaussian_core, width: 0.8}}",)).system
found = []
for module.CELLS_FROM in (600, 0):
    chains = module.Chains(stream("1"), system, 0.5, 0.5, np.arange(32))
    chains.run(20)
    np.testing.assert_allclose(chains.energy, total_energy(chains.positions, 0.5, system.pair_potential), rtol=1e-5)
    found.append(chains.energy.mean())
potential = system.pair_potential
kernels = [*make_sweeps(potential), *compiled(potential)]
hits, misses = ([sum(getattr(k.stats, name).values()) for k in kernels] for name in ("cache_hits", "cache_misses"))
print(*hits, *misses, *found)
"""


def test_a_potential_is_one_file(tmp_path: Path) -> None:
    """A file put into the package is known to the configuration and to every kernel.

    A second process finds its machine code in the cache, which another formula makes invalid.
    """
    shutil.copytree(ROOT / "lj_vae_hpc", tmp_path / "lj_vae_hpc", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "lj_vae_hpc" / "physics" / "potentials" / "gaussian_core.py"

    def sampled() -> list[float]:
        done = subprocess.run(
            [sys.executable, "-c", SAMPLE], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [float(word) for word in done.stdout.split()]

    file.write_text(GAUSSIAN)
    first, second = sampled(), sampled()
    assert first[:8] == [0] * 4 + [1] * 4
    assert second[:8] == [1] * 4 + [0] * 4
    assert second[8:] == first[8:]
    assert first[8] == pytest.approx(first[9], rel=0.01)
    file.write_text(GAUSSIAN.replace("return exponential(-", "return 2.0 * exponential(-"))
    changed = sampled()
    assert changed[:8] == first[:8]
    assert changed[8] > 1.1 * first[8]
