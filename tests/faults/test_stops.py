"""What --max-hours takes, and where a job has it from."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("hours", "ranks"), [("0", 2), ("-1", 0), ("nan", 0), ("inf", 0), ("soon", 0)])
def test_hours_that_make_no_sense(lj_vae: Run, hours: str, ranks: int, tmp_path: Path) -> None:
    done = lj_vae("run", "-o", tmp_path / "run", "--max-hours", hours, ranks=ranks)
    assert done.returncode == 2 and done.stderr.count("Invalid value for '--max-hours'") == 1
    assert not (tmp_path / "run").exists()


def test_a_job_that_mpirun_starts_knows_its_time_limit(tiny: Path, tmp_path: Path) -> None:
    """Slurm signals only what srun started; so the job asks for its end, here three seconds from now."""
    (tmp_path / "squeue").write_text("#!/bin/sh\ndate --iso-8601=seconds -d '3 seconds'\n")
    (tmp_path / "squeue").chmod(0o755)
    job = {
        "LJ_VAE_LAUNCHER": "mpirun", "LJ_VAE_ROOT": str(ROOT), "LJ_VAE_OUTPUT": str(tmp_path / "run"),
        "LJ_VAE_CONFIG": str(tiny), "SLURM_NTASKS": "1", "SLURM_JOB_ID": "1",
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }  # fmt: skip
    done = subprocess.run(
        ["bash", ROOT / "jobs/generate.slurm", "-s", "sampling.configurations=200000"], env=os.environ | job,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 75 and "give the same command again" in done.stdout
