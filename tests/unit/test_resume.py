"""A run that stops at any step continues to the same bytes."""

from pathlib import Path

import pytest

from lj_vae_hpc.errors import Stopped
from lj_vae_hpc.parallel import World
from lj_vae_hpc.stages.generate import generate
from lj_vae_hpc.stages.rundir import RunDir, open_run
from lj_vae_hpc.stages.train import train
from lj_vae_hpc.training import checkpoint


def make(folder: Path, tiny: Path, world: World) -> tuple[RunDir, object]:
    run, config = open_run(world, folder, tiny, ())
    generate(world, run, config)
    return run, config


def test_training_stopped_within_an_epoch(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lj_vae_hpc.training.loop.STEPS_BETWEEN_CHECKS", 2)
    world = World(None)
    whole, config = make(tmp_path / "whole", tiny, world)
    train(world, whole, config)
    stopped, _ = make(tmp_path / "stopped", tiny, world)
    answers = iter([False, True, False, True] + [False] * 99)
    monkeypatch.setattr(world, "stop_requested", lambda: next(answers))
    for expected in ((0, 4), (1, 4)):  # after 2 and 4 of 5 steps of an epoch, twice
        with pytest.raises(Stopped):
            train(world, stopped, config)
        _, facts = checkpoint.load(stopped.model / "checkpoint.safetensors")
        assert (facts["state"]["epoch"], facts["state"]["step"]) == expected
        assert facts["state"]["sums"][3] == 16 * expected[1]
    train(world, stopped, config)
    for name in ("model/checkpoint.safetensors", "model/best.safetensors", "metrics.jsonl"):
        assert (stopped.path / name).read_bytes() == (whole.path / name).read_bytes(), name


def test_sampling_stopped_between_segments(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(None)
    whole, config = make(tmp_path / "whole", tiny, world)
    run = RunDir(tmp_path / "stopped")
    monkeypatch.setattr(world, "stop_requested", lambda: True)
    for segments in (1, 2):
        with pytest.raises(Stopped, match="of 120 configurations"):
            generate(world, run, config)
        assert len(list((run.data / "segments").glob("*.h5"))) == segments
    generate(world, run, config)
    for segment in (whole.data / "segments").iterdir():
        assert segment.read_bytes() == (run.data / "segments" / segment.name).read_bytes()
