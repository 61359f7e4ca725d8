"""A search of hyperparameters that is killed or stopped: what is finished counts, what was stopped is continued."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.trial import TrialState

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.run.lock import Claims
from lj_vae_hpc.stages.tune import tune
from lj_vae_hpc.tuning.summary import SearchSummary
from tests.conftest import ROOT, alive, children, sampled_run, trials, workers

Run = Callable[..., "subprocess.CompletedProcess[str]"]
EPOCHS = 100  # a rank may be 25 epochs ahead when the other begins; no trial may end before both are stopped


def states(run: Path) -> list[str]:
    return sorted(trial.state.name for trial in trials(run))


def until_under_way(run: Path, finished: int) -> "subprocess.Popen[str]":
    """Two ranks that have finished some trials and are both in the midst of another."""
    command = ["mpirun", "--oversubscribe", "-n", "2", ROOT / "bin/lj-vae", "tune", "-o", run]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while True:
        time.sleep(0.05)
        assert process.poll() is None, process.communicate()[0]
        begun = [trial for trial in trials(run) if trial.state == TrialState.RUNNING and trial.intermediate_values]
        if len(trials(run)) >= finished + 2 and len(begun) == 2:
            return process


@pytest.mark.timeout(400)
def test_a_search_that_is_stopped_and_killed(lj_vae: Run, tmp_path: Path) -> None:
    run = sampled_run(tmp_path / "run", "tuning.trials=4", f"tuning.epochs={EPOCHS}")
    process = until_under_way(run, finished=0)
    process.send_signal(signal.SIGUSR2)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 75 and said.count("run the same command again") == 1, said
    assert states(run) == ["RUNNING"] * 2 and len(list((run / "tuning/trials").glob("*/checkpoint*"))) == 2
    stopped = [list(trial.intermediate_values.items()) for trial in trials(run)]
    assert all(0 < len(values) < EPOCHS for values in stopped)

    process = until_under_way(run, finished=2)
    ranks = children(process.pid)
    for number in (process.pid, *ranks):
        os.kill(number, signal.SIGKILL)
    process.wait()
    while any(map(alive, ranks)):
        time.sleep(0.01)
    before = trials(run)
    assert states(run) == ["COMPLETE"] * 2 + ["RUNNING"] * 2
    for trial, values in zip(before[:2], stopped, strict=True):
        everyone = list(trial.intermediate_values.items())
        assert [step for step, _ in everyone] == list(range(1, EPOCHS + 1)), "an epoch is missing, or was trained twice"
        assert everyone[: len(values)] == values and trial.value == min(v for _, v in everyone)

    with (run / "tuning/journal.log").open("a") as journal:
        journal.write('{"op_code":4,"worker')  # as if in the midst of a line
    done = lj_vae("tune", "-o", run, ranks=2)
    assert done.returncode == 0, done.stderr
    assert states(run) == ["COMPLETE"] * 4 + ["FAIL"] * 2
    for old, new in zip(before, trials(run), strict=False):
        assert new == old or (old.state == TrialState.RUNNING and new.state == TrialState.FAIL)
    assert not list((run / "tuning/trials").glob("*"))
    assert len(re.findall(r"^trial \d", done.stdout, re.MULTILINE)) == 2
    assert len(workers(run)) == 6, "both ranks of all three jobs have trained"


HOLDER = """
import sys, time
from pathlib import Path
from lj_vae_hpc.config.load import load
from lj_vae_hpc.run.lock import Claims
from lj_vae_hpc.tuning.study import Study
from lj_vae_hpc.stages.tune import CLAIMS

folder = Path(sys.argv[1]) / "tuning"
folder.mkdir()
Study(folder, Claims(folder / CLAIMS), load(folder.parent / "config.yaml")).next_trial()
print("has it", flush=True)
time.sleep(100)
"""


def test_a_job_waits_for_the_trials_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And takes them over when their process ends; it does not end before the search does."""
    run = sampled_run(tmp_path / "run", "tuning.trials=1", "tuning.epochs=1")
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, run], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert other.stdout and other.stdout.readline() == "has it\n"
    seen, print_new_trials = [], SearchSummary.print_new_trials

    def waiting(summary: SearchSummary) -> None:
        seen.append(states(run))
        if len(seen) == 2:
            other.kill()
            other.wait()
        print_new_trials(summary)

    monkeypatch.setattr(SearchSummary, "print_new_trials", waiting)
    tune(World(), RunDir(run), None, ())
    assert seen[:2] == [["RUNNING"]] * 2 and states(run) == ["COMPLETE", "FAIL"]


def test_claims_end_with_their_process(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from lj_vae_hpc.run.lock import Claims\n"
        "claims = Claims(Path(sys.argv[1])); claims.take(3); print('has it', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "claims"], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert other.stdout and other.stdout.readline() == "has it\n"
    claims = Claims(tmp_path / "claims")
    assert not claims.take(3) and claims.take(2)
    other.kill()
    other.wait()
    assert claims.take(3)


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*_: object) -> None:
        raise OSError(38, os.strerror(38))

    monkeypatch.setattr("fcntl.lockf", without)
    with pytest.raises(UserError, match="no file locks in"):
        Claims(tmp_path / "claims")
