"""Every approach that the configuration can name, trained on data."""

import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lj_vae_hpc.config.load import load
from lj_vae_hpc.config.model import network_names
from lj_vae_hpc.config.objective import Objective
from lj_vae_hpc.config.system import System
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.model.base import Decoder, Encoder
from lj_vae_hpc.model.registry import decoder_class, encoder_class
from lj_vae_hpc.model.vae import Inside, Output
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.sampling.chains import Chains
from lj_vae_hpc.sampling.streams import stream
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.network import Network
from lj_vae_hpc.training.objective import Criterion
from lj_vae_hpc.training.setup import check_data, check_networks
from tests.conftest import CONFIGS, SHIPPED

SMALL = ("system.n_particles=8", "system.box_side=5", "model.latent_dim=6")
GAMMAS = (0.1, 1.0)


@pytest.fixture(scope="module")
def data() -> Configurations:
    """256 configurations of 8 particles at two values of γ."""
    gamma = np.tile(GAMMAS, 128)
    chains = Chains(stream("7"), System(n_particles=8, box_side=5), gamma, 0.4, np.arange(256))
    chains.run(100)
    return Configurations(chains.positions.astype(np.float32), gamma)


def network_of(path: Path | None, *overrides: str, data: Configurations) -> Network:
    """A small network of a configuration, started on the data."""
    torch.manual_seed(0)
    config = load(path, (*SMALL, "sampling.gammas=[0.1, 1.0]", *overrides))
    network = Network.of(config)
    row = config.model.reference_state
    network.start(data, None if row is None else data.part(slice(row, row + 1)))
    return network


def small(path: Path) -> tuple[str, ...]:
    """Overrides that make a shipped approach small, and keep what it is."""
    config = load(path)
    cells = 9 if config.representation.single_occupancy(10) else 5
    width = 16 if "attention" in (config.model.encoder, config.model.decoder) else 64
    return f"representation.cells={cells}", "model.channels=[8, 8]", f"model.width={width}"


def loss_of(network: Network, data: Configurations, seed: int = 0) -> Tensor:
    """Mean loss with the noise of a seed."""
    x, condition = network.inputs(data)
    noise = torch.randn(len(x), network.module.latent_dim, generator=torch.Generator().manual_seed(seed))
    return network.per_configuration(network.criterion(x, network.module(x, condition, noise)).loss).mean()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_approach_learns(path: Path, data: Configurations) -> None:
    network = network_of(path, *small(path), data=data)
    with torch.no_grad():
        for parameter in network.module.parameters():  # a linear path would start near the best
            parameter += 0.05 * torch.randn_like(parameter)
    optimizer = torch.optim.Adam(network.module.parameters(), lr=2e-3)
    before = [loss_of(network, data, seed).item() for seed in range(4)]
    for step in range(60):
        optimizer.zero_grad()
        loss_of(network, data, step).backward()
        optimizer.step()
    assert all(p.grad is not None for p in network.module.parameters())
    after = [loss_of(network, data, seed).item() for seed in range(4)]
    assert np.mean(after) + 3 * np.std(after) < np.mean(before)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_approach_takes_an_empty_share_of_a_batch(path: Path, data: Configurations) -> None:
    network = network_of(path, *small(path), data=data)
    loss_of(network, data.part(slice(0, 0))).nan_to_num().backward()


@pytest.mark.parametrize("decoder", ["positions", "attention"])
@pytest.mark.parametrize("kind", ["coordinates", "distance_matrix"])
def test_decoders_of_positions_give_possible_matrices_in_the_box(kind: str, decoder: str, data: Configurations) -> None:
    keys = (f"representation.kind={kind}", f"model.decoder={decoder}", "model.width=16", "model.linear_path=false")
    network = network_of(None, *keys, data=data)
    z, nothing = 30 * torch.randn(50, 6), torch.empty(50, 0)
    points = network.module.positions(z, nothing)
    assert points.shape == (50, 8, 2) and points.min() >= 0 and points.max() <= math.sqrt(0.5)
    assert network.encoding.matrix is not None
    matrix = network.encoding.matrix(network.module.decode(z, nothing)).double()
    torch.testing.assert_close(matrix, torch.cdist(points.double(), points.double()), atol=1e-6, rtol=0)


def test_points_outside_are_not_driven_farther_out() -> None:
    points = torch.tensor([-0.1, -0.1, 0.3, 0.9, 0.9], requires_grad=True)
    kept = Inside.apply(points)
    torch.testing.assert_close(kept, torch.tensor([0.0, 0.0, 0.3, math.sqrt(0.5), math.sqrt(0.5)]))
    (kept * torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0])).sum().backward()
    assert points.grad.tolist() == [0.0, -1.0, 1.0, 1.0, 0.0]  # descent goes against the gradient


def test_the_linear_path_starts_as_principal_components(data: Configurations) -> None:
    network = network_of(None, data=data)
    x, nothing = network.inputs(data)
    flat = x.flatten(1).double()
    centred = flat - flat.mean(dim=0)
    *_, v = torch.linalg.svd(centred, full_matrices=False)
    expected = centred @ v[:6].T @ v[:6] + flat.mean(dim=0)
    with torch.no_grad():
        mean, _ = network.module.encode(x, nothing)
        points = network.module.decode(mean, nothing)
    torch.testing.assert_close(points, expected.clamp(0, math.sqrt(0.5)).float().view_as(points), atol=1e-4, rtol=0)
    torch.testing.assert_close(mean.var(dim=0), torch.ones(6), atol=1e-3, rtol=0)


def reference_error(network: Network, one: Configurations) -> float:
    x, condition = network.inputs(one)
    with torch.no_grad():
        return (network.module.decode(network.module.encode(x, condition)[0], condition) - x).abs().max().item()


@pytest.mark.parametrize(
    "keys",
    [
        (),
        ("model.conditional=true",),
        ("model.decoder=mlp", "model.linear_path=false"),
        ("representation={kind: distance_matrix, landmarks: true}", "model.linear_path=false"),
        ("representation.kind=occupancy_grid", "model.decoder=mlp", "model.linear_path=false"),
    ],
)
def test_a_decoder_written_about_a_configuration_gives_it_exactly(keys: tuple[str, ...], data: Configurations) -> None:
    for reference, exact in (("5", True), ("null", False)):
        network = network_of(None, *keys, f"model.reference_state={reference}", "model.width=32", data=data)
        torch.manual_seed(1)
        for parameter in network.module.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
        assert (reference_error(network, data.part(slice(5, 6))) < 1e-6) == exact
        assert reference_error(network, data.part(slice(6, 7))) > 1e-3


def test_a_conditional_network_listens_to_gamma(data: Configurations) -> None:
    for conditional in (True, False):
        network = network_of(None, f"model.conditional={conditional}".lower(), data=data)
        torch.nn.init.normal_(network.module.posterior.weight, std=0.1)
        inputs = [network.inputs(Configurations(data.positions, np.full(256, g))) for g in GAMMAS]
        latents = [network.module.encode(*i)[0] for i in inputs]
        assert torch.equal(*latents) != conditional


def test_the_attention_encoder_does_not_see_the_order(data: Configurations) -> None:
    network = network_of(CONFIGS / "approaches/attention.yaml", "model.linear_path=false", data=data)
    x, nothing = network.inputs(data)
    shuffled = x[:, torch.randperm(8)]
    torch.testing.assert_close(*(network.module.encode(a, nothing)[0] for a in (x, shuffled)), atol=1e-5, rtol=1e-4)


# --- the loss ----------------------------------------------------------------------------------------------------


def output_of(reconstruction: Tensor, mean: Tensor, log_variance: Tensor, z: Tensor | None = None) -> Output:
    return Output(reconstruction, mean, log_variance, mean if z is None else z, torch.tensor(math.log(0.5)))


MEAN, LOG_VARIANCE = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, math.log(4.0)]])
Q = torch.distributions.Normal(MEAN, (0.5 * LOG_VARIANCE).exp())
KL = torch.distributions.kl_divergence(Q, torch.distributions.Normal(0.0, 1.0))


def value(x: Tensor, reconstruction: Tensor, z: Tensor | None = None, warmth: float = 1, **keys: object) -> float:
    criterion = Criterion(Objective(**keys), None, compares_both=False)
    return criterion(x, output_of(reconstruction, MEAN, LOG_VARIANCE, z), warmth).loss.item()


def test_the_reference_loss_is_averaged() -> None:
    x, y = torch.zeros(1, 1, 2, 2), torch.tensor([[[[0.0, 1.0], [2.0, 1.0]]]])
    loss = value(x, y, kind="reference", likelihood="gaussian", kl_weight=0.1)
    assert loss == pytest.approx(6 / 4 + 0.1 * KL.mean().item(), rel=1e-6)


def test_every_likelihood_is_a_sum_that_torch_distributions_confirms() -> None:
    x, y = torch.tensor([[0.0, 1.0, 3.0]]), torch.tensor([[0.2, 0.7, 2.5]])
    d, kl = torch.distributions, KL.sum().item()
    expected = {
        "gaussian_learned": d.Normal(y, 0.5).log_prob(x),
        "gaussian": d.Normal(y, 0.5).log_prob(x),
        "poisson": d.Poisson(y).log_prob(x),
    }
    for likelihood, log_p in expected.items():
        assert value(x, y, likelihood=likelihood) == pytest.approx(kl - log_p.sum().item(), rel=1e-5), likelihood
    x, y = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.2, 0.7]])
    log_p = d.Bernoulli(y).log_prob(x).sum().item()
    assert value(x, y, likelihood="bernoulli", kl_weight=2) == pytest.approx(2 * kl - log_p, rel=1e-5)
    assert value(x, y, likelihood="bernoulli", kl_weight=2, warmth=0.5) == pytest.approx(kl - log_p, rel=1e-5)


def test_distances_are_compared_beside_coordinates(data: Configurations) -> None:
    both, bare = (network_of(None, f"objective.distances={d}", data=data).criterion for d in ("true", "false"))
    x = torch.rand(1, 8, 2)
    y = x + 0.01 * torch.randn(1, 8, 2)
    output = output_of(y, MEAN, LOG_VARIANCE)
    added = (torch.cdist(x, x) - torch.cdist(y, y)).square().sum().item() / (2 * 0.25)
    added += 64 * (math.log(0.5) + 0.5 * math.log(2 * math.pi))
    assert (both(x, output).loss - bare(x, output).loss).item() == pytest.approx(added, rel=1e-4)


def test_fisher_information_is_held_at_its_target() -> None:
    x = torch.zeros(1, 2)
    keys = {"likelihood": "gaussian", "fisher_weight": 3.0}
    plain = value(x, x, likelihood="gaussian")
    trace = 1.0 + 0.25  # Σ 1/σ²
    for target in (0.0, 10.0):
        loss = value(x, x, kind="fisher", fisher_target=target, **keys)
        assert loss - plain == pytest.approx(3.0 * abs(trace - target), rel=1e-5)


def test_the_two_estimators_of_the_elbo_agree() -> None:
    n = 20_000
    torch.manual_seed(0)
    z = Q.sample((n,)).squeeze(1)
    x = torch.zeros(n, 1)
    criterion = Criterion(Objective(likelihood="gaussian", estimator="monte_carlo"), None, compares_both=False)
    estimates = criterion(x, output_of(x, MEAN.expand(n, 2), LOG_VARIANCE.expand(n, 2), z)).loss
    exact = value(x[:1], x[:1], likelihood="gaussian")
    error = estimates.std().item() / math.sqrt(n)
    assert error < 0.05 and abs(estimates.mean().item() - exact) < 3.9 * error  # false alarm: 1e-4
    direct = (Q.log_prob(z[:1]) - torch.distributions.Normal(0.0, 1.0).log_prob(z[:1])).sum().item()
    constant = exact - KL.sum().item()
    assert estimates[0].item() == pytest.approx(direct + constant, rel=1e-4)


# Of two entries, errors 0.2 and -0.3, two latent dimensions; MEAN and LOG_VARIANCE as above.
X, Y = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.2, 0.7]])
KL_NATS = 0.5 * (1 + 1 - 1 - 0) + 0.5 * (4 + 4 - 1 - math.log(4))  # 1/2 Σ (μ² + σ² - 1 - log σ²)


def surprise(variance: float) -> float:
    """-log p of the two entries by hand."""
    return (0.2**2 + 0.3**2) / (2 * variance) + math.log(2 * math.pi * variance)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"likelihood": "gaussian"}, surprise(0.25)),
        ({"likelihood": "gaussian", "estimator": "monte_carlo"}, surprise(0.25)),
        ({"likelihood": "bernoulli"}, -math.log(0.8) - math.log(0.7)),
        ({"likelihood": "poisson"}, 0.2 + 0.7 - math.log(0.7)),
        # The mean of e² + 0.5 KL / 2 is that of a normal likelihood of variance 0.5 * 2 / (2 * 2), times
        # 2 variance / D.
        ({"kind": "reference", "likelihood": "gaussian", "kl_weight": 0.5}, surprise(0.25)),
        ({"kind": "reference", "likelihood": "gaussian", "kl_weight": 0.1}, surprise(0.05)),
        ({"kind": "reference", "likelihood": "gaussian", "kl_weight": 0.0, "sigma": 0.3}, surprise(0.09)),
    ],
)  # fmt: skip
def test_the_negative_elbo_in_nats_by_hand(keys: dict[str, object], expected: float) -> None:
    output = output_of(Y, MEAN, LOG_VARIANCE, torch.tensor([[0.3, 0.1]]))
    for warmth in (0.0, 1.0):
        terms = Criterion(Objective(**keys), None, compares_both=False)(X, output, warmth)
        assert terms.negative_elbo.item() == pytest.approx(expected + KL_NATS, rel=1e-5)


@pytest.mark.parametrize("weight", [0.01, 1.0, 7.0])
def test_the_reference_loss_is_its_negative_elbo_but_for_a_factor_and_a_constant(weight: float) -> None:
    criterion = Criterion(
        Objective(kind="reference", likelihood="gaussian", kl_weight=weight), None, compares_both=False
    )
    torch.manual_seed(0)
    y, mean, log_variance = torch.rand(20, 5), torch.randn(20, 3), torch.randn(20, 3)
    terms = criterion(torch.rand(20, 5), output_of(y, mean, log_variance))
    factor = weight / 3  # 2 σ² / D
    torch.testing.assert_close(terms.loss.diff(), factor * terms.negative_elbo.diff(), rtol=1e-3, atol=1e-5)


def test_weights_of_the_loss_do_not_change_the_negative_elbo() -> None:
    def elbo(**keys: object) -> tuple[float, float]:
        terms = Criterion(Objective(likelihood="gaussian", **keys), None, compares_both=False)(
            X, output_of(Y, MEAN, LOG_VARIANCE), 0.7
        )
        return terms.negative_elbo.item(), terms.loss.item()

    plain = elbo()
    for keys in (
        {"kl_weight": 8.0},
        {"kind": "fisher", "fisher_weight": 3.0},
        {"kind": "fisher", "fisher_target": 9.0},
    ):
        assert elbo(**keys)[0] == plain[0] and elbo(**keys)[1] != plain[1]


def test_the_negative_elbo_of_a_configuration_is_the_sum_of_its_samples(data: Configurations) -> None:
    keys = ("representation.kind=local_environment", "model.decoder=mlp", "model.linear_path=false", "model.width=8")
    network = network_of(None, *keys, data=data)
    some = data.part(slice(0, 3))
    x, condition = network.inputs(some)
    terms = network.criterion(x, network.module(x, condition, torch.zeros(24, 6)))
    together = network.sum_of_samples(terms.negative_elbo)
    assert together.shape == (3,) and len(terms.negative_elbo) == 24
    torch.testing.assert_close(together[1], terms.negative_elbo[8:16].sum())


COEFFICIENTS = {
    "kl_weight": ((), 1.0, 2.0),
    "sigma": (("objective.likelihood=gaussian",), 0.01, 0.02),
    "fisher_weight": (("objective.kind=fisher",), 0.1, 0.2),
    "fisher_target": (("objective.kind=fisher",), 1.0, 1e6),
    "distances": ((), "true", "false"),
    "likelihood": ((), "gaussian", "gaussian_learned"),
    "estimator": ((), "analytic", "monte_carlo"),
    "kind": ((), "elbo", "fisher"),
}  # fmt: skip


@pytest.mark.parametrize("key", COEFFICIENTS)
def test_each_key_of_the_objective_changes_the_gradients(key: str, data: Configurations) -> None:
    keys, *values = COEFFICIENTS[key]
    gradients = []
    for given in values:
        network = network_of(None, *keys, f"objective.{key}={given}", data=data)
        loss_of(network, data).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.module.encoder.parameters()]))
        gradients[-1] = torch.cat([gradients[-1], network.module.posterior.bias.grad])
    assert not torch.allclose(*gradients, rtol=1e-3)
    assert set(COEFFICIENTS) | {"warmup_epochs"} == set(Objective.model_fields)


# --- which networks go with what ---------------------------------------------------------------------------------

NETWORKS = [(side, name) for side in ("encoders", "decoders") for name in network_names(side)]


@pytest.mark.parametrize(("side", "name"), NETWORKS)
def test_every_file_is_a_network_that_says_what_it_is(side: str, name: str) -> None:
    network, base = (encoder_class(name), Encoder) if side == "encoders" else (decoder_class(name), Decoder)
    assert issubclass(network, base) and network.__doc__ != base.__doc__
    module = sys.modules[network.__module__]
    assert module.__name__ == f"lj_vae_hpc.model.{side}.{name}" and module.__doc__


def test_networks_are_named_after_their_files() -> None:
    assert network_names("encoders") == ["attention", "conv", "conv_strided", "mlp"]
    with pytest.raises(UserError, match=r"model\.encoder: there is no encoder resnet; choose one of attention, conv, "):
        load(None, ("model.encoder=resnet",))
    with pytest.raises(UserError, match=r"model\.decoder: there is no decoder base; choose one of attention, conv, "):
        load(None, ("model.decoder=base",))
    with pytest.raises(UserError, match=r"there is no encoder resnet"):
        load(None, ("tuning.space.model.encoder=[mlp, resnet]",))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (("model.encoder=conv",), r"model\.encoder: conv works on the entries of a distance_matrix or an "
                                  r"occupancy_grid, not coordinates; mlp takes everything"),
        (("model.decoder=conv_strided", "model.linear_path=false"), r"model\.decoder: conv_strided gives the entries"),
        (("representation.kind=distance_matrix", "model.encoder=attention"), r"model\.encoder: attention works on c"),
        (("representation.kind=local_environment",), r"model\.decoder: positions gives coordinates, of which no local"),
        (("representation.kind=distance_matrix",), r"model\.linear_path: needs representation\.kind coordinates"),
        (("model.decoder=mlp",), r"model\.linear_path: needs .* not coordinates and mlp; set it to false"),
        (("model.decoder=attention", "model.width=30"), r"model\.width: 30 is no multiple of 4, which attention needs"),
        (("model.encoder=attention", "model.width=30"), r"model\.width: 30 is no multiple of 4, which attention needs"),
    ],
)  # fmt: skip
def test_networks_that_cannot_be_used_are_refused(keys: tuple[str, ...], words: str, tmp_path: Path) -> None:
    config = load(None, keys)  # which loads no network
    with pytest.raises(UserError, match=words):
        check_networks(config)
    with pytest.raises(UserError, match=words):  # before anything else
        check_data(RunDir(tmp_path), config, 1)


def test_networks_are_checked_before_anything_is_sampled(
    tmp_path: Path, lj_vae: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = lj_vae("run", "-o", tmp_path / "run", "-s", "model.decoder=conv")
    assert done.returncode == 2 and "model.decoder: conv gives" in done.stderr
    assert not (tmp_path / "run/data").exists()


def test_names_of_networks_are_known_without_torch() -> None:
    program = (
        "import sys; from lj_vae_hpc.config.load import load; import lj_vae_hpc.stages.generate; "
        "load(None, ('model.encoder=conv', 'model.decoder=attention')); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_every_combination_that_is_accepted_runs(data: Configurations) -> None:
    kinds = ("coordinates", "distance_matrix", "occupancy_grid", "local_environment")
    encoders = ("mlp", "conv", "conv_strided", "attention")
    decoders = (*encoders, "positions")
    ran = 0
    for kind, encoder, decoder, linear in itertools.product(kinds, encoders, decoders, ("true", "false")):
        keys = (f"representation.kind={kind}", f"model.encoder={encoder}", f"model.decoder={decoder}", "model.width=8",
                f"model.linear_path={linear}", "model.channels=[2, 3]")  # fmt: skip
        try:
            check_networks(load(None, (*SMALL, *keys)))
        except UserError:
            continue
        network = network_of(None, *keys, data=data)
        loss_of(network, data.part(slice(0, 3))).backward()
        ran += 1
    assert ran == 2 * 3 + 2 * 2 + 3 * 5 + 3 * 3 + 1
