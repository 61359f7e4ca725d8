"""What the tests of data of the user's own share."""

from pathlib import Path

import numpy as np
import pytest

from lj_vae_hpc.config.load import load
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.stages.train import train
from lj_vae_hpc.store.reader import Dataset
from tests.conftest import sampled_run
from tests.own import ROWS, WORLD


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
