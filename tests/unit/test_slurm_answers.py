"""Slurm's own answers, and what is asked of it."""

from pathlib import Path

import pytest

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.scan.slurm import Array, Slurm, elements, states

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "indices"), [("3", [3]), ("[0-3]", [0, 1, 2, 3]), ("[0,2-3,8-12:2%4]", [0, 2, 3, 8, 10, 12])]
)
def test_indices_as_slurm_writes_them(text: str, indices: list[int]) -> None:
    assert list(elements(text)) == indices


def test_ends_as_sacct_writes_them() -> None:
    """An array that was cancelled before accounting knew its elements has one line, without an index."""
    lines = "36|CANCELLED by 0\n5_1|COMPLETED\n5_[0,2-3]|CANCELLED by 0\n"
    early, late = {(36, None): "CANCELLED"}, {(5, k): "COMPLETED" if k == 1 else "CANCELLED" for k in range(4)}
    assert states(lines) == early | late


@pytest.mark.parametrize("missing", ["site.sh", "scan.slurm"])
def test_a_missing_file_of_jobs(tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobs").mkdir()
    for file in (CHECKOUT / "jobs").iterdir():
        if file.name != missing:
            (tmp_path / "jobs" / file.name).symlink_to(file)
    monkeypatch.setenv("LJ_VAE_ROOT", str(tmp_path))
    with pytest.raises(UserError, match=f"jobs/{missing} is missing"):
        Slurm(tmp_path)


def test_no_sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bash").symlink_to("/bin/bash")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"no sbatch on this machine: .* `mpirun -n RANKS lj-vae scan run"):
        Slurm(tmp_path)


def test_the_users_options_leave_name_array_output_and_dependency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stub of sbatch, as a real one does not tell its arguments."""
    stub = tmp_path / "sbatch"
    stub.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/said\necho "17;cluster"\n')
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.chdir(tmp_path)
    theirs = ("--job-name=mine", "--array=5", "--output=mine.out", "--dependency=afterok:1", "--time=9")
    slurm = Slurm(Path("c"), theirs, at_once=2)
    assert slurm.submit(Array("scan-x-000000", "sample", Path("c/scan/batches/000000.json"), 4, ("3_1",))) == 17
    *given, script, o, folder, b, batch = (tmp_path / "said").read_text().splitlines()
    last = dict(option.split("=", 1) for option in given if "=" in option)
    assert last == {
        "--job-name": "scan-x-000000", "--array": "0-3%2", "--output": f"{tmp_path}/c/scan/logs/scan-x-000000-%a.out",
        "--dependency": "afterok:3_1", "--kill-on-invalid-dep": "yes", "--time": "9",
    }  # fmt: skip
    assert (script, o, b) == (str(CHECKOUT / "jobs/scan.slurm"), "-o", "--batch")
    assert (folder, batch) == (f"{tmp_path}/c", f"{tmp_path}/c/scan/batches/000000.json")


def test_jobs_of_any_name_in_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stubs, as a real Slurm shows only jobs that were really submitted."""
    for name, said in (("sbatch", ""), ("squeue", "fit|all|4711|N/A|RUNNING|8")):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{said}'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (job,) = Slurm(tmp_path).queue()
    assert (job.name, job.job, job.element, job.running, job.cpus) == ("fit|all", 4711, 0, True, 8)
