"""A run that stops at any step continues to the same bytes."""

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import h5py
import pytest

from lj_vae_hpc.config.load import changed
from lj_vae_hpc.errors import Stopped, UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir, open_run
from lj_vae_hpc.sampling import pilots
from lj_vae_hpc.sampling.ensemble import Ensemble
from lj_vae_hpc.sampling.equilibration import Pilot
from lj_vae_hpc.sampling.pilot import PilotState, ShouldStop
from lj_vae_hpc.stages.evaluate import evaluate
from lj_vae_hpc.stages.generate import generate
from lj_vae_hpc.stages.train import train
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training import checkpoint
from lj_vae_hpc.training.setup import data_facts


def make(folder: Path, tiny: Path, world: World) -> tuple[RunDir, object]:
    run, config = open_run(world, folder, tiny, ())
    generate(world, run, config)
    return run, config


@pytest.fixture(autouse=True)
def undivided_pilots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pilots ask only when they are done, however slow the machine is."""
    monkeypatch.setattr(pilots, "SECONDS_BETWEEN_QUESTIONS", float("inf"))


def test_training_stopped_within_an_epoch(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lj_vae_hpc.training.loop.STEPS_BETWEEN_CHECKS", 2)
    tiny.write_text(tiny.read_text().replace("batch_size: 16", "batch_size: 12"))
    world = World(None)
    whole, config = make(tmp_path / "whole", tiny, world)
    train(world, whole, config)
    stopped, _ = make(tmp_path / "stopped", tiny, world)
    # Asked after 2 and 4 of the 5 steps of an epoch, and after the first of the two epochs.
    answers = iter([False, True, True, False, True] + [False] * 99)
    monkeypatch.setattr(world, "should_stop", lambda: next(answers))
    for expected in ((0, 4), (1, 0), (1, 4)):
        with pytest.raises(Stopped):
            train(world, stopped, config)
        _, facts = checkpoint.load(stopped.model / "checkpoint.safetensors")
        assert (facts["state"]["epoch"], facts["state"]["step"]) == expected
        assert facts["state"]["sums"][3] == 12 * expected[1]
    train(world, stopped, config)
    for name in ("model/checkpoint.safetensors", "model/best.safetensors", "metrics.jsonl"):
        assert (stopped.path / name).read_bytes() == (whole.path / name).read_bytes(), name


def test_sampling_stopped_between_segments(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(None)
    whole, config = make(tmp_path / "whole", tiny, world)
    run = RunDir(tmp_path / "stopped")
    monkeypatch.setattr(world, "should_stop", lambda: True)
    for count in (1, 2):
        with pytest.raises(Stopped, match="pilots so far"):
            generate(world, run, config)
        kept = {f: f.stat().st_mtime_ns for f in run.ensembles.glob("*/pilot.h5")}
        assert len(kept) == count
    for segments in (1, 2, 3):
        with pytest.raises(Stopped, match="of 120 configurations"):
            generate(world, run, config)
        assert len(list(run.ensembles.glob("*/*-*.h5"))) == segments
        assert {f: f.stat().st_mtime_ns for f in kept} == kept  # no pilot was run again
        assert not run.dataset.exists()
    generate(world, run, config)
    assert contents(run.data) == contents(whole.data)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_kill_while_the_data_set_is_made(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every step of it: the old file stays until the new one is complete, and the same command makes that."""
    world = World(None)
    whole, config = make(tmp_path / "whole", tiny, world)
    run = RunDir(tmp_path / "killed")
    few = config.sampling.model_copy(update={"configurations": 50})
    generate(world, run, config.model_copy(update={"sampling": few}))
    before = run.dataset.read_bytes()
    for name in ("writer._make_room", "writer.create", "segments.reserve", "writer._copy", "writer.finish"):
        with monkeypatch.context() as patch:
            patch.setattr(f"lj_vae_hpc.store.{name}", killed)
            with pytest.raises(KeyboardInterrupt):
                generate(world, run, config)
        assert run.dataset.read_bytes() == before
    generate(world, run, config)
    assert run.dataset.read_bytes() == whole.dataset.read_bytes()
    assert not list(run.data.rglob("*.partial*"))


def killed(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("ends", "kept", "budget"), [(Stopped, 7, 524_288), (RuntimeError, 6, 524_288), (Stopped, 7, 600_000)]
)
def test_a_pilot_that_is_left_goes_on(
    ends: type[BaseException],
    kept: int,
    budget: int,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopped it is kept as it is, killed as it was last kept; the budget makes no difference."""
    world = World(None)
    whole, config = make(tmp_path / "whole", tiny, world)
    run, begun = RunDir(tmp_path / "left"), []
    monkeypatch.setattr(pilots, "SECONDS_BETWEEN_QUESTIONS", 0.0)
    monkeypatch.setattr(pilots, "SECONDS_LOST_AT_MOST", 60.0 if ends is Stopped else 0.0)
    run_pilot = pilots.run_pilot

    def counted(
        ensemble: Ensemble, state: PilotState | None, should_stop: ShouldStop, *team: World
    ) -> tuple[Pilot, PilotState] | None:
        begun.append((ensemble.gamma, state and len(state.records)))
        return run_pilot(ensemble, state, should_stop, *team)

    monkeypatch.setattr(pilots, "run_pilot", counted)
    asked = iter([False] * 45 + [True])  # 40 times while the step is tuned, then after every record

    def should_stop() -> bool:
        stop = next(asked, False)
        if stop and ends is RuntimeError:
            raise RuntimeError("killed")
        return stop

    monkeypatch.setattr(world, "should_stop", should_stop)
    with pytest.raises(ends, match=r"pilots so far|killed"):
        generate(world, run, config)
    assert len(list(run.ensembles.glob("*/pilot.state.h5"))) == 1 and not list(run.ensembles.glob("*/pilot.h5"))
    sampling = config.sampling.model_copy(update={"max_pilot_sweeps": budget})
    generate(world, run, config.model_copy(update={"sampling": sampling}))
    assert begun == [(0.1, None), (0.1, kept), (1.0, None)]
    assert contents(run.data) == contents(whole.data)


def test_a_larger_budget_changes_no_ensemble_that_is_begun(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lj_vae_hpc.sampling.equilibration.RHAT_MAX", 0.0)  # never satisfied
    world = World(None)
    runs = [tmp_path / "whole", tmp_path / "stopped"]
    for path, stops in zip(runs, (0, 1), strict=True):
        for budget in (2048, 4096)[: stops + 1]:
            settings = ("sampling.allow_unconverged=true", f"sampling.max_pilot_sweeps={budget}")
            run, config = open_run(world, path, tiny, settings)
            # After two pilots and three segments, so that both ensembles are begun.
            asked = iter([False] * 4 + [bool(stops) and budget == 2048])
            monkeypatch.setattr(world, "should_stop", lambda asked=asked: next(asked, False))
            with pytest.raises(Stopped) if stops and budget == 2048 else nullcontext():
                generate(world, run, config)
    whole, stopped = (contents(path / "data") for path in runs)
    assert whole == stopped
    with h5py.File(runs[1] / "data/dataset.h5") as file:
        assert (file["ensembles/pilot/length"][:] == 2048).all()


def test_without_a_proof_the_budget_is_part_of_what_the_data_are(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def facts(name: str, budget: int) -> dict[str, Any]:
        settings = ("sampling.allow_unconverged=true", f"sampling.max_pilot_sweeps={budget}")
        run, config = open_run(World(None), tmp_path / name, tiny, settings)
        generate(World(None), run, config)
        with Dataset(run.dataset) as data:
            return data_facts(data)

    assert facts("a", 2048) == facts("b", 4096) and "pilot" not in facts("a", 2048)["ensembles"][0]
    monkeypatch.setattr("lj_vae_hpc.sampling.equilibration.RHAT_MAX", 0.0)  # never satisfied
    assert facts("c", 2048) != facts("d", 4096) and facts("c", 2048)["ensembles"][0].endswith(", pilot of 2048 sweeps")


def test_a_larger_budget_continues_the_pilot(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(None)
    settings = ("sampling.gammas=[0.1]", "sampling.max_pilot_sweeps=2048")
    monkeypatch.setattr("lj_vae_hpc.sampling.equilibration.RHAT_MAX", 0.0)  # never satisfied
    run, config = open_run(world, tmp_path / "run", tiny, settings)
    with pytest.raises(UserError, match=r"equilibrium was not proved for gamma 0\.1"):
        generate(world, run, config)
    monkeypatch.undo()
    monkeypatch.setattr("lj_vae_hpc.sampling.pilot.tuned_step", None)  # would fail
    run, config = open_run(world, tmp_path / "run", None, ("sampling.max_pilot_sweeps=524288",))
    generate(world, run, config)
    assert run.dataset.exists() and not list(run.ensembles.glob("*/pilot.state.h5"))


def test_a_segment_made_again_needs_no_pilot(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(None)
    run, config = make(tmp_path / "run", tiny, world)
    before = contents(run.data)
    min(run.ensembles.glob("*/*-*.h5")).unlink()
    run.dataset.unlink()
    monkeypatch.setattr(pilots, "run_pilot", None)
    generate(world, run, config)
    assert contents(run.data) == before


def scores(run: RunDir) -> dict[str, bytes]:
    """Every column of every suite."""
    columns: dict[str, bytes] = {}
    with h5py.File(run.evaluation / "scores.h5") as file:
        file.visititems(lambda name, x: columns.update({name: x[()].tobytes()} if isinstance(x, h5py.Dataset) else {}))
    return columns


def test_evaluation_stopped_after_each_suite(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(None)
    run, config = make(tmp_path / "run", tiny, world)
    train(world, run, config)
    evaluate(world, run, config)
    whole, summary = scores(run), (run.evaluation / "summary.json").read_bytes()
    shutil.rmtree(run.evaluation)
    monkeypatch.setattr(world, "should_stop", lambda: True)
    messages = []
    while not (run.evaluation / "summary.json").exists():
        try:
            evaluate(world, run, config)
        except Stopped as stopped:
            messages.append(str(stopped))
    assert any("pilots so far" in message for message in messages)
    assert any("configurations are kept" in message for message in messages)
    scored = [message for message in messages if "suites are scored" in message]
    assert [message[:6] for message in scored] == [f"1 of {k}" for k in (8, 7, 6, 5, 4, 3, 2)]
    assert scores(run) == whole and (run.evaluation / "summary.json").read_bytes() == summary


def test_scores_of_other_weights_are_not_kept(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(None)
    run, config = make(tmp_path / "run", tiny, world)
    config = changed(config, {"training.schedule": "constant"})
    train(world, run, config)
    evaluate(world, run, config)
    before = set((run.evaluation / "scores").iterdir())
    longer = changed(config, {"training.epochs": 3})
    train(world, run, longer)
    evaluate(world, run, longer)
    after = set((run.evaluation / "scores").iterdir())
    assert len(before) == len(after) == 8 and not before & after


def test_a_deadline_stops_before_the_piece_that_would_pass_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("lj_vae_hpc.parallel.stop.time.monotonic", lambda: now)
    world = World(None)
    world.stop.limit_hours(1.0)  # and a minute is kept free
    for now, stop in ((1200.0, False), (2300.0, False), (3000.0, True), (3010.0, False), (3260.0, False),
                      (3405.0, True), (3539.0, True)):  # fmt: skip
        assert world.should_stop() == stop, now
    world.stop.limit_hours(2.0)
    assert not world.should_stop()
    now = 0.0
    world = World(None)
    world.stop.limit_hours(1.0)
    now = 3000.0
    world.stop.start_piece()  # whatever took so long will not come again
    now = 3200.0
    assert not world.should_stop()
