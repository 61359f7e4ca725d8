"""The loss and the negative ELBO, by hand and by torch.distributions."""

import math

import pytest
import torch
from torch import Tensor

from lj_vae_hpc.config.objective import Objective
from lj_vae_hpc.model.vae import Output
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.objective import Criterion
from tests.networks import loss_of, network_of, small_configurations


@pytest.fixture(scope="module")
def data() -> Configurations:
    """256 configurations of 8 particles at two values of γ."""
    return small_configurations()


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
