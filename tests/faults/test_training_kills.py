"""One training that is killed again and again, each time at another place, and stopped by a signal and by a deadline,
ends in the weights of one that was not.
"""

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
from tests.conftest import KILLS, PATIENCE, ROOT, children, kill, sampled_run

Run = Callable[..., "subprocess.CompletedProcess[str]"]

STEPS = 40  # of an epoch; a checkpoint is written after 20 and 40 of them, and one after validation
SETTINGS = (
    "sampling.configurations=100", "training.batch_size=3", "training.validation_fraction=0.3",
    "training.test_fraction=0.1", "training.epochs=1000", "training.schedule=constant",
    "training.checkpoint_minutes=0.00001",
)  # fmt: skip
PLACES = ("starting", "step", "checkpoint", "validation", "best")


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


def start(run: Path, *arguments: object) -> "subprocess.Popen[bytes]":
    with (run.parent / "log").open("wb") as log:
        command = ["mpirun", "--oversubscribe", *PATIENCE, "-n", "2", ROOT / "bin/lj-vae", "train", "-o", run]
        return subprocess.Popen([*command, *map(str, arguments)], stdout=log, stderr=log)


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
def test_a_training_killed_again_and_again(lj_vae: Run, tmp_path: Path) -> None:
    chance, log, kept = random.Random(1), tmp_path / "log", (0, 0)
    whole = sampled_run(tmp_path / "whole", *SETTINGS)
    run = shutil.copytree(whole, tmp_path / "run")
    for number in range(KILLS):
        place = PLACES[number % len(PLACES)]
        process = start(run)
        wait_for(place, chance, run, process)
        assert process.poll() is None, f"ended before it was killed: {log.read_text()}"
        kill(chance, process)
        assert position(run) >= kept, "training went back"
        kept = position(run)
        assert len(list(run.rglob("*.partial"))) <= 1
    for limit in (("--max-hours", 1e-6), ()):
        process = start(run, *limit)
        if not limit:
            wait_for("step", chance, run, process)
            os.kill(children(process.pid)[0], signal.SIGCONT)
            process.send_signal(signal.SIGUSR2)
        assert process.wait(60) == 75, log.read_text()
        assert log.read_text().count("stopped: checkpoint after epoch") == 1
        assert position(run) > kept
        kept = position(run)
    enough = ("-s", f"training.epochs={kept[0] + 1}")
    done = lj_vae("train", "-o", run, *enough, ranks=2)
    assert done.returncode == 0 and f"continuing after epoch {kept[0]} step {kept[1]}" in done.stdout
    assert lj_vae("train", "-o", whole, *enough, ranks=2).returncode == 0
    assert not list(run.rglob("*.partial"))
    for name in ("model/best.safetensors", "model/checkpoint.safetensors", "metrics.jsonl"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
