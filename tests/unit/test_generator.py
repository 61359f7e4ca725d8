"""Generation: weights of the aggregate posterior against an exact case, and the step of descent."""

import numpy as np
import pytest
import torch

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.conditional.model import ConditionalModel
from lj_vae_hpc.evaluation.generator import LONGEST, Generator, sweep
from lj_vae_hpc.evaluation.order import OrderParameter
from lj_vae_hpc.training.network import Network

GAMMAS, N, SIDE = np.array([0.2, 1.0, 2.5]), 4, 5.0
CONFIG = RunConfig.model_validate({
    "system": {"n_particles": N, "box_side": SIDE}, "sampling": {"gammas": GAMMAS.tolist()},
    "model": {"latent_dim": 3, "width": 8},
})  # fmt: skip


@pytest.fixture(scope="module")
def generator() -> Generator:
    """Codes N(-γ a, 1) with a = (0.8, -0.6, 0) under γ: h = a · z and ln Z = γ² / 2 exactly."""
    random = np.random.default_rng(0)
    gamma = np.tile(GAMMAS, 5000)
    codes = random.normal(size=(15_000, 3)) - gamma[:, None] * np.array([0.8, -0.6, 0.0])
    pair = np.interp(np.arange(81) * 0.05, [0, 1, 1.2, 4], [40, 0, -1, 0])
    torch.manual_seed(0)
    model = ConditionalModel(pair, np.zeros(81), tuple(GAMMAS), GAMMAS / 0.75, np.zeros(3), SIDE)
    order = OrderParameter(codes, gamma)
    return Generator(Network.of(CONFIG), order, model, codes, np.full_like(codes, 0.1))


@pytest.mark.parametrize("gamma", [0.2, 1.0, 1.6])
def test_codes_of_any_gamma_have_its_distribution(generator: Generator, gamma: float) -> None:
    drawn = generator.codes(gamma, 4000, np.random.default_rng(1))
    # Errors of the mean: 0.016 from 4,000 draws, more from the weights of the training codes.
    np.testing.assert_allclose(drawn.mean(axis=0), -gamma * np.array([0.8, -0.6, 0.0]), atol=0.12)
    np.testing.assert_allclose(drawn.std(axis=0), np.sqrt(1 + 0.1**2), atol=0.12)
    normal = generator.normal_codes(gamma, 4000, np.random.default_rng(1))
    np.testing.assert_allclose(normal.mean(axis=0), drawn.mean(axis=0), atol=0.1)
    np.testing.assert_allclose(np.cov(normal.T), np.cov(drawn.T), atol=0.12)
    assert generator.weights(gamma).sum() == pytest.approx(1.0)


def test_decoded_positions_are_in_the_box(generator: Generator) -> None:
    positions = generator.decode(10 * generator.codes(1.0, 50, np.random.default_rng(0)), 1.0)
    assert positions.shape == (50, N, 2) and positions.dtype == np.float32
    assert positions.min() >= 0 and positions.max() <= SIDE


def test_forces_are_minus_the_gradient(generator: Generator) -> None:
    x = np.random.default_rng(3).uniform(1, 4, (1, N, 2))
    model = generator.conditional

    def energy(at: np.ndarray) -> float:
        r = np.linalg.norm(at[0][:, None] - at[0], axis=-1)[np.triu_indices(N, 1)]
        return float(np.interp(r, np.arange(81) * 0.05, model.pair).sum() + 1.3 * at[0, :, 1].sum())

    force = model.forces(x.astype(np.float32), 1.3)
    step = np.zeros_like(x)
    step[0] = 1e-3 * force[0]
    change = energy(x + step) - energy(x - step)
    assert change == pytest.approx(-2e-3 * (force**2).sum(), rel=0.2)  # the table's slope jumps at its knots


def test_a_step_of_descent_moves_apart_what_overlaps(generator: Generator) -> None:
    close = np.array([[[2.0, 2.0], [2.3, 2.0], [0.5, 0.5], [4.5, 4.5]]], np.float32)
    moved = generator.descend(close, 1.0)
    before, after = (np.linalg.norm(x[0, 0] - x[0, 1]) for x in (close, moved))
    assert before < after <= before + 2 * LONGEST * 1.001
    shift = np.linalg.norm(moved - close, axis=2)
    assert shift.max() <= LONGEST * 1.001 and shift[0, 2] < 0.01
    assert moved[0, 2, 1] < close[0, 2, 1], "gravity pulls down"


def test_sweeps_are_the_same_in_one_go_in_steps_and_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    system = CONFIG.system
    start = np.random.default_rng(0).uniform(0, 5, (50, 4, 2)).astype(np.float32)
    steps = sweep(start, 0.5, system, (0, 1, 10), "test")
    np.testing.assert_array_equal(steps[0], start)
    np.testing.assert_array_equal(steps[2], sweep(start, 0.5, system, (10,), "test")[0])
    assert (steps[2] != sweep(start, 0.5, system, (10,), "other")[0]).any()
    monkeypatch.setattr("lj_vae_hpc.sampling.chains.PAIRS_IN_MEMORY", 1)
    np.testing.assert_array_equal(steps[2], sweep(start, 0.5, system, (10,), "test")[0])
