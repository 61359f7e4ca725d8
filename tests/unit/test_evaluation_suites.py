"""What suites are, and that only what is missing is computed."""

import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from lj_vae_hpc.config.load import changed
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation import session
from lj_vae_hpc.evaluation.observables import observables
from lj_vae_hpc.evaluation.scores.mahalanobis import Mahalanobis
from lj_vae_hpc.evaluation.scores.registry import score_classes
from lj_vae_hpc.evaluation.sources import Given, RunData, Source
from lj_vae_hpc.evaluation.suites.registry import suites_of
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir, open_run
from lj_vae_hpc.sampling import production
from lj_vae_hpc.stages.evaluate import evaluate
from lj_vae_hpc.stages.generate import generate
from lj_vae_hpc.stages.report import report
from lj_vae_hpc.stages.train import train
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.splits import Splits
from tests.conftest import TINY

SIDE = 10.0


def random_positions(n: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, SIDE, (n, 30, 2)).astype(np.float32)


def test_observables_of_two_configurations_by_hand() -> None:
    positions = np.array([[[0, 0], [3, 4], [3, 5.5]], [[0, 1], [0, 1], [10.1, -0.5]]], np.float32)
    config = RunConfig.model_validate({"system": {"n_particles": 3}, "evaluation": {"corruptions": {}}})
    found = observables(positions, config.system)
    np.testing.assert_allclose(found["height_sum"], [9.5, 1.5])
    np.testing.assert_allclose(found["smallest_distance"], [1.5, 0.0])
    np.testing.assert_array_equal(found["outside"], [0, 1])
    assert found["pair_energy"][0] == pytest.approx(4 * (1.5**-12 - 1.5**-6)) and found["pair_energy"][1] == np.inf
    random = random_positions(3)
    expected = [pdist(one.astype(float)).min() for one in random]
    np.testing.assert_allclose(observables(random, RunConfig().system)["smallest_distance"], expected)


def test_observables_of_many_particles_need_little_memory() -> None:
    from lj_vae_hpc.evaluation.observables import smallest_distance

    positions = np.random.default_rng(0).uniform(0, 400, (1, 100_000, 2)).astype(np.float32)
    assert 0 < smallest_distance(positions)[0] < 0.05  # all pairs would be 40 GB


def test_default_suites_and_what_each_samples() -> None:
    config = RunConfig()
    suites = {suite.name: suite for suite in suites_of(config, config.sampling.gamma_values)[0]}
    unseen, fluids = {"gamma_3", "gamma_0.55", "gamma_0.25", "gamma_1.3"}, {"soft", "wca", "hot"}
    claims = {f"claimed_{c.claimed:g}_true_{c.true:g}" for c in config.evaluation.claims}
    moved = set(config.evaluation.corruptions)
    assert {"corrupted", "corrupted_mild", "replaced"} < moved and len(moved) == 12 and len(claims) == 5
    assert set(suites) == unseen | fluids | claims | moved | {"uniform", "early", "two_sizes"}
    ensembles = {name: list(suite.ensembles) for name, suite in suites.items() if suite.ensembles}
    assert set(ensembles) == set(suites) - moved - {"two_sizes"}
    assert len({e.key for own in ensembles.values() for e in own}) == 12  # claims have those of unseen gammas
    assert ensembles["gamma_3"][0].gamma == 3.0 and ensembles["gamma_3"][0].system == config.system
    assert ensembles["claimed_0.4_true_0.55"] == ensembles["gamma_0.55"]
    soft, wca, hot = (ensembles[name][0] for name in ("soft", "wca", "hot"))
    assert soft.system.potential == "soft" and soft.system.cutoff is None and soft.gamma == 0.5
    assert wca.system.potential == "wca" and wca.system.cutoff == pytest.approx(2 ** (1 / 6))
    assert hot.system.temperature == 1.5 and hot.system.cutoff == 3.0
    assert ensembles["uniform"][0].sampling.sweeps == 0
    early = ensembles["early"]
    assert [e.gamma for e in early] == [0.1, 0.4, 0.7, 1.0]
    assert {(e.sampling.protocol, e.sampling.sweeps) for e in early} == {("reference", 100)}
    assert suites["corrupted"].paired and suites["two_sizes"].paired and not suites["soft"].paired
    assert all(suite.claims == (name in claims) for name, suite in suites.items())


class AtGamma(Given):
    """Configurations of γ = 1."""

    def read(self, part: range) -> Configurations:
        return super().read(part)._replace(gamma=np.ones(len(part)))


def test_two_sizes_keep_their_distances() -> None:
    # Particles of diameters 0.8 and 1.2 under strong gravity: the closest pairs are those of small ones.
    config = RunConfig.model_validate({"system": {"box_side": SIDE}})
    suite = next(suite for suite in suites_of(config, (0.1,))[0] if suite.name == "two_sizes")
    positions = random_positions(40)
    positions = positions[np.argsort([pdist(one).min() for one in positions])]
    source = AtGamma(positions)
    found = suite.read(source, range(40)).positions
    np.testing.assert_array_equal(suite.read(source, range(7, 9)).positions, found[7:9])
    assert found.min() >= 0 and found.max() <= SIDE and (found != positions).any(axis=2).all()
    small, large = found[:, ::2], found[:, 1::2]
    closest = [np.array([pdist(one).min() for one in some]) for some in (small, large)]
    assert np.median(closest[0]) < 0.95 < 1.1 < np.median(closest[1])
    one_size = RunConfig.model_validate({"evaluation": {"size_ratio": 1.0}})
    assert "two_sizes" in suites_of(one_size, (0.1,))[1]


def test_a_claim_is_told_from_the_configurations_of_the_claimed_gamma() -> None:
    suite = next(suite for suite in suites_of(RunConfig(), (0.1, 0.4))[0] if suite.name == "claimed_0.4_true_0.55")
    given = suite.read(Given(random_positions(3)), range(3))
    np.testing.assert_array_equal(given.gamma, np.full(3, 0.4))
    normal = {"gamma": np.array([0.1, 0.4, 0.4]), "rmse": np.array([1.0, 2.0, 3.0]), "of_normal/x": np.zeros(9)}
    np.testing.assert_array_equal(suite.normal(normal)["rmse"], [2.0, 3.0])
    assert "claimed_0.7_true_0.55" in suites_of(RunConfig(), (0.1, 0.4))[1]


def test_a_file_of_ones_own_is_a_suite(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Dataset(trained / "data/dataset.h5") as data:
        positions = data.read(range(20))["positions"]
    np.savez(tmp_path / "mine.npz", positions=positions)
    run = again(trained, f"evaluation.files={{mine: {tmp_path / 'mine.npz'}}}")
    assert json.loads((run.evaluation / "summary.json").read_text())["suites"]["mine"]["configurations"] == 20
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


def test_identity_is_by_value() -> None:
    config = RunConfig()

    def identities(**evaluation: object) -> dict[str, str]:
        other = changed(config, {f"evaluation.{key}": value for key, value in evaluation.items()})
        return {suite.name: json.dumps(suite.identity) for suite in suites_of(other, (0.1,))[0]}

    before = identities()
    after = identities(unseen_gammas=(9.0, 1.3, 3.0), corruptions={"x": {"amplitude": 0.2}})
    assert after["gamma_3"] == before["gamma_3"] and after["gamma_1.3"] == before["gamma_1.3"]
    assert after["x"] == before["corrupted_mild"] and after["soft"] == before["soft"]
    assert len(set(before.values())) == len(before)
    fewer = identities(configurations=7)
    assert all(fewer[name] != before[name] for name in before)


def test_a_trained_gamma_is_no_anomaly() -> None:
    suites, left_out = suites_of(RunConfig(), (0.1, 0.25, 3.0))
    assert {name for name in left_out if "claimed" not in name} == {"gamma_0.25", "gamma_3"}
    assert "trained on γ = 3" in left_out["gamma_3"]
    assert not {suite.name for suite in suites} & set(left_out)
    soft = RunConfig.model_validate({"system": {"potential": "soft", "cutoff": None}})
    assert "soft" in suites_of(soft, (0.5,))[1] and "soft" not in suites_of(soft, (0.4,))[1]


def test_a_built_in_suite_that_moves_too_many_particles_is_left_out() -> None:
    suites, left_out = suites_of(RunConfig.model_validate({"system": {"n_particles": 5}}), (0.1,))
    assert left_out["corrupted_8_0.2"] == "there are only 5 particles"
    assert "corrupted_4_0.1" in {suite.name for suite in suites}


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
    again(trained)
    assert "to be scored, as something has changed since (scores): normal, validation" in capsys.readouterr().out


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
