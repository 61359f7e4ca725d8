"""Every score of a tiny network against its formula, written out with NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.registry import DEFAULT_SCORE, score_classes
from lj_vae_hpc.evaluation.scoring import Scorer, batches
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.network import Network

SIDE, SIGMA, N = 5.0, 0.07, 3
CONFIG = RunConfig.model_validate({
    "system": {"n_particles": N, "box_side": SIDE},
    "model": {"encoder": "mlp", "decoder": "positions", "width": 4, "depth": 1, "latent_dim": 2, "linear_path": False},
    "objective": {"kind": "fisher", "likelihood": "gaussian", "sigma": SIGMA, "kl_weight": 3.0},
    "evaluation": {"corruptions": {}},
})  # fmt: skip


def some(n: int, seed: int = 0) -> Configurations:
    random = np.random.default_rng(seed)
    return Configurations(random.uniform(0, SIDE, (n, N, 2)).astype(np.float32), np.full(n, 0.1))


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    network = Network.of(CONFIG)
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter.copy_(torch.randn_like(parameter))
    network.module.eval()
    return network


class ByHand:
    """The same network in double precision."""

    def __init__(self, network: Network, positions: np.ndarray) -> None:
        module = network.module
        order = positions[..., 1].argsort(axis=1)
        self.x = np.take_along_axis(positions.astype(float), order[..., None], axis=1) / (SIDE * np.sqrt(2))
        (hidden,), posterior = self.layers(module.encoder), module.posterior
        both = self.linear(posterior, self.silu(self.linear(hidden, self.x.reshape(len(positions), -1))))
        self.mean, self.log_variance = both[:, :2], both[:, 2:]
        first, last = self.layers(module.decoder)
        y = self.linear(last, self.silu(self.linear(first, self.mean))).reshape(-1, N, 2)
        self.reconstruction = np.sqrt(0.5) / (1 + np.exp(-4 * y / np.sqrt(0.5)))

    @staticmethod
    def layers(module: nn.Module) -> list[nn.Linear]:
        return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]

    @staticmethod
    def linear(layer: nn.Linear, x: np.ndarray) -> np.ndarray:
        return x @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()

    @staticmethod
    def silu(x: np.ndarray) -> np.ndarray:
        return x / (1 + np.exp(-x))

    @property
    def distance_errors(self) -> np.ndarray:
        a, b = (np.linalg.norm(x[:, :, None] - x[:, None], axis=-1) for x in (self.x, self.reconstruction))
        return ((a - b) ** 2).reshape(len(a), -1)

    @property
    def kl(self) -> np.ndarray:
        return 0.5 * (self.mean**2 + np.exp(self.log_variance) - 1 - self.log_variance).sum(axis=1)


def test_rmse(network: Network) -> None:
    configurations = some(20)
    expected = np.sqrt(ByHand(network, configurations.positions).distance_errors.mean(axis=1))
    found = score_classes()["rmse"]()(Pass(network, configurations))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_kl(network: Network) -> None:
    configurations = some(20)
    found = score_classes()["kl"]()(Pass(network, configurations))
    np.testing.assert_allclose(found, ByHand(network, configurations.positions).kl, rtol=1e-4)


def test_negative_elbo_is_in_nats_and_without_the_weights_of_the_objective(network: Network) -> None:
    configurations = some(20)
    hand = ByHand(network, configurations.positions)
    errors = np.concatenate([((hand.x - hand.reconstruction) ** 2).reshape(20, -1), hand.distance_errors], axis=1)
    log_likelihood = -0.5 * (errors / SIGMA**2 + np.log(2 * np.pi * SIGMA**2)).sum(axis=1)
    found = score_classes()["negative_elbo"]()(Pass(network, configurations))
    np.testing.assert_allclose(found, hand.kl - log_likelihood, rtol=1e-4)


def test_mahalanobis(network: Network) -> None:
    training, configurations = some(200, seed=1), some(20)
    score = score_classes()["mahalanobis"]()
    for part in (slice(0, 70), slice(70, 200)):
        score.observe(Pass(network, training.part(part)))
    score.finish_fit(World(None))
    means = ByHand(network, training.positions).mean
    covariance = np.cov(means.T, bias=True)
    precision = np.linalg.inv(covariance + 1e-6 * np.trace(covariance) / 2 * np.eye(2))
    offset = ByHand(network, configurations.positions).mean - means.mean(axis=0)
    expected = np.sqrt(np.einsum("ni,ij,nj->n", offset, precision, offset))
    np.testing.assert_allclose(score(Pass(network, configurations)), expected, rtol=1e-4)


def test_nats_are_summed_and_errors_averaged_over_samples() -> None:
    settings = {
        "representation": {"kind": "local_environment"},
        "model": {"encoder": "mlp", "decoder": "mlp", "linear_path": False, "latent_dim": 2, "width": 4},
    }
    network = Network.of(RunConfig.model_validate(CONFIG.model_dump() | settings))
    configurations = some(6)
    one = Pass(network, configurations)
    x, condition = network.inputs(configurations)
    with torch.no_grad():
        each = network.criterion.analytic(x, network.module(x, condition, torch.zeros(len(x), 2)))
    np.testing.assert_allclose(one.negative_elbo, each.negative_elbo.view(6, N).sum(dim=1), rtol=1e-5)
    np.testing.assert_allclose(one.kl, 2 * each.kl.view(6, N).sum(dim=1), rtol=1e-5)
    np.testing.assert_allclose(one.squared_error, each.squared_error.view(6, N).mean(dim=1), rtol=1e-5)


def test_the_network_runs_once_for_all_scores(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    for name in ("encode", "decode"):
        original = getattr(network.module, name)
        monkeypatch.setattr(network.module, name, lambda *a, n=name, f=original: (calls.append(n), f(*a))[1])
    scorer = Scorer(network, CONFIG)
    mahalanobis = next(score for score in scorer.scores if score.name == "mahalanobis")
    mahalanobis.observe(Pass(network, some(20)))
    mahalanobis.finish_fit(World(None))
    assert calls == ["encode"]
    scorer(some(20))
    assert calls == ["encode", "encode", "decode"]


def test_the_order_of_particles_does_not_matter(network: Network) -> None:
    configurations = some(30)
    shuffled = Configurations(configurations.positions[:, ::-1].copy(), configurations.gamma)
    for name in ("rmse", "kl", "negative_elbo"):
        score = score_classes()[name]()
        np.testing.assert_array_equal(score(Pass(network, configurations)), score(Pass(network, shuffled)))


def test_scores_are_found_by_file() -> None:
    assert list(score_classes()) == ["kl", "mahalanobis", "negative_elbo", "rmse"]
    assert DEFAULT_SCORE in score_classes()


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_batches_do_not_depend_on_the_ranks(ranks: int) -> None:
    whole = [range(0, 64), range(64, 128), range(128, 130)]
    found = []
    for rank in range(ranks):
        world = World(None)
        world.rank, world.size = rank, ranks
        found += batches(world, 130, N)
    assert found == whole


def test_batches_of_large_systems_are_small() -> None:
    assert max(map(len, batches(World(None), 1000, 1000))) == 33
    assert batches(World(None), 2, 9000) == [range(1), range(1, 2)]
