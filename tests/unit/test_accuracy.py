"""The latent dimension that scales with the system, and what a network loses beside principal components."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from lj_vae_hpc.config.load import changed, load
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.registry import score_classes
from lj_vae_hpc.evaluation.weights import load_network
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir, open_run
from lj_vae_hpc.stages.train import train
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training.accuracy import Accuracy, measure, small_latent_warning
from lj_vae_hpc.training.batches import Configurations, read_rows
from lj_vae_hpc.training.setup import first_state, new_network
from lj_vae_hpc.training.splits import Splits
from tests.conftest import sampled_run

BOX = "system.box_side=40"


@pytest.mark.parametrize(("particles", "dimensions"), [(2, 3), (10, 14), (30, 40), (60, 80), (120, 160)])
def test_the_latent_dimension_scales_with_the_particles(particles: int, dimensions: int) -> None:
    config = load(None, (f"system.n_particles={particles}", BOX))
    assert config.model.latent_dim == dimensions
    assert config.tuning.space["model.latent_dim"].high == 2 * particles  # coordinates
    assert "latent_dim: auto" not in config.to_yaml()
    assert changed(config, {"model.latent_dim": "auto", "model.width": 8}).model.latent_dim == dimensions


def test_the_latent_dimension_may_be_given() -> None:
    assert load(None, ("system.n_particles=60", "model.latent_dim=7")).model.latent_dim == 7
    assert load(None, ("model.latent_dim=auto",)) == RunConfig()
    local = ("representation.kind=local_environment", "system.n_particles=60")
    assert load(None, local).model.latent_dim == 40


@pytest.mark.parametrize(
    ("settings", "count"),
    [((), 4000), (("sampling.configurations=1000",), 400), (("evaluation.configurations=7",), 7),
     (("sampling.configurations=10", "sampling.gammas={start: 0.1, stop: 2, num: 200}"), 200)],
)  # fmt: skip
def test_suites_are_as_large_as_the_test_split(settings: tuple[str, ...], count: int) -> None:
    assert load(None, settings).evaluation.configurations == count


def test_pca_beside_the_network() -> None:
    assert str(Accuracy("error", "σ", 0.0771, 0.0746, 80)).endswith("(80) 0.0746 σ: PCA is 3 % better")
    assert str(Accuracy("error", "σ", 0.07, 0.08, 80)).endswith("(80) 0.08 σ")


def test_the_latent_dimension_is_that_of_the_data(tmp_path: Path) -> None:
    sampled_run(tmp_path / "data", "sampling.protocol=reference", "system.n_particles=9")
    (tmp_path / "other.yaml").write_text("model: {width: 8}\n")
    _, config = open_run(World(None), tmp_path / "run", tmp_path / "other.yaml", data=tmp_path / "data")
    assert (config.system.n_particles, config.model.latent_dim) == (9, 12)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with data."""
    return sampled_run(tmp_path_factory.mktemp("data") / "run", "sampling.protocol=reference")


def untrained(data: Path, *keys: str) -> tuple[Accuracy, str | None]:
    """A network as training starts it, on the validation split."""
    config = load(data / "config.yaml", keys)
    network, _ = new_network(config, torch.device("cpu"))
    with Dataset(RunDir(data).dataset) as dataset:
        splits, read = Splits.of(dataset.layout, config.training), partial(read_rows, dataset)
        first_state(network, config, read, splits.training)
        network.module.eval()
        training = read(splits.training[:])
        accuracy = measure(network, config, training, read(splits.validation[:]))
        return accuracy, small_latent_warning(network, config, training)


def test_a_network_that_starts_as_principal_components_has_their_error(data: Path) -> None:
    accuracy, warning = untrained(data)
    assert (accuracy.quantity, accuracy.unit, accuracy.dimensions) == ("position error", "σ", 4)
    # Points outside of the box are put onto its walls, so it is a little better.
    assert accuracy.network == pytest.approx(accuracy.components, rel=0.05)
    assert 0.5 < accuracy.network < 2
    assert warning is not None
    assert "latent_dim 4 is below the 11 recommended for 8 particles: position error with PCA of 4" in warning
    assert untrained(data, "model.latent_dim=11")[1] is None
    assert untrained(data, "model.latent_dim=16")[0].components == pytest.approx(0, abs=1e-5)


MATRIX = ("representation.kind=distance_matrix", "model.linear_path=false")
GRID = ("representation.kind=occupancy_grid", "model.linear_path=false", "model.decoder=mlp")
LOCAL = ("representation.kind=local_environment", "model.linear_path=false", "model.decoder=mlp")


@pytest.mark.parametrize(
    ("keys", "quantity"),
    [
        (MATRIX, "error of a distance"),
        ((*MATRIX, "representation.landmarks=true"), "position error"),
        ((*MATRIX, "representation.landmarks=true", "model.decoder=mlp"), "error of a distance"),
        ((*GRID, "representation.cells=4"), "share of the variance lost"),
        ((*LOCAL, "representation.neighbours=3"), "share of the variance lost"),
        (("model.linear_path=false", "model.decoder=mlp"), "position error"),
    ],
)
def test_every_representation_has_an_error(data: Path, keys: tuple[str, ...], quantity: str) -> None:
    accuracy, _ = untrained(data, *keys)
    config = load(data / "config.yaml", keys)
    assert accuracy.quantity == quantity
    assert accuracy.components is not None
    assert accuracy.components < accuracy.network
    assert "PCA of as many dimensions reconstructs better" in str(accuracy.warning(config))


@pytest.mark.parametrize(
    ("keys", "network", "remedy"),
    [
        (("model.latent_dim=11",), 0.104, None),
        (("model.latent_dim=11", "training.epochs=19"), 0.106, "train longer (training.epochs=20)"),
        (("model.latent_dim=11", "training.epochs=20"), 0.106, "sample more"),
        (("model.latent_dim=8",), 0.106, "set model.latent_dim=11 "),
        (("model.latent_dim=8", "model.linear_path=false"), 0.101, None),
        (("model.latent_dim=8", "model.linear_path=false"), 0.103, "the default model"),
    ],
)
def test_one_remedy_where_components_are_better_than_is_known(
    data: Path, keys: tuple[str, ...], network: float, remedy: str | None
) -> None:
    warning = Accuracy("position error", "σ", network, 0.1, 8).warning(load(data / "config.yaml", keys))
    assert (warning is None) if remedy is None else (warning is not None and f"σ); {remedy}" in warning)


def test_the_position_error_is_a_distance_in_sigma(data: Path) -> None:
    """A network that gives the mean is off by the spread of the coordinates."""
    config = load(data / "config.yaml")
    network, _ = new_network(config, torch.device("cpu"))
    linear = network.module.linear_out
    assert linear is not None
    rng = np.random.default_rng(1)
    centre = np.stack([np.full(8, 2.5), np.arange(8) * 0.6 + 0.3], axis=1)
    offset = 0.3 * np.array([[np.cos(a), np.sin(a)] for a in rng.uniform(0, 6.28, 8)]) * [1, 0.1]
    positions = np.stack([centre + offset, centre - offset]).astype(np.float32)
    with torch.no_grad():
        for weights in network.module.parameters():
            weights.zero_()
        linear.bias.copy_(torch.from_numpy((centre / (5 * 2**0.5)).ravel()))
    some = Configurations(positions, np.ones(2))
    accuracy = measure(network, config, some, some)
    assert accuracy.network == pytest.approx(np.sqrt((offset**2).sum(axis=1).mean()), rel=1e-4)
    assert accuracy.components == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("keys", [(), (*LOCAL, "representation.neighbours=3"), ("objective.estimator=monte_carlo",)])
def test_kl_is_in_nats_per_configuration_everywhere(data: Path, tmp_path: Path, keys: tuple[str, ...]) -> None:
    exact = (*keys, "training.precision=fp32")
    run, config = open_run(World(None), tmp_path / "run", data / "config.yaml", exact, data=data)
    train(World(None), run, config)
    network, weights = load_network(World(None), run, config)
    with Dataset(run.dataset) as dataset:
        splits = Splits.of(dataset.layout, config.training)
        some = read_rows(dataset, splits.validation[:])
    mean, log_variance = (t.detach().numpy() for t in network.module.encode(*network.inputs(some)))
    each = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)
    kl = each.sum() / len(some.gamma)  # over latent dimensions and, where there are several, samples
    assert score_classes()["kl"]()(Pass(network, some)).mean() == pytest.approx(kl, rel=1e-4)
    epochs = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    best = epochs[weights.epoch - 1]
    assert best["validation_kl"] == pytest.approx(kl, rel=1e-4)
    elbo = score_classes()["negative_elbo"]()(Pass(network, some)).mean()  # which has the KL in closed form
    assert best["validation_loss"] == pytest.approx(elbo / network.encoding.samples, rel=1e-4)


def test_training_says_how_well_it_reconstructs(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, config = open_run(World(None), tmp_path / "run", data / "config.yaml", data=data)
    train(World(None), run, config)
    shown = capsys.readouterr().out
    assert shown.count("training: warning: model.latent_dim 4 is below the 11 recommended") == 1
    assert "training: best weights of epoch 2: position error" in shown
    assert "with PCA of as many dimensions (4)" in shown
