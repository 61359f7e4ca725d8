"""Every approach that the configuration can name, trained on data."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lj_vae_hpc.config.load import load
from lj_vae_hpc.model.vae import Inside
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.network import Network
from tests.conftest import CONFIGS, SHIPPED
from tests.networks import GAMMAS, loss_of, network_of, small_configurations


@pytest.fixture(scope="module")
def data() -> Configurations:
    """256 configurations of 8 particles at two values of γ."""
    return small_configurations()


def small(path: Path) -> tuple[str, ...]:
    """Overrides that make a shipped approach small, and keep what it is."""
    config = load(path)
    cells = 9 if config.representation.single_occupancy(10) else 5
    width = 16 if "attention" in (config.model.encoder, config.model.decoder) else 64
    return f"representation.cells={cells}", "model.channels=[8, 8]", f"model.width={width}"


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


def test_few_configurations_give_no_components_of_no_width(data: Configurations) -> None:
    """13 configurations span 12 directions: others would be divided by their vanishing deviations in one more."""
    for few in (1, 13):
        network = network_of(None, "model.latent_dim=16", data=data)
        network.start(data.part(slice(0, few)), None)
        x, nothing = network.inputs(data.part(slice(100, 256)))
        code = network.module.encode(x, nothing)[0]
        error = (network.module.decode(code, nothing) - x).square().mean()
        constant = (x - x.mean(dim=0)).square().mean()
        assert code.abs().max() < 100 and error < 2 * constant


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
