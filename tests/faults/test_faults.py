"""Kills, full disks and failing ranks: nothing hangs, nothing is lost."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lj_vae_hpc.config.load import load
from lj_vae_hpc.sampling.ensemble import ensembles_of
from tests.conftest import ROOT

Run = Callable[..., "subprocess.CompletedProcess[str]"]

FAILING_RANK = """
import sys
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World

def fail():
    raise {error}("it went wrong")

world = World.connect()
try:
    if world.rank == {rank}:
        {by}(fail)
    world.barrier()
except Exception as error:
    world.fail(error)
"""


@pytest.mark.parametrize(("error", "status", "tracebacks"), [("UserError", 2, 0), ("ValueError", 1, 1)])
@pytest.mark.parametrize(("rank", "by"), [(0, "(lambda f: f())"), (2, "(lambda f: f())"), (2, "world.alone().on_root")])
def test_a_failing_rank_ends_all(error: str, status: int, tracebacks: int, rank: int, by: str) -> None:
    code = FAILING_RANK.format(rank=rank, error=error, by=by)
    started = time.monotonic()
    done = subprocess.run(
        ["mpirun", "--oversubscribe", "-n", "3", sys.executable, "-c", code],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == status
    assert done.stderr.count("it went wrong") == 1
    assert done.stderr.count("Traceback") == tracebacks
    assert time.monotonic() - started < 30


def test_more_than_2_gib_are_sent_at_once() -> None:
    """As a checkpoint of 200 million weights is; one rank with MPI takes the same path as several."""
    code = "import numpy as np; from mpi4py import MPI; from lj_vae_hpc.parallel.world import World; n = 2**31 + 8"
    code += "; assert len(World(MPI.COMM_WORLD).broadcast(np.zeros(n, np.uint8))) == n"
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize("ranks", [2, 3])
def test_bad_configuration_is_said_once_by_all_ranks(lj_vae: Run, ranks: int, tmp_path: Path) -> None:
    done = lj_vae("generate", "-o", tmp_path, "-s", "sampling.gammas=[]", ranks=ranks)
    assert done.returncode == 2
    assert done.stderr.count("sampling.gammas: the list is empty") == 1 and "Traceback" not in done.stderr
    done = lj_vae("generate", "--nonsense", ranks=ranks)
    assert done.returncode == 2 and done.stderr.count("No such option") == 1


def on_small_disk(disk: Path, script: str) -> "subprocess.CompletedProcess[str]":
    """Runs a script in a mount namespace where a folder is a file system of 2 MB."""
    disk.mkdir()
    namespace = ["unshare", "-m"] if os.getuid() == 0 else ["unshare", "-rm"]
    return subprocess.run(
        [*namespace, "bash", "-c", f"mount -t tmpfs -o size=2m none {disk} && cd {disk} || exit 9\n{script}"],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


def test_a_full_disk_is_said_before_any_work(tmp_path: Path) -> None:
    few = "-s sampling.gammas=[0.1] -s sampling.configurations=5000"  # 1.4 MB, which it takes twice
    done = on_small_disk(tmp_path / "disk", f"{ROOT}/bin/lj-vae generate -o run -s sampling.sweeps=1 {few}")
    assert done.returncode == 2 and done.stderr.count("the disk is full: run/data/ensembles needs") == 1
    assert "Traceback" not in done.stderr


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    script = (
        f"mkdir run; mount -o remount,ro $PWD; {ROOT}/bin/lj-vae generate -o run; {ROOT}/bin/lj-vae generate -o new"
    )
    done = on_small_disk(tmp_path / "disk", script)
    assert done.returncode == 2 and done.stderr.count("cannot write the output folder") == 2
    assert "Traceback" not in done.stderr


def test_a_disk_that_fills_up_loses_nothing(tmp_path: Path) -> None:
    # 3,000 rows need 0.8 MB twice, in segments of 250; another program takes the rest of the disk meanwhile, four
    # times, and each time another write is the first that fails.
    command = (
        f"mpirun --oversubscribe -n 2 {ROOT}/bin/lj-vae generate -o run "
        "-s sampling.gammas=[0.1] -s sampling.configurations=3000 -s sampling.sweeps=150 -s sampling.segment_rows=250"
    )
    script = (
        "segments() { find run -name '*-*.h5' | wc -l; }; mkdir run; "
        "for attempt in 0 1 2 3; do before=$(segments); "
        f"({command}; echo status $?) & until [ $(segments) -gt $before ]; do sleep 0.02; done; "
        "until fallocate -l $(($(df --output=avail -B1 . | tail -1) - attempt * 60000)) fill; do :; done; "
        "wait; rm fill; done; "
        f"{command} && {ROOT}/bin/lj-vae verify -o run; echo then $?"
    )
    done = on_small_disk(tmp_path / "disk", script)
    assert done.stdout.count("status 2") == done.stderr.count("the disk is full; free some space") == 4, done
    assert "verified: 3000 configurations" in done.stdout and "then 0" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_model_that_fails_on_all_ranks_does_not_stop_the_next(lj_vae: Run, tiny: Path, tmp_path: Path) -> None:
    rates = ("-s", "scan.grid={training.learning_rate: [1e6, 1e-3]}", "-s", "sampling.gammas=[0.1]")
    done = lj_vae("scan", "run", "-c", tiny, "-o", tmp_path / "c", *rates, ranks=2)
    assert done.returncode == 2 and "1 of 4 tasks are not done: model" in done.stderr, done.stderr
    assert "the loss is not finite" in done.stderr and "Traceback" not in done.stderr
    assert len(list(tmp_path.glob("c/models/*/finished.json"))) == 1


def test_a_pilot_that_cannot_be_kept_ends_all_teams(lj_vae: Run, tiny: Path, tmp_path: Path) -> None:
    """Two ranks for each of two γ, and what one of the two teams found out cannot be written."""
    tiny.write_text(tiny.read_text().replace("sweeps: 40", "protocol: equilibrated"))
    config = load(tiny)
    for ensemble in ensembles_of(config.seed, config.system, config.sampling):
        run = tmp_path / f"{ensemble.gamma:g}"
        (run / "data/ensembles" / ensemble.key / "pilot.h5").mkdir(parents=True)
        done = lj_vae("generate", "-c", tiny, "-o", run, ranks=4, timeout=100)
        assert done.returncode == 2 and done.stderr.count("cannot write") == 1, done.stderr
