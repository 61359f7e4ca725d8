"""What a campaign asks of Slurm, and Slurm's own answers."""

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lj_vae_hpc.errors import COMMAND, UserError

ROOT = Path(__file__).parents[2]
DEFAULT_ARRAY_SIZE = 1001
SCRIPTS = {"sample": "scan.slurm", "data": "scan.slurm", "model": "scan-models.slurm"}


class Limits(NamedTuple):
    """What a user may submit."""

    array: int
    """Elements of one array."""
    jobs: int | None
    """Elements in the queue at once, those of all of the user's jobs; None if there is no limit."""


class Queued(NamedTuple):
    """An element of an array in the queue."""

    name: str
    job: int
    element: int
    running: bool
    cpus: int = 1


@dataclass(frozen=True)
class Array:
    """A job array to submit.

    Attributes:
        name: of the job.
        kind: of its tasks.
        batch: the file that says what each element does.
        elements: how many.
        after: jobs or elements, ID or ID_INDEX, that must succeed before any element starts.
    """

    name: str
    kind: str
    batch: Path
    elements: int
    after: tuple[str, ...] = ()


class Slurm:
    """The Slurm of this machine. Commands run in the environment that jobs/site.sh makes.

    Args:
        campaign: its folder.
        options: of sbatch, besides those in the scripts. Name, array, output and dependency are the campaign's own.
        at_once: elements of an array that run at the same time; None: as many as Slurm allows.

    Raises:
        UserError: no sbatch here, or a file of jobs/ is missing.
    """

    def __init__(self, campaign: Path, options: Sequence[str] = (), at_once: int | None = None) -> None:
        self._campaign, self._options, self._at_once = campaign.resolve(), list(options), at_once
        self._instead = (
            "submit from a login node, or do the campaign without Slurm by "
            f"`mpirun -n RANKS {COMMAND} scan run -o {campaign}`"
        )
        self._site = jobs_file("site.sh")
        self._scripts = {kind: jobs_file(name) for kind, name in SCRIPTS.items()}
        if self._run("command", "-v", "sbatch").returncode:
            raise UserError(f"no sbatch on this machine: {self._instead}")

    def limits(self) -> Limits:
        """MaxArraySize and MaxJobCount of the cluster, and the largest MaxSubmitJobs of the user's accounts.

        Which account a job has is not known before: where it allows less, or limits otherwise, sbatch refuses.
        """
        shown = self._answer("scontrol", "show", "config")
        found = {
            key: int(number) for key, number in re.findall(r"^(MaxArraySize|MaxJobCount)\s*=\s*(\d+)", shown, re.M)
        }
        own = self._run("sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={getpass.getuser()}",
                        "format=Account,MaxSubmitJobs").stdout.splitlines()  # fmt: skip
        most = [int(number) for number in (line.rpartition("|")[2] for line in own) if number]
        jobs = [max(most)] if most and len(most) == len(own) else []
        jobs += [found["MaxJobCount"]] if found.get("MaxJobCount") else []
        return Limits(found.get("MaxArraySize", DEFAULT_ARRAY_SIZE), min(jobs, default=None))

    def queue(self) -> list[Queued]:
        """The user's elements that wait or run."""
        lines = self._answer(
            "squeue", "--me", "--noheader", "--array", "--format=%j|%F|%K|%T|%C"
        ).splitlines()  # fmt: skip
        words = [line.strip().rsplit("|", 4) for line in lines if line.strip()]
        return [
            Queued(name, int(job), int(index) if index.isdigit() else 0, state != "PENDING", int(cpus))
            for name, job, index, state, cpus in words
        ]

    def ended(self, jobs: Sequence[int]) -> dict[tuple[int, int | None], str]:
        """Slurm's word for how elements of some jobs ended, by job and index; nothing where there is no accounting.

        An index of None stands for all elements of the job that have none of their own: sacct knows an array only as a
        whole if that ended soon.
        """
        if not jobs:
            return {}
        asked = self._run("env", "SLURM_BITSTR_LEN=0", "sacct", "--noheader", "--parsable2", "--allocations",
                          "--format=JobID,State", f"--jobs={','.join(map(str, jobs))}")  # fmt: skip
        return states(asked.stdout)

    def submit(self, array: Array) -> int:
        """Puts an array into the queue by sbatch; the job's number.

        Raises:
            UserError: sbatch refused; its own words.
        """
        logs = self._campaign / "scan" / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        most = f"%{self._at_once}" if self._at_once else ""
        after = [f"--dependency=afterok:{':'.join(array.after)}", "--kill-on-invalid-dep=yes"] if array.after else []
        done = self._run(  # the last of two options that contradict each other counts
            "sbatch", *self._options, "--parsable", f"--job-name={array.name}", f"--array=0-{array.elements - 1}{most}",
            f"--output={logs}/{array.name}-%a.out", *after, str(self._scripts[array.kind]), "-o", str(self._campaign),
            "--batch", str(array.batch.resolve()),
        )  # fmt: skip
        if done.returncode:
            raise UserError(f"sbatch refused: {' '.join(done.stderr.split())}")
        return int(done.stdout.split(";")[0])

    def _answer(self, *command: str) -> str:
        done = self._run(*command)
        if done.returncode:
            said = " ".join(done.stderr.split()) or "no message"
            raise UserError(f"{command[0]} does not answer ({said:.200}): {self._instead}")
        return done.stdout

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return run_on_site(self._site, *command)


def states(text: str) -> dict[tuple[int, int | None], str]:
    """How elements ended, as of Slurm.ended, by lines JobID|State of sacct."""
    found = re.findall(r"^(\d+)(?:_(\S+))?\|(\w+)", text, re.M)
    return {(int(job), one): state for job, which, state in found for one in (elements(which) if which else [None])}


def elements(text: str) -> Iterator[int]:
    """The indices that Slurm means by 3, or by [0,2-5,8-12:2%4] where elements ended before they started."""
    for first, last, step in re.findall(r"(\d+)(?:-(\d+))?(?::(\d+))?", text.split("%")[0]):
        yield from range(int(first), int(last or first) + 1, int(step or 1))


def run_on_site(site: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command after site.sh, which may load modules and name the account."""
    return subprocess.run(
        [shutil.which("bash") or "bash", "-c", '. "$0" >/dev/null && "$@"', str(site), *command],
        capture_output=True, text=True, env=os.environ | {"LJ_VAE_ROOT": str(site.parents[1])}, check=False,
    )  # fmt: skip


def jobs_file(name: str) -> Path:
    """A file of jobs/ in the checkout.

    Raises:
        UserError: it is missing.
    """
    path = Path(os.environ.get("LJ_VAE_ROOT", ROOT)) / "jobs" / name
    if not path.exists():
        raise UserError(
            f"{path} is missing; restore it from the checkout, or set LJ_VAE_ROOT to a checkout that has it"
        )
    return path
