"""One training that is killed ten times, each time at another place, ends in the weights of one that was not."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lj_vae_hpc.training import checkpoint
from tests.conftest import PATIENCE, ROOT, children, kill

Run = Callable[..., "subprocess.CompletedProcess[str]"]

STEPS = 60  # of an epoch; a checkpoint is written after 20, 40 and 60 of them, and one after validation
SETTINGS = (
    "sampling.configurations=200", "training.batch_size=4", "training.validation_fraction=0.3",
    "training.test_fraction=0.1", "training.epochs=20", "training.checkpoint_minutes=0.00001",
)  # fmt: skip
PLACES = ("starting", "step", "checkpoint", "validation", "best") * 2


def position(run: Path) -> tuple[int, int]:
    """Epochs, and steps of the next one, that the checkpoint holds; it must be readable whenever it exists."""
    path = run / "model/checkpoint.safetensors"
    if not path.exists():
        return 0, 0
    tensors, facts = checkpoint.load(path)
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    return facts["state"]["epoch"], facts["state"]["step"]


def is_at(place: str, run: Path, before: tuple[int, int]) -> bool:
    """Whether the files tell that rank 0 is there, beyond where the last run came."""
    if place in ("checkpoint", "best"):
        return (run / f"model/{place}.safetensors.partial").exists() and position(run) > before
    now = position(run)
    return now > before and (now[1] == STEPS if place == "validation" else 0 < now[1] < STEPS)


def wait_for(place: str, chance: random.Random, run: Path, process: "subprocess.Popen[bytes]") -> None:
    """Until rank 0 is there; it is halted for a moment to make sure.

    A write lasts about a millisecond; where all of two epochs were missed, any place will do.
    """
    before, share, looks = position(run), chance.random(), 0
    if place == "starting":
        time.sleep(5 * share)
        return
    while process.poll() is None:
        if is_at(place, run, before):
            if place in ("step", "validation"):
                time.sleep(0.02 * share)
            rank = children(process.pid)[0]
            os.kill(rank, signal.SIGSTOP)
            if is_at(place, run, before):
                return
            os.kill(rank, signal.SIGCONT)
        looks += 1
        if looks % 200 == 0 and position(run)[0] > before[0] + 2:
            return
        time.sleep(0.0002)


@pytest.mark.timeout(600)
def test_a_training_killed_ten_times(lj_vae: Run, tiny: Path, tmp_path: Path) -> None:
    chance, whole, run = random.Random(1), tmp_path / "whole", tmp_path / "run"
    settings = [word for setting in SETTINGS for word in ("-s", setting)]
    assert lj_vae("generate", "-c", tiny, "-o", whole, *settings).returncode == 0
    shutil.copytree(whole, run)
    assert lj_vae("train", "-o", whole, ranks=2).returncode == 0
    command = ["mpirun", "--oversubscribe", *PATIENCE, "-n", "2", ROOT / "bin/lj-vae", "train", "-o", run]
    kept = (0, 0)
    for place in PLACES:
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(place, chance, run, process)
        assert process.poll() is None, f"ended before it was killed: {(tmp_path / 'log').read_text()}"
        kill(chance, process)
        assert position(run) >= kept, "training went back"
        kept = position(run)
        assert len(list(run.rglob("*.partial"))) <= 1
    done = lj_vae("train", "-o", run, ranks=2)
    assert done.returncode == 0 and f"continuing after epoch {kept[0]} step {kept[1]}" in done.stdout
    assert not list(run.rglob("*.partial"))
    for name in ("model/best.safetensors", "model/checkpoint.safetensors", "metrics.jsonl"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
