"""Stopping on a signal or at a deadline: status 75, and the same command continues to the same result."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).parents[2]


def test_a_deadline_stops_sampling_on_two_ranks(lj_vae: Run, tiny: Path, tmp_path: Path) -> None:
    assert lj_vae("generate", "-c", tiny, "-o", tmp_path / "whole").returncode == 0
    for segments, limit in ((0, ("--max-hours", 0.0005)), (1, ("--max-hours", 0.0005)), (3, ())):
        done = lj_vae("generate", "-c", tiny, "-o", tmp_path / "run", *limit, ranks=2)
        assert done.returncode == (75 if limit else 0)
        stopped = f"stopped: {40 * segments} of 120 configurations are in" if segments else "stopped: the pilots so far"
        assert done.stdout.count(stopped) == done.stdout.count("give the same command again") == (segments < 3)
        assert len(list(tmp_path.glob("run/data/segments/*.h5"))) == segments
    for name in ("dataset.h5", "segments/000000.h5", "segments/000001.h5", "segments/000002.h5"):
        assert (tmp_path / "run/data" / name).read_bytes() == (tmp_path / "whole/data" / name).read_bytes()


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
