"""A run that is evaluated again: only what is missing is computed, and nothing is left over."""

import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from lj_vae_hpc.config.load import changed
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation import session
from lj_vae_hpc.evaluation.scores.mahalanobis import Mahalanobis
from lj_vae_hpc.evaluation.scores.registry import score_classes
from lj_vae_hpc.evaluation.sources import RunData, Source
from lj_vae_hpc.evaluation.weights import load_network
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir, open_run
from lj_vae_hpc.sampling import production
from lj_vae_hpc.stages.evaluate import evaluate
from lj_vae_hpc.stages.generate import generate
from lj_vae_hpc.stages.report import report
from lj_vae_hpc.stages.train import train
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training.batches import read_rows
from lj_vae_hpc.training.splits import Splits
from tests.conftest import TINY

SIDE = 10.0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run that is evaluated."""
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "tiny.yaml").write_text(TINY)
    world = World(None)
    run, config = open_run(world, folder / "run", folder / "tiny.yaml", ())
    generate(world, run, config)
    train(world, run, config)
    evaluate(world, run, config)
    return run.path


def again(path: Path, *settings: str) -> RunDir:
    run, config = open_run(World(None), path, None, settings)
    evaluate(World(None), run, config)
    return run


def columns(path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, x: found.update({name: x[()].tobytes()} if isinstance(x, h5py.Dataset) else {}))
    return found


def test_only_what_is_missing_is_computed(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = again(trained)
    assert "to be scored" not in capsys.readouterr().out
    before, files = columns(run.evaluation / "scores.h5"), set((run.evaluation / "scores").iterdir())
    more = "evaluation.corruptions={corrupted_mild: {amplitude: 0.2}, slight: {particles: 1, amplitude: 0.1}}"
    again(trained, "evaluation.unseen_gammas=[2.0, 3.0]", more)
    said = capsys.readouterr().out
    assert "to be scored, as there are no scores yet: slight, gamma_2\n" in said
    assert "the scores of normal, validation, calibration, corrupted_mild, soft, uniform, gamma_3 are kept" in said
    after = columns(run.evaluation / "scores.h5")
    shared = {name for name in before if not name.startswith(("corrupted/", "examples"))}
    assert {name: after[name] for name in shared} == {name: before[name] for name in shared}
    assert not any(name.startswith("corrupted/") for name in after)
    assert files < set((run.evaluation / "scores").iterdir()), "what was removed keeps its scores"
    monkeypatch.setattr(production, "sample_rows", lambda *_: pytest.fail("sampled again"))
    monkeypatch.setattr(Mahalanobis, "fit", lambda *_: pytest.fail("scored again"))
    again(
        trained,
        "evaluation.unseen_gammas=[3.0]",
        "evaluation.corruptions={corrupted: {amplitude: 2.83}, corrupted_mild: {amplitude: 0.2}}",
    )
    assert columns(run.evaluation / "scores.h5") == before


def test_a_changed_score_is_computed_anew_with_the_reason(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Mahalanobis, "version", 2)
    monkeypatch.setattr(Mahalanobis, "__call__", lambda *_: np.full(len(_[1].gamma), 7.0))
    run = again(trained)
    assert "to be scored, as something has changed since (scores): normal, validation" in capsys.readouterr().out
    assert set(np.frombuffer(columns(run.evaluation / "scores.h5")["normal/mahalanobis"], "f4")) == {7.0}


def forbid_scores(monkeypatch: pytest.MonkeyPatch, *but: str) -> None:
    for name, kind in score_classes().items():
        if name not in but:
            monkeypatch.setattr(kind, "__call__", lambda *_: pytest.fail("scored again"))


def test_a_score_that_is_added_leaves_the_others(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives the same columns as all at once; without it again, nothing is computed."""
    before = columns(again(trained).evaluation / "scores.h5")
    fresh = Path(shutil.copytree(trained, tmp_path / "fresh"))
    shutil.rmtree(fresh / "evaluation")
    extra = "evaluation.extra_scores=[gradient_norms,likelihood_regret]"
    at_once = columns(again(fresh, extra).evaluation / "scores.h5")
    with monkeypatch.context() as patch:
        forbid_scores(patch, "gradient_norms", "likelihood_regret")
        run = again(trained, extra)
    assert columns(run.evaluation / "scores.h5") == at_once and before.items() <= at_once.items()
    forbid_scores(monkeypatch)
    again(trained, "evaluation.extra_scores=[likelihood_regret]")
    assert columns(again(trained, "evaluation.extra_scores=[]").evaluation / "scores.h5") == before


def test_summary_of_a_run(trained: Path) -> None:
    run = again(trained)
    summary = json.loads((run.evaluation / "summary.json").read_text())
    assert summary["default_score"] == "combined"
    for suite in summary["suites"].values():
        assert suite["ceiling_ci"][0] <= suite["ceiling"] <= suite["ceiling_ci"][1]
        classes = {name: kind for name, kind in score_classes().items() if not kind.optional and not kind.needs_claim}
        both = {f"{name}_two_sided" for name, kind in classes.items() if kind.two_sided}
        combined = {"combined", "combined_tippett", "combined_cauchy"}
        assert set(suite["scores"]) == {*classes, *both, *combined}
        for score in suite["scores"].values():
            assert set(score) == {"auroc", "auroc_ci", "average_precision", "fpr_at_95_tpr"}
    config = open_run(World(None), trained, None, ())[1]
    network, _ = load_network(World(None), run, config)
    with Dataset(run.dataset) as data, torch.no_grad():
        x, condition = network.inputs(read_rows(data, Splits.of(data.layout, config.training).test[:]))
        off = (network.module.decode(network.module.encode(x, condition)[0], condition) - x).square().sum(dim=-1)
    assert summary["accuracy"]["quantity"] == "position error"
    assert summary["accuracy"]["network"] == pytest.approx(5 * 2**0.5 * float(off.mean()) ** 0.5, rel=1e-4)


def test_normal_is_the_test_split_of_the_trained_gammas(trained: Path) -> None:
    config = RunConfig.model_validate(json.loads(json.dumps(open_run(World(None), trained, None, ())[1].model_dump())))
    with Dataset(trained / "data/dataset.h5") as data:
        both = RunData.of(data, config, (0.1, 1.0))
        one = RunData.of(data, config, (1.0, 5.0))
        assert set(both.test.read(range(len(both.test))).gamma) == {0.1, 1.0}
        assert set(one.test.read(range(len(one.test))).gamma) == {1.0}
        assert one.gammas == [1.0] and 2 * len(one.test) == len(both.test)
        expected = Splits.of(data.layout, config.training)
        for name in ("training", "validation", "calibration", "test"):
            rows = getattr(expected, name)
            assert getattr(both, name).rows[:].tolist() == rows[0 : len(rows)].tolist(), name
        splits = [
            set(source.rows[:].tolist()) for source in (both.training, both.validation, both.calibration, both.test)
        ]
        assert sum(map(len, splits)) == len(set.union(*splits)) == 120
        source = Source(data, np.array([3, 61]))
        stored = data.read(range(120))
        expected = [[int(stored["ensemble"][row]), int(stored["chain"][row]), 0] for row in (3, 61)]
        assert source.origins(range(2)).tolist() == expected
        with pytest.raises(UserError, match="none of the γ that the model was trained on: 7"):
            RunData.of(data, config, (7.0,))


def test_free_energies_come_from_the_validation_split(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heights = []
    original = session.fit_mixture
    monkeypatch.setattr(session, "fit_mixture", lambda height, *a: (heights.append(height), original(height, *a))[1])
    run = again(trained)
    config = open_run(World(None), trained, None, ())[1]
    with Dataset(run.dataset) as data:
        validation = RunData.of(data, config, (0.1, 1.0)).validation
        expected = validation.read(range(len(validation))).positions[..., 1].sum(axis=1, dtype=float)
    np.testing.assert_allclose(np.concatenate(heights), expected)


def test_the_report_says_when_it_is_older_than_the_weights(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = again(trained)
    config = open_run(World(None), trained, None, ())[1]
    report(World(None), run, config)
    assert "older" not in capsys.readouterr().out and 'role="alert"' not in run.report.read_text()
    longer = changed(config, {"training.epochs": 4, "training.schedule": "constant"})
    weights = run.model / "best.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(before + b" ")
    report(World(None), run, longer)
    assert "the scores are older than the weights" in capsys.readouterr().out
    assert 'role="alert"' in run.report.read_text()
    weights.write_bytes(before)


def test_a_file_of_ones_own_is_a_suite(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Dataset(trained / "data/dataset.h5") as data:
        positions = data.read(range(20))["positions"]
    np.savez(tmp_path / "mine.npz", positions=positions)
    np.savez(tmp_path / "one.npz", positions=positions[:1])
    run = again(trained, f"evaluation.files={{mine: {tmp_path / 'mine.npz'}, one: {tmp_path / 'one.npz'}}}")

    def refused(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    suites = json.loads((run.evaluation / "summary.json").read_text(), parse_constant=refused)["suites"]
    assert suites["mine"]["configurations"] == 20 and suites["one"]["scores"]["rmse"]["auroc_ci"] == [0, 1]
    assert not list((run.evaluation / "suites").glob("mine*")), "a copy of the file stays"
    np.savez(tmp_path / "mine.npz", positions=positions[:, :5])
    with pytest.raises(UserError, match=r"mine\.npz, row 0: it has 5 particles, system\.n_particles is 8"):
        again(trained, f"evaluation.files={{mine: {tmp_path / 'mine.npz'}}}")
    again(trained, "evaluation.files={}")


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no /dev/shm")
def test_a_run_in_memory_takes_files_of_ones_own(trained: Path, tmp_path: Path) -> None:
    with Dataset(trained / "data/dataset.h5") as data:
        np.save(tmp_path / "mine.npy", data.read(range(20))["positions"])
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        shutil.copytree(trained, Path(folder) / "run")
        run = again(Path(folder) / "run", f"evaluation.files={{mine: {tmp_path / 'mine.npy'}}}")
        assert "mine" in json.loads((run.evaluation / "summary.json").read_text())["suites"]


def test_what_killed_commands_left_is_removed(trained: Path) -> None:
    """Except for what `score` may still be writing."""
    evaluation = trained / "evaluation"
    names = ("scores.h5", "suites/mine.h5", "scores/test.h5", "learned/training.h5", "conditional/model.h5")
    left = [evaluation / f"{name}.0123abcd.partial" for name in names]
    young = evaluation / "scores/test.h5.4567cdef.partial"
    for path in (*left, young):
        path.touch()
    for path in left[2:]:
        os.utime(path, (time.time() - 3700,) * 2)
    again(trained)
    assert list(evaluation.glob("**/*.partial*")) == [young]
    young.unlink()
