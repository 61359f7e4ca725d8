"""Studies: geometry against exact cases, and every study on a small trained run."""

import csv
import json
from contextlib import suppress
from itertools import count, pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lj_vae_hpc.config.load import load
from lj_vae_hpc.errors import Stopped, UserError
from lj_vae_hpc.evaluation.sources import RunData
from lj_vae_hpc.evaluation.studies.completion import _masks, complete
from lj_vae_hpc.evaluation.studies.reconstruction import (
    aligned_error,
    classical_scaling,
    resting_error,
    trilaterate,
    tumble,
)  # fmt: skip
from lj_vae_hpc.evaluation.studies.registry import chosen_studies, study_classes
from lj_vae_hpc.evaluation.study import plain
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.stages.evaluate import evaluate
from lj_vae_hpc.stages.report import report
from lj_vae_hpc.stages.train import train
from lj_vae_hpc.store.reader import Dataset
from tests.conftest import sampled_run


def points(n: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 10, (n, 2))


def turned(x: np.ndarray, angle: float, mirror: bool = False) -> np.ndarray:
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return (x * [-1.0 if mirror else 1.0, 1.0]) @ matrix + [3.0, -2.0]


def test_points_come_back_from_their_distances() -> None:
    x = points()
    distances = np.linalg.norm(x[:, None] - x, axis=-1)
    assert aligned_error(x, classical_scaling(distances)) < 1e-6
    corners = np.array([[0.0, 0.0], [10.0, 0.0]])
    to_corners = np.linalg.norm(x[:, None] - corners, axis=-1)
    np.testing.assert_allclose(trilaterate(to_corners[None], 10.0)[0], x, atol=1e-6)


def test_alignment_allows_rigid_motions_and_nothing_else() -> None:
    x = points()
    for mirror in (False, True):
        assert aligned_error(x, turned(x, 1.1, mirror)) < 1e-9
    assert aligned_error(x, 1.1 * x) == pytest.approx(0.1 * np.sqrt(((x - x.mean(axis=0)) ** 2).sum(axis=1).mean()))


@pytest.mark.parametrize("mirror", [False, True])
def test_the_tumbler_lays_a_low_heap_on_its_floor(mirror: bool) -> None:
    # A flat heap: the side nearest to its centre of mass is the floor.
    x = np.array([[0.0, 0.0], [1, 0], [2, 0], [3, 0], [4, 0], [5, 0], [1.4, 0.9], [2.6, 0.8], [3.1, 1.0], [2.0, 1.7]])
    laid = tumble(turned(x, 2.0, mirror))
    assert resting_error(x, laid) < 1e-9
    # A tall one falls over, which is the method's known flaw.
    tall = x[:, ::-1] * [1.0, 3.0]
    assert resting_error(tall, tumble(tall)) > 1.0
    assert tumble(np.stack([np.arange(5.0), np.zeros(5)], axis=1)).shape == (5, 2)


def test_resting_points_may_be_shifted_and_mirrored_but_not_turned() -> None:
    x = points()
    x[:, 1] -= x[:, 1].min()
    assert resting_error(x, x * [-1.0, 1.0] + [4.0, 0.0]) < 1e-9
    assert resting_error(x, turned(x, 0.5)) > 0.5


def test_unknown_distances_are_completed_exactly() -> None:
    x, random = points(30), np.random.default_rng(1)
    masks = _masks(1, 30, random)
    assert {"block_at_0", "block_at_8", "random_0.3", "rows_3", "all"} <= set(masks)
    for name in ("block_at_0", "block_at_8", "random_0.1", "random_0.3"):
        known = masks[name][0]
        assert (known == known.T).all() and not known.diagonal().any()
        assert aligned_error(x, complete(x, known)) < 1e-4, name
    hidden = ~masks["rows_3"][0].any(axis=1)
    assert hidden.sum() == 3
    assert aligned_error(x[~hidden], complete(x, masks["rows_3"][0])[~hidden]) < 1e-6
    assert (complete(x, masks["all"][0]) == 0).all()
    assert 1 - masks["random_0.3"].sum() / (30 * 29) == pytest.approx(0.3, abs=0.08)


def test_a_block_alone_is_not_enough() -> None:
    """What completes is the other particles: without them nothing is known of those in the block."""
    x = points(10)
    known = np.zeros((10, 10), bool)
    known[:5, :5] = ~np.eye(5, dtype=bool)
    assert aligned_error(x, complete(x, known)) > 1.0


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    path = sampled_run(
        tmp_path_factory.mktemp("studies") / "run", "sampling.gammas=[0.1, 1.0]", "sampling.configurations=300",
        "evaluation.unseen_gammas=[0.5]", "training.epochs=4",
        "evaluation.studies=[reconstruction, generation, completion, latent]",
    )  # fmt: skip
    run, config = RunDir(path), load(path / "config.yaml")
    train(World(None), run, config)
    evaluate(World(None), run, config)
    return path, json.loads((path / "evaluation/studies.json").read_text())


def test_every_study_has_results(results: tuple[Path, dict]) -> None:
    _, found = results
    assert list(found) == ["reconstruction", "generation", "completion", "latent"]
    assert not any("left_out" in study for study in found.values())
    errors = found["reconstruction"]["position_error"]
    assert set(errors) == {"classical_scaling", "tumbler", "tumbler_of_exact_distances", "decoder"}
    assert errors["classical_scaling"] < errors["decoder"] * 1.01, "rigid motions can only bring nearer"
    assert errors["tumbler_of_exact_distances"] >= 0
    assert 0 <= found["reconstruction"]["tumbler_failure_rate"]["exact"] <= 1
    generated = found["generation"]
    assert {"0.1", "1.0", "0.5"} <= set(generated)
    for gamma in ("0.1", "1.0", "0.5"):
        kinds = generated[gamma]
        assert set(kinds["aggregate"]) == {"0", "1", "10", "100"}
        assert kinds["aggregate"]["100"]["no_overlap"] > 0.8
        assert kinds["descended"]["0"]["energy"]["median"] <= kinds["aggregate"]["0"]["energy"]["median"]
        assert kinds["noise_floor"]["height_sum"]["ks_p"] > 1e-4
    masks = found["completion"]["masks"]
    assert masks["random_0.1"]["exact"] < 1e-3 and masks["random_0.1"]["vae"] < 2.5
    lost = found["completion"]["lost_particle"]
    assert lost["uniform"]["surprise"] == pytest.approx(np.log(25.0))
    assert lost["exact"]["surprise"] < lost["uniform"]["surprise"]
    bound = lost["exact"]["surprise"] - 4 * lost["exact"]["error"]
    assert lost["conditional_model"]["surprise"] > bound, "no model predicts better than the true density"
    latent = found["latent"]
    assert sum(latent["spectrum"]) == pytest.approx(1.0) and len(latent["kl"]) == 4
    assert abs(latent["order_parameter"]["correlations"]["height_sum"]) > 0.8
    assert len(latent["traversals"][0]) == 11 and len(latent["plane"]) == 25 and len(latent["zero"]) == 16


def test_only_missing_studies_are_run(results: tuple[Path, dict], capsys: pytest.CaptureFixture[str]) -> None:
    path, before = results
    run, config = RunDir(path), load(path / "config.yaml")
    evaluate(World(None), run, config)
    assert "studies of" not in capsys.readouterr().out
    study_classes()["latent"].version = 2
    try:
        evaluate(World(None), run, config)
    finally:
        study_classes()["latent"].version = 1
    assert (
        "studies of latent; -s evaluation.studies=[] skips them\nstudies: latent, 1 of 1\n" in capsys.readouterr().out
    )
    after = json.loads((path / "evaluation/studies.json").read_text())
    assert after["generation"] == before["generation"] and after["latent"]["facts"]["version"] == 2
    after["latent"]["facts"] = before["latent"]["facts"]
    assert after["latent"] == before["latent"]


def test_studies_that_are_complete_stay_when_a_stop_comes(
    results: tuple[Path, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = results
    run, config, world = RunDir(path), load(path / "config.yaml"), World(None)
    evaluate(world, run, config)
    file, kept = path / "evaluation/studies.json", []
    whole = file.read_bytes()
    file.unlink()
    for parts in count():
        calls = iter(range(parts))
        monkeypatch.setattr(world.stop, "due", lambda calls=calls: next(calls, None) is None)
        with suppress(Stopped):
            evaluate(world, run, config)
            break
        kept.append(set(json.loads(file.read_text())))
    assert file.read_bytes() == whole
    assert len(kept[-1]) > 1 and all(before <= after for before, after in pairwise(kept))


def test_studies_that_are_not_asked_for_stay_while_they_are_right(results: tuple[Path, dict]) -> None:
    path, _ = results
    run = RunDir(path)
    evaluate(World(None), run, load(path / "config.yaml"))
    before = json.loads((path / "evaluation/studies.json").read_text())
    evaluate(World(None), run, load(path / "config.yaml", ["evaluation.studies=[]"]))
    assert json.loads((path / "evaluation/studies.json").read_text()) == before
    # Another γ that was never trained is one more to generate: that study, and no other, is not right any more.
    evaluate(World(None), run, load(path / "config.yaml", ["evaluation.studies=[]", "evaluation.unseen_gammas=[0.3]"]))
    after = json.loads((path / "evaluation/studies.json").read_text())
    assert after == {name: found for name, found in before.items() if name != "generation"}


def test_what_a_network_cannot_do_is_left_out_with_the_reason(tmp_path: Path) -> None:
    path = sampled_run(
        tmp_path / "run", "representation.kind=occupancy_grid", "representation.cells=5", "model.linear_path=false",
        "model.decoder=mlp", "training.epochs=1", "evaluation.studies=[reconstruction, generation, completion, latent]",
    )  # fmt: skip
    run, config = RunDir(path), load(path / "config.yaml")
    train(World(None), run, config)
    evaluate(World(None), run, config)
    found = json.loads((path / "evaluation/studies.json").read_text())
    assert "no coordinates" in found["generation"]["left_out"]
    with Dataset(run.dataset) as data:
        own = RunData.of(data, config, (0.1, 1.0)).test.of(1.0)
        cells = own.read(range(len(own))).positions.astype(int).clip(0, 4)  # L = 5 in five cells
    grids = np.zeros((len(cells), 5, 5))
    np.add.at(grids, (np.arange(len(cells))[:, None], cells[..., 1], cells[..., 0]), 1)
    curves = found["reconstruction"]["two_point_correlation"]["1"]
    for k in (1, 2):
        each = [np.mean([grid[i, j] * grid[i, j + k] for i in range(5) for j in range(5 - k)]) for grid in grids]
        assert curves["monte_carlo"][k - 1] == pytest.approx(np.mean(each))
        assert curves["monte_carlo_error"][k - 1] == pytest.approx(np.std(each) / len(each) ** 0.5)
    report(World(None), run, config)
    with (run.report.parent / "figures/two_point_gamma_1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["x_sigma"]) for row in rows] == [1.0, 2.0]
    assert [float(row["reconstructed"]) for row in rows] == curves["reconstructed"] != curves["monte_carlo"]
    assert "left_out" in found["completion"] and "spectrum" in found["latent"]


def test_many_particles_are_too_many(results: tuple[Path, dict]) -> None:
    path, _ = results
    config = load(path / "config.yaml", ("system.n_particles=201", "system.box_side=30"))
    network = SimpleNamespace(module=SimpleNamespace(gives_positions=True), encoding=SimpleNamespace(matrix=True))
    context = SimpleNamespace(config=config, network=network)
    for name in ("reconstruction", "generation", "completion"):
        assert "at most 200 particles" in study_classes()[name]().objection(context), name


def test_an_unknown_study_is_refused() -> None:
    with pytest.raises(UserError, match=r"evaluation\.studies: there is no dreams; choose from completion, generation"):
        chosen_studies(("dreams",))


def test_results_become_plain() -> None:
    found = plain({"a": np.array([1.0, np.nan]), 2: (np.int64(3), {"b": np.inf}), "c": "text", "d": True})
    assert found == {"a": [1.0, None], "2": [3, {"b": None}], "c": "text", "d": True}
