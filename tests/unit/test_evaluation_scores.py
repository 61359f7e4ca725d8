"""Every score of a tiny network against its formula, written out with NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.calibration import PARTS
from lj_vae_hpc.evaluation.conditional.model import ConditionalModel
from lj_vae_hpc.evaluation.learned import Learned
from lj_vae_hpc.evaluation.order import OrderParameter
from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.registry import chosen_scores, score_classes
from lj_vae_hpc.evaluation.scoring import Scorer, batch_size
from lj_vae_hpc.evaluation.sources import batches
from lj_vae_hpc.model.vae import Output
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.network import Network
from tests.by_hand import CONFIG, SIDE, ByHand, N, by_brute_force, nearest, shrunk, some, squared


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    network = Network.of(CONFIG)
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter.copy_(torch.randn_like(parameter))
    network.module.eval()
    return network


def test_rmse(network: Network) -> None:
    configurations = some(20)
    hand = ByHand(network, configurations.positions)
    expected = np.sqrt(hand.distance_errors(hand.reconstruction).mean(axis=1))
    found = score_classes()["rmse"]()(Pass(network, configurations))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_kl(network: Network) -> None:
    configurations = some(20)
    found = score_classes()["kl"]()(Pass(network, configurations))
    np.testing.assert_allclose(found, ByHand(network, configurations.positions).kl, rtol=1e-4)


def test_negative_elbo_is_in_nats_and_without_the_weights_of_the_objective(network: Network) -> None:
    configurations = some(20)
    hand = ByHand(network, configurations.positions)
    found = score_classes()["negative_elbo"]()(Pass(network, configurations))
    np.testing.assert_allclose(found, hand.kl - hand.log_likelihood(hand.mean), rtol=1e-4)


@pytest.fixture(scope="module")
def training() -> Configurations:
    """300 configurations of each of two γ; those of the larger lie lower."""
    low, high = some(300, seed=1), some(300, seed=2)
    high.positions[..., 1] *= 0.7
    positions = np.stack([low.positions, high.positions], axis=1).reshape(-1, N, 2)
    return Configurations(positions, np.tile([0.1, 1.0], 300))


@pytest.fixture(scope="module")
def learned(network: Network, training: Configurations) -> Learned:
    pair = np.zeros(81)
    pair[:20] = np.linspace(20.0, 1.0, 20)  # k_B T, repulsive up to σ
    model = ConditionalModel(pair, np.zeros(81), (0.1, 1.0), np.array([0.2, 1.5]), np.zeros(2), SIDE)
    return Learned(OrderParameter(Pass(network, training).latent_mean, training.gamma), model)


def scored(name: str, network: Network, learned: Learned, training: Configurations) -> np.ndarray:
    score = score_classes()[name]()
    features = score.features(Pass(network, training, learned))
    if features is not None:
        score.fit(features, training.gamma)
    found = score(Pass(network, some(20), learned))
    assert found.shape == (20,) and np.isfinite(found).all()
    return found


def test_mahalanobis(network: Network, learned: Learned, training: Configurations) -> None:
    mean, precision = shrunk(ByHand(network, training.positions).mean)
    expected = np.sqrt(squared(ByHand(network, some(20).positions).mean - mean, precision))
    np.testing.assert_allclose(scored("mahalanobis", network, learned, training), expected, rtol=1e-3)


def test_relative_mahalanobis(network: Network, learned: Learned, training: Configurations) -> None:
    codes, values = ByHand(network, training.positions).mean, ByHand(network, some(20).positions).mean
    means = np.stack([codes[training.gamma == g].mean(axis=0) for g in (0.1, 1.0)])
    _, within = shrunk(codes - means[(training.gamma == 1.0).astype(int)])
    mean, precision = shrunk(codes)
    expected = np.min([squared(values - m, within) for m in means], axis=0) - squared(values - mean, precision)
    np.testing.assert_allclose(
        scored("relative_mahalanobis", network, learned, training), expected, rtol=2e-3, atol=1e-3
    )


def test_latent_distance_is_to_the_nearest_gamma(network: Network, learned: Learned, training: Configurations) -> None:
    codes, values = ByHand(network, training.positions).mean, ByHand(network, some(20).positions).mean
    expected = nearest(codes, training.gamma, values)
    np.testing.assert_allclose(scored("latent_distance", network, learned, training), expected, rtol=1e-3, atol=1e-3)


def test_latent_residual_leaves_the_order_parameter_out(
    network: Network, learned: Learned, training: Configurations
) -> None:
    axis = learned.order.direction / np.linalg.norm(learned.order.direction)
    across = np.array([[-axis[1], axis[0]]])  # the only other direction of two
    one = Pass(network, some(20), learned)
    features = score_classes()["latent_residual"]().features(one)
    np.testing.assert_allclose(features, (one.latent_mean @ across.T) @ across, atol=1e-6)
    assert scored("latent_residual", network, learned, training).min() >= 0


def test_nearest_neighbours(network: Network, learned: Learned, training: Configurations) -> None:
    codes, values = ByHand(network, training.positions).mean, ByHand(network, some(20).positions).mean
    lengths, axes = np.linalg.eigh(np.cov(codes.T))
    white = lambda z: (z - codes.mean(axis=0)) @ axes / np.sqrt(lengths)  # noqa: E731
    distances = np.linalg.norm(white(values)[:, None] - white(codes)[None], axis=-1)
    expected = np.sort(distances, axis=1)[:, 9]
    np.testing.assert_allclose(scored("nearest_neighbours", network, learned, training), expected, rtol=1e-3)


def test_local_energies(network: Network, learned: Learned) -> None:
    configurations = some(12)
    one = Pass(network, configurations, learned)
    pair, surprise, displaced = by_brute_force(learned, configurations, one.slope)
    np.testing.assert_allclose(one.local.pair, pair, atol=2e-2, rtol=1e-3)
    np.testing.assert_allclose(one.local.surprise, surprise, atol=0.06)  # the model's cells are 0.4 σ wide
    np.testing.assert_allclose(one.local.displaced, displaced, atol=3e-2, rtol=1e-3)


def test_scores_of_particles(network: Network, learned: Learned, training: Configurations) -> None:
    local = Pass(network, some(20), learned).local
    found = {name: scored(name, network, learned, training)
             for name in ("surprise", "worst_particles", "displacement", "learned_energy")}  # fmt: skip
    np.testing.assert_allclose(found["surprise"], local.surprise.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found["worst_particles"], local.surprise.max(axis=1), rtol=1e-6)  # an eighth of three
    np.testing.assert_allclose(found["learned_energy"], local.pair.sum(axis=1) / 2, rtol=1e-5)
    ratio = 0.8 * np.exp(local.displaced) + 0.2 * np.exp(local.surprise)
    np.testing.assert_allclose(found["displacement"], np.log(0.9 + 0.1 * ratio).sum(axis=1), rtol=1e-5)


def test_a_particle_outside_the_box_is_impossible(network: Network, learned: Learned) -> None:
    configurations = some(2)
    configurations.positions[1, 2] = (SIDE + 0.1, 1.0)
    local = Pass(network, configurations, learned).local
    assert local.surprise[1, 2] == local.displaced[1, 2] == 100.0 and local.surprise[0].max() < 100


def test_typicality_and_order_parameter(network: Network, learned: Learned, training: Configurations) -> None:
    one = Pass(network, some(20), learned)
    features = score_classes()["typicality"]().features(one)
    local = one.local
    slope = one.slope[:, None] * one.height
    expected = [one.order, local.pair.sum(axis=1) / 2, local.surprise.mean(axis=1),
                (local.surprise - local.pair - slope).mean(axis=1), local.displaced.mean(axis=1)]  # fmt: skip
    np.testing.assert_allclose(features, np.stack(expected, axis=1), rtol=1e-4, atol=1e-5)
    assert scored("typicality", network, learned, training).min() >= 0
    # Configurations of a trained γ are at about the distance of as many numbers as there are.
    order = score_classes()["order_parameter"]()
    order.fit(order.features(Pass(network, training, learned)), training.gamma)
    assert 0.3 < order(Pass(network, training, learned)).mean() < 1.1


def test_claim(network: Network, learned: Learned) -> None:
    configurations = some(20)._replace(gamma=np.full(20, 1.0))
    one = Pass(network, configurations, learned)
    found = score_classes()["claim"]()(one)
    order = learned.order
    exponents = -np.outer(one.order, order._possible) - order._log_z_possible
    weights = np.exp(exponents - exponents.max(axis=1, keepdims=True))
    np.testing.assert_allclose(found, -np.log(weights[:, 2] / weights.sum(axis=1)), rtol=1e-6)
    assert order._possible.tolist() == pytest.approx([-0.8, 0.1, 1.0, 1.9])
    unknown = Pass(network, some(3)._replace(gamma=np.full(3, 0.3)), learned)
    assert np.isinf(score_classes()["claim"]()(unknown)).all()


def test_importance_weighted(network: Network, learned: Learned, training: Configurations) -> None:
    hand = ByHand(network, some(20).positions)
    noise = torch.randn(16, 2, generator=torch.Generator().manual_seed(0)).double().numpy()
    logs = []
    for one in noise:
        z = hand.mean + np.exp(hand.log_variance / 2) * one
        log_ratio = 0.5 * (one @ one + hand.log_variance.sum(axis=1) - (z**2).sum(axis=1))
        logs.append(hand.log_likelihood(z) + log_ratio)
    expected = np.log(16) - np.logaddexp.reduce(logs, axis=0)
    np.testing.assert_allclose(scored("importance_weighted", network, learned, training), expected, rtol=1e-3)


def test_likelihood_regret(network: Network, learned: Learned, training: Configurations) -> None:
    found = scored("likelihood_regret", network, learned, training)
    hand = ByHand(network, some(20).positions)
    at_mean = hand.log_likelihood(hand.mean) - (hand.mean**2).sum(axis=1) / 2
    nearby = [hand.log_likelihood(hand.mean + move) - ((hand.mean + move) ** 2).sum(axis=1) / 2
              for move in np.random.default_rng(0).normal(0, 0.3, (40, 1, 2))]  # fmt: skip
    assert (found >= 0).all() and (found > 0.01).any()
    best = np.max(nearby, axis=0) - at_mean
    assert np.corrcoef(found, best)[0, 1] > 0.7


def test_gradient_norms(network: Network, learned: Learned) -> None:
    found = Pass(network, some(5), learned).gradient_norms
    layers = [layer for layer in network.module.modules() if isinstance(layer, nn.Linear)]
    x, condition = network.inputs(some(5))
    for k in range(5):
        network.module.zero_grad()
        mean, log_variance = network.module.encode(x[k : k + 1], condition[k : k + 1])
        output = Output(network.module.decode(mean, condition[:1]), mean, log_variance, mean, network.module.log_sigma)
        network.criterion.analytic(x[k : k + 1], output).loss.sum().backward()
        expected = [float(layer.weight.grad.norm()) for layer in layers]
        np.testing.assert_allclose(found[k], expected, rtol=1e-3)
    network.module.zero_grad()


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
    np.testing.assert_allclose(one.kl, each.kl.view(6, N).sum(dim=1), rtol=1e-5)
    np.testing.assert_allclose(one.squared_error, each.squared_error.view(6, N).mean(dim=1), rtol=1e-5)


def test_the_network_runs_once_for_all_scores(
    network: Network, learned: Learned, training: Configurations, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    for name in ("encode", "decode"):
        original = getattr(network.module, name)
        monkeypatch.setattr(network.module, name, lambda *a, n=name, f=original: (calls.append(n), f(*a))[1])
    scorer = Scorer(network, CONFIG)
    scorer.learned = learned
    one = Pass(network, training, learned)
    for score in scorer.scores:
        if (features := score.features(one)) is not None:
            score.fit(features, training.gamma)
    assert calls == ["encode"]
    columns = scorer(some(20), claims=False)
    assert calls == ["encode", "encode", "decode"]
    assert "claim" not in columns and "claim" in scorer(some(20), claims=True)


def test_the_order_of_particles_does_not_matter(network: Network) -> None:
    configurations = some(30)
    shuffled = Configurations(configurations.positions[:, ::-1].copy(), configurations.gamma)
    for name in ("rmse", "kl", "negative_elbo"):
        score = score_classes()[name]()
        np.testing.assert_array_equal(score(Pass(network, configurations)), score(Pass(network, shuffled)))


def test_scores_are_found_by_file() -> None:
    classes = score_classes()
    assert list(classes)[:3] == ["claim", "displacement", "gradient_norms"] and len(classes) == 18
    assert all(part.removesuffix("_two_sided") in classes for part in PARTS)
    optional = {name for name, kind in classes.items() if kind.optional}
    assert {score.name for score in chosen_scores(())} == set(classes) - optional
    assert {score.name for score in chosen_scores(tuple(optional))} == set(classes)
    with pytest.raises(
        UserError, match=r"evaluation\.extra_scores: there is no kl; choose from gradient_norms, import"
    ):
        chosen_scores(("kl",))


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_batches_do_not_depend_on_the_ranks(ranks: int) -> None:
    whole = [range(0, 64), range(64, 128), range(128, 130)]
    found = []
    for rank in range(ranks):
        world = World(None)
        world.rank, world.size = rank, ranks
        found += batches(world, 130, 64)
    assert found == whole


def test_batches_of_large_systems_are_small() -> None:
    assert (batch_size(30), batch_size(1000), batch_size(9000)) == (512, 33, 1)
