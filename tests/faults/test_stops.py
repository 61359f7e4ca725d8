"""What --max-hours takes, and where a job has it from; commands that end at once."""

import os
import signal as signals
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize(("hours", "ranks"), [("0", 2), ("-1", 0), ("nan", 0), ("inf", 0), ("soon", 0)])
def test_hours_that_make_no_sense(lj_vae: Run, hours: str, ranks: int, tmp_path: Path) -> None:
    done = lj_vae("run", "-o", tmp_path / "run", "--max-hours", hours, ranks=ranks)
    assert done.returncode == 2 and done.stderr.count("Invalid value for '--max-hours'") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("signal", "ranks"), [("SIGTERM", 0), ("SIGUSR2", 2)])
def test_what_keeps_nothing_ends_at_once(signal: str, ranks: int, tmp_path: Path) -> None:
    launcher = ["mpirun", "--oversubscribe", "-n", str(ranks)] if ranks else []
    process = subprocess.Popen([*launcher, ROOT / "bin/lj-vae", "doctor", "-o", tmp_path], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline().strip().startswith(b"ranks: ")
    process.send_signal(getattr(signals, signal))
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 75 and b"Slurm" not in said
    assert ranks or b"stopped: what was complete before is kept" in said


@pytest.mark.parametrize("launcher", ["mpirun", "srun"])
def test_a_job_knows_its_time_limit(launcher: str, tiny: Path, tmp_path: Path) -> None:
    """Slurm signals only what srun started, and maybe too late; so the job asks for its end, here in three seconds."""
    for name, script in (
        ("squeue", "date --iso-8601=seconds -d '3 seconds'"),
        ("scontrol", 'test "$1" = show'),  # it does not requeue
        ("srun", 'shift 2; exec "$@"'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    job = {
        "LJ_VAE_LAUNCHER": launcher, "LJ_VAE_ROOT": str(ROOT), "LJ_VAE_OUTPUT": str(tmp_path / "run"),
        "LJ_VAE_CONFIG": str(tiny), "SLURM_NTASKS": "1", "SLURM_JOB_ID": "1", "SLURM_SUBMIT_DIR": str(tmp_path),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }  # fmt: skip
    done = subprocess.run(
        ["bash", ROOT / "jobs/generate.slurm", "-s", "sampling.configurations=200000"], env=os.environ | job,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 75 and "run the same command again" in done.stdout


@pytest.mark.parametrize("signal", ["SIGINT", "SIGTERM", "SIGUSR2"])
@pytest.mark.parametrize("place", ["Python", "MPI"])
def test_signals_while_a_command_starts(signal: str, place: str, tmp_path: Path) -> None:
    """From when Python has read the first lines, and while MPI starts."""
    number = getattr(signals, signal)
    command = [sys.executable, "-u", "-m", "lj_vae_hpc", "generate", "-o", tmp_path / "run"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=-1, stderr=-1, text=True)
    proc = Path(f"/proc/{process.pid}")

    def there() -> bool:
        if place == "MPI":
            return "libmpi." in (proc / "maps").read_text()
        caught = (proc / "status").read_text().partition("SigCgt:")[2].split()[0]
        return bool(int(caught, 16) >> (signals.SIGUSR2 - 1) & 1)  # the last of them

    while not there():
        assert process.poll() is None
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75 and "Traceback" not in errors, errors
