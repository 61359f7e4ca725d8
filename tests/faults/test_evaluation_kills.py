"""An evaluation that is killed while it writes scores: what is kept stays, and the end is that of one left alone."""

import hashlib
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lj_vae_hpc.config.load import load
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.stages.train import train
from tests.conftest import KILLS, PATIENCE, ROOT, kill, sampled_run

RANKS = (2, 1, 3)


def digests(folder: Path) -> dict[str, str]:
    """Of everything that an evaluation leaves and that does not hold times."""
    files = (*folder.glob("**/*.h5"), *folder.glob("*.json"))
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def kept(run: Path) -> dict[str, tuple[int, int]]:
    """The scores that are kept; a file that was written again has another identity."""
    files = (run / "evaluation/scores").glob("*.h5")
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


@pytest.mark.timeout(400)
def test_an_evaluation_killed_again_and_again(lj_vae: Callable, tmp_path: Path) -> None:
    whole, run, chance = tmp_path / "whole", tmp_path / "run", random.Random(2)
    sampled_run(whole, "evaluation.studies=[latent]")
    train(World(None), RunDir(whole), load(whole / "config.yaml"))
    shutil.copytree(whole, run)
    assert lj_vae("evaluate", "-o", whole).returncode == 0
    killed, files = 0, kept(run)
    for number in range(KILLS):
        launcher = ["mpirun", "--oversubscribe", *PATIENCE, "-n", str(RANKS[number % len(RANKS)])]
        with (tmp_path / "log").open("wb") as log:
            command = [*launcher, ROOT / "bin/lj-vae", "evaluate", "-o", run]
            process = subprocess.Popen(command, stdout=log, stderr=log)
        while process.poll() is None and len(kept(run)) <= len(files) and not (run / "evaluation/scores.h5").exists():
            time.sleep(0.001)
        time.sleep(0.05 * chance.random())
        if process.poll() is None:
            kill(chance, process)
            killed += 1
        assert files.items() <= kept(run).items(), "what was kept is gone or was made again"
        files = kept(run)
    assert killed > KILLS / 2 and len(files) > 0
    assert lj_vae("evaluate", "-o", run, ranks=2).returncode == 0
    assert files.items() <= kept(run).items()
    assert digests(run / "evaluation") == digests(whole / "evaluation")
