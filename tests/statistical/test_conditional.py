"""The conditional model against what the data were sampled with, which it is never told.

Parameters are compared with the truth in units of their standard errors. The largest of m normal pulls exceeds 5.5 less
often than m / 10^7, and chi-square bounds are at 1e-4.
"""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2

from lj_vae_hpc.config.system import System
from lj_vae_hpc.evaluation.conditional.fit import fit_conditional
from lj_vae_hpc.evaluation.conditional.model import SPACING, ConditionalModel
from lj_vae_hpc.evaluation.conditional.physics import learned_physics
from lj_vae_hpc.evaluation.sources import everything
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.store.reader import Dataset
from tests.conftest import sampled_run

GAMMAS = (0.2, 1.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight particles at T = 0.75 in a box of side 5, equilibrated."""
    return sampled_run(
        tmp_path_factory.mktemp("conditional") / "run", "sampling.gammas=[0.2, 1.0]", "sampling.configurations=3000",
        "sampling.segment_rows=1000", "system.box_side=5.0", "sampling.protocol=equilibrated",
    )  # fmt: skip


@pytest.fixture(scope="module")
def model(data: Path) -> ConditionalModel:
    with Dataset(data / "data/dataset.h5") as found:
        return fit_conditional(World(None), everything(found), GAMMAS, 5.0)


def test_it_learns_the_pair_potential_and_gamma(model: ConditionalModel) -> None:
    system = System(n_particles=8, box_side=5.0)
    found = learned_physics(model, system)
    r, learned, error = (np.array(found[name]) for name in ("r", "learned", "error"))
    true = np.array([np.inf if u is None else u for u in found["true"]])
    # Where the potential bends little within a knot's spacing, and there are enough pairs to tell.
    told = (r > 1.05) & (r < 3.9)
    pulls = (learned - true)[told] / error[told]
    assert np.abs(pulls).max() < 5.5
    assert (pulls**2).sum() < 2 * chi2.isf(1e-4, told.sum()), "errors are those of independent examples"
    assert error[told].max() < 0.3 and learned[np.argmin(np.abs(r - 0.9))] > 2.0
    slopes = (np.array(found["learned_gamma"]) - GAMMAS) / np.array(found["gamma_error"])
    assert np.abs(slopes).max() < 4.5


def test_a_shuffled_label_is_noticed(data: Path) -> None:
    """The test above can fail: with heights mirrored the learned γ has the wrong sign."""
    with Dataset(data / "data/dataset.h5") as found:
        source = everything(found)
        read = type(source).read

        class Mirrored(type(source)):
            def read(self, part: range) -> object:
                configurations = read(self, part)
                configurations.positions[..., 1] = 5.0 - configurations.positions[..., 1]
                return configurations

        upside_down = fit_conditional(World(None), Mirrored(found, source.rows), GAMMAS, 5.0)
    assert (upside_down.slope < 0).all()


def test_the_energy_of_one_more_particle(model: ConditionalModel) -> None:
    random = np.random.default_rng(0)
    others, at = random.uniform(0, 5, (7, 2)).astype(np.float32), random.uniform(0, 5, (9, 2))
    distances = np.linalg.norm(at[:, None] - others, axis=-1)
    expected = np.interp(distances, SPACING * np.arange(81), model.pair, right=0.0).sum(axis=1) + 1.3 * at[:, 1]
    np.testing.assert_allclose(model.energy(at, others, 1.3), expected, rtol=1e-6)
