"""What tests of data of the user's own share, and tests of training."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from lj_vae_hpc.config.load import load
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir, open_run
from lj_vae_hpc.stages.train import train
from lj_vae_hpc.store.reader import Dataset
from tests.conftest import sampled_run
from tests.own import ROWS, WORLD
from tests.training import Train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run with a model, not evaluated."""
    run = sampled_run(tmp_path_factory.mktemp("own") / "run")
    train(WORLD, RunDir(run), load(run / "config.yaml"))
    return run


@pytest.fixture(scope="module")
def normal(trained: Path) -> np.ndarray:
    """Normal configurations of that run."""
    with Dataset(trained / "data" / "dataset.h5") as data:
        return data.read(range(ROWS))["positions"].astype(np.float64)


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run with data."""
    return sampled_run(tmp_path_factory.mktemp("data") / "run")


@pytest.fixture
def train_with(tiny_run: Path, tmp_path: Path) -> Train:
    """Trains with some settings, five steps an epoch; again, it continues."""

    def run(*settings: str) -> RunDir:
        if not (tmp_path / "run").exists():
            shutil.copytree(tiny_run, tmp_path / "run")
        folder, config = open_run(World(None), tmp_path / "run", None, settings)
        train(World(None), folder, config)
        return folder

    return run
