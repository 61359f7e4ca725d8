"""A folder has one writer at a time; its lock ends with it."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lj_vae_hpc.run.lock import lock
from tests.conftest import ROOT, alive, children

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@contextmanager
def sampling(run: Path, tiny: Path, ranks: int = 0) -> Iterator["subprocess.Popen[bytes]"]:
    """A long campaign that has finished a segment; gives mpirun, or the only rank."""
    launcher = ["mpirun", "--oversubscribe", "-n", str(ranks)] if ranks else []
    size = ("-s", "sampling.configurations=200000")
    process = subprocess.Popen(
        [*launcher, ROOT / "bin/lj-vae", "generate", "-c", tiny, "-o", run, *size], stdout=subprocess.DEVNULL,
        env=os.environ if ranks else {**os.environ, "SLURM_JOB_ID": "77"},
    )  # fmt: skip
    while not list(run.glob("data/ensembles/*/*-*.h5")):
        assert process.poll() is None
        time.sleep(0.01)
    everyone = [process.pid, *children(process.pid)]
    try:
        yield process
    finally:
        for number in filter(alive, everyone):
            os.kill(number, signal.SIGKILL)
        process.wait()


def test_a_second_job_on_a_folder_is_refused(lj_vae: Run, tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with sampling(run, tiny) as holder:
        before = (run / "config.yaml").read_bytes()
        holder.send_signal(signal.SIGSTOP)  # it leaves the core to the others
        for command, ranks in (("generate", 2), ("run", 0)):
            done = lj_vae(command, "-o", run, "-s", "training.epochs=9", ranks=ranks)
            assert done.returncode == 2, command
            assert (
                done.stderr.count(f"is in use by process {holder.pid} on {socket.gethostname()} of Slurm job 77") == 1
            )
            assert f"since {time.strftime('%Y-')}" in done.stderr and "Traceback" not in done.stderr
        assert (run / "config.yaml").read_bytes() == before
        segment = next(run.glob("data/ensembles/*/*-*.h5"))
        assert lj_vae("inspect", segment).returncode == 0, "reading is allowed"
        assert lj_vae("generate", "-c", tiny, "-o", tmp_path / "other").returncode == 0
        assert holder.poll() is None
        holder.kill()
        holder.wait()
        assert lj_vae("generate", "-o", run, "--max-hours", 1e-6).returncode == 75, "nobody holds it any more"


def test_ranks_that_outlive_mpirun_keep_the_folder(lj_vae: Run, tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with sampling(run, tiny, ranks=2) as mpirun:
        ranks = children(mpirun.pid)
        mpirun.kill()
        mpirun.wait()
        os.kill(ranks[0], signal.SIGSTOP)  # it would notice within a second or two
        done = lj_vae("generate", "-o", run)
        assert done.returncode == 2 and f"is in use by process {ranks[0]} on" in done.stderr
        os.kill(ranks[0], signal.SIGCONT)
        while any(map(alive, ranks)):
            time.sleep(0.01)
        assert lj_vae("generate", "-o", run, "--max-hours", 1e-6, ranks=2).returncode == 75


def test_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reasons = [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EIO]

    def without(*_: Any) -> None:
        reason = reasons.pop(0)
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(fcntl, "lockf", without)
    for _ in range(3):
        lock(tmp_path)
        assert "warning: no file locks in" in capsys.readouterr().err
    with pytest.raises(OSError, match="Input/output"):
        lock(tmp_path)
