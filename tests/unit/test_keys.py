"""Schedules, and that every key of what is learned changes what is learned."""

import os
import shutil
from pathlib import Path

import pytest

from lj_vae_hpc.config.model import Model
from lj_vae_hpc.config.objective import Objective
from lj_vae_hpc.config.representation import Representation
from lj_vae_hpc.config.training import Training
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import open_run
from lj_vae_hpc.stages.evaluate import evaluate
from lj_vae_hpc.stages.generate import generate
from lj_vae_hpc.stages.report import report
from lj_vae_hpc.stages.train import train
from lj_vae_hpc.training.schedules import learning_rate, warm_up
from tests.conftest import TINY


def test_warm_up_is_linear() -> None:
    assert [warm_up(t, 4) for t in (0.5, 2, 4, 9)] == [0.125, 0.5, 1, 1]
    assert warm_up(0, 0) == 1


def test_learning_rates() -> None:
    constant = Training(schedule="constant", learning_rate=0.5, warmup_epochs=2, epochs=10)
    assert [learning_rate(t, constant) for t in (1, 2, 10)] == [0.25, 0.5, 0.5]
    cosine = constant.model_copy(update={"schedule": "cosine", "warmup_epochs": 0})
    assert [learning_rate(t, cosine) for t in (0, 5, 10)] == pytest.approx([0.5, 0.25, 0.0])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with data."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "tiny.yaml").write_text(TINY)
    run, config = open_run(World(None), folder / "run", folder / "tiny.yaml", ("sampling.protocol=reference",))
    generate(World(None), run, config)
    return run.path


def metrics(data: Path, folder: Path, keys: tuple[str, ...]) -> str:
    """The metrics of two epochs with some keys changed."""
    shutil.copytree(data / "data", folder / "data", copy_function=os.link)
    shutil.copy(data / "config.yaml", folder)
    run, config = open_run(World(None), folder, data / "config.yaml", keys)
    train(World(None), run, config)
    return run.metrics.read_text()


MATRIX = ("representation.kind=distance_matrix", "model.linear_path=false")
GRID = ("representation.kind=occupancy_grid", "model.linear_path=false", "model.decoder=mlp")
LOCAL = ("representation.kind=local_environment", "model.linear_path=false", "model.decoder=mlp")
CONV = (*MATRIX, "model.encoder=conv")
FISHER, GAUSSIAN = ("objective.kind=fisher",), ("objective.likelihood=gaussian",)

# What is changed: from one value to another, beside keys that make it matter.
KEYS: dict[str, tuple[object, object, tuple[str, ...]]] = {
    "representation.kind": ("coordinates", "distance_matrix", ("model.linear_path=false",)),
    "representation.ordering": ("y", "random", ()),
    "representation.landmarks": ("false", "true", MATRIX),
    "representation.cells": (4, 5, GRID),
    "representation.neighbours": (3, 4, LOCAL),
    "representation.radius": (2, 3, LOCAL),
    "model.encoder": ("mlp", "attention", ()),
    "model.decoder": ("positions", "attention", ()),
    "model.latent_dim": (4, 5, ()),
    "model.channels": ("[2, 2]", "[2, 3]", CONV),
    "model.width": (16, 20, ()),
    "model.depth": (1, 2, ()),
    "model.linear_path": ("true", "false", ()),
    "model.conditional": ("true", "false", ()),
    "model.reference_state": ("null", 0, ()),
    "objective.kind": ("elbo", "fisher", ()),
    "objective.likelihood": ("gaussian", "gaussian_learned", ()),
    "objective.sigma": (0.01, 0.02, GAUSSIAN),
    "objective.distances": ("true", "false", ()),
    "objective.kl_weight": (1, 2, ()),
    "objective.warmup_epochs": (0, 2, ()),
    "objective.estimator": ("analytic", "monte_carlo", ()),
    "objective.fisher_weight": (0.1, 0.2, FISHER),
    "objective.fisher_target": (1, 1e5, FISHER),
    "training.epochs": (2, 3, ()),
    "training.batch_size": (16, 24, ()),
    "training.learning_rate": (1e-3, 2e-3, ()),
    "training.weight_decay": (0, 0.5, ()),
    "training.warmup_epochs": (0, 1, ()),
    "training.schedule": ("constant", "cosine", ()),
    "training.mirror": ("true", "false", ()),
    "training.validation_fraction": (0.2, 0.3, ()),
    "training.calibration_fraction": (0.1, 0.2, ()),
    "training.test_fraction": (0.2, 0.3, ()),
    "training.precision": ("fp32", "bf16", ()),
}


@pytest.mark.parametrize("key", KEYS)
def test_every_key_changes_what_is_learned(key: str, data: Path, tmp_path: Path) -> None:
    first, second, keys = KEYS[key]
    a, b = (metrics(data, tmp_path / str(k), (*keys, f"{key}={v}")) for k, v in enumerate((first, second)))
    assert a != b


def test_every_key_is_in_the_list() -> None:
    sections = {"representation": Representation, "model": Model, "objective": Objective, "training": Training}
    keys = {f"{name}.{key}" for name, section in sections.items() for key in section.model_fields}
    # One needs a GPU, or is refused; the other changes no result, and is tested where checkpoints are.
    assert keys - set(KEYS) == {"training.device", "training.checkpoint_minutes"}


def test_the_same_keys_give_the_same(data: Path, tmp_path: Path) -> None:
    assert metrics(data, tmp_path / "a", ()) == metrics(data, tmp_path / "b", ())


def test_a_reference_state_must_be_in_the_data(data: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no row 120; its rows are 0 to 119"):
        metrics(data, tmp_path / "a", ("model.reference_state=120",))


def test_every_representation_is_evaluated_and_reported(data: Path, tmp_path: Path) -> None:
    for number, keys in enumerate((("model.conditional=true",), GRID, LOCAL)):
        folder = tmp_path / str(number)
        metrics(data, folder, keys)
        if number:
            shutil.copytree(tmp_path / "0/evaluation/suites", folder / "evaluation/suites", copy_function=os.link)
        run, config = open_run(World(None), folder, None, ())
        evaluate(World(None), run, config)
        report(World(None), run, config)
        assert "<h2>Latent plane" in run.report.read_text()
