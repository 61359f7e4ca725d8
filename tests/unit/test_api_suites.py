"""The configurations of anomaly suites in Python."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import lj_vae_hpc
from lj_vae_hpc.config.load import load
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.run.folder import open_run as make_run
from lj_vae_hpc.stages.evaluate import evaluate
from lj_vae_hpc.stages.train import train
from tests.conftest import ROOT, sampled_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suites")
    np.save(path / "own.npy", np.random.default_rng(0).uniform(0, 5, (7, 8, 2)))
    settings = (
        f"evaluation.files={{own: {path / 'own.npy'}}}",
        "evaluation.claims=[{claimed: 0.1, 'true': 0.5}]",
        "evaluation.unseen_gammas=[0.55, 3.0]",
        "evaluation.size_ratio=1.0",
    )
    sampled_run(path / "run", *settings)
    train(World(), RunDir(path / "run"), load(path / "run/config.yaml"))
    with pytest.raises(UserError, match=r"gamma_3 is not sampled; run `.*lj-vae evaluate"):
        lj_vae_hpc.open_run(path / "run").suite("gamma_3")
    evaluate(World(), RunDir(path / "run"), load(path / "run/config.yaml"))
    return path / "run"


def test_suites_are_those_that_were_scored(folder: Path) -> None:
    """To the bits of what observes them."""
    run = lj_vae_hpc.open_run(folder)
    with h5py.File(folder / "evaluation/scores.h5") as scores:
        for name in run.summary["suites"]:
            positions, gamma, moved = run.suite(name)
            assert positions.shape[1:] == (8, 2) and positions.dtype == np.float32 and len(gamma) == len(positions)
            np.testing.assert_allclose(positions[..., 1].sum(axis=1), scores[name]["height_sum"][:], rtol=1e-6)
            np.testing.assert_array_equal(gamma, scores[name]["gamma"][:])
            assert (moved is not None) == name.startswith("corrupted")
    assert (run.suite("gamma_3").gamma == 3.0).all() and (run.suite("claimed_0.1_true_0.5").gamma == 0.1).all()
    np.testing.assert_allclose(run.suite("own").positions, np.load(folder.parent / "own.npy"), rtol=1e-6)
    assert run.suite("corrupted").moved.sum(axis=1).max() > 0  # type: ignore[union-attr]


def test_a_suite_of_another_definition_is_not_given(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "run", symlinks=True)
    config = tmp_path / "run/config.yaml"
    config.write_text(config.read_text().replace("potential: soft", "potential: wca"))
    with pytest.raises(UserError, match=r"suite soft is not sampled; run `.*lj-vae evaluate"):
        lj_vae_hpc.open_run(tmp_path / "run").suite("soft")


def test_suites_that_there_are_not(folder: Path) -> None:
    run = lj_vae_hpc.open_run(folder)
    with pytest.raises(ValueError, match=r"no suite 'gamma_2'; choose one of .*gamma_3"):
        run.suite("gamma_2")
    with pytest.raises(ValueError, match="no suite 'two_sizes'; it is left out, as both sizes are the same"):
        run.suite("two_sizes")


def test_a_model_of_another_seed_has_the_suites_of_its_data(folder: Path, tmp_path: Path) -> None:
    run, config = make_run(World(), tmp_path / "other", folder / "config.yaml", ("seed=9",), data=folder)
    train(World(), run, config)
    evaluate(World(), run, config)
    for name in ("gamma_3", "corrupted"):
        own, other = (lj_vae_hpc.open_run(path).suite(name).positions for path in (run.path, folder))
        np.testing.assert_array_equal(own, other)


def test_the_tour_runs_and_is_stored_without_output(folder: Path) -> None:
    tour = ROOT / "docs/tour.ipynb"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbmake", str(tour)],
        capture_output=True, text=True, timeout=120, check=False, env=os.environ | {"LJ_VAE_OUTPUT": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout[-3000:]
    cells = json.loads(tour.read_text(encoding="utf-8"))["cells"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code")
    asked = "".join(line for cell in cells if cell["cell_type"] == "code" for line in cell["source"])
    verbs = ("encode", "decode", "sample", "score", "odd_particles")
    for name in ("energy[", "suite(", *(f"model.{verb}(" for verb in verbs)):
        assert f"run.{name}" in asked


def test_a_run_is_found_from_any_working_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    run = lj_vae_hpc.open_run(folder.name)
    monkeypatch.chdir("/")
    assert len(run.positions) == 120 and run.model and str(run.path) == folder.name
