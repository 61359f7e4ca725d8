"""A Slurm for the tests: what its daemons and the users' commands need, and a user who submits jobs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.slurm.network import Host

CHECKOUT = Path(__file__).resolve().parents[2]
SECONDS_TO_START = 40.0
TASKS = 2
# Set by whatever runs the tests (another job, mpirun, the user's shell); none of it may reach the jobs.
FOREIGN = ("SLURM", "SBATCH", "SRUN", "OMPI_", "PMI", "PRTE_", "LJ_VAE_", "GLOO_", "MASTER_")
UNFINISHED = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING")


@dataclass(frozen=True)
class Job:
    """A job that has ended: its id, exit status (negative: the signal that ended it) and everything it printed."""

    id: int
    status: int
    log: str


class Cluster:
    """The running Slurm: submits the checkout's jobs and waits for them.

    Attributes:
        login: the host of the controller, where users call commands.
        nodes: two hosts, or this machine alone.
        why: how many nodes there are, and why not two.
    """

    def __init__(self, folder: Path, login: Host, nodes: list[Host], why: str) -> None:
        self.folder, self.login, self.nodes, self.why = folder, login, nodes, why
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        self.env["SLURM_CONF"] = str(folder / "slurm.conf")
        # bin/lj-vae takes the python3 on PATH where the checkout has no environment of its own.
        self.env["PATH"] = f"{Path(sys.executable).parent}:{self.env['PATH']}:/usr/sbin:/sbin"
        self._daemons: dict[tuple[str, str], subprocess.Popen[bytes]] = {}

    def run(
        self, *command: str | Path, folder: Path | None = None, **env: str | Path
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on the login host; text in, text out."""
        environment = self.env | {name: str(value) for name, value in env.items()}
        return subprocess.run(
            [*self.login.prefix, *map(str, command)], cwd=folder or self.folder, env=environment, capture_output=True,
            text=True,
        )  # fmt: skip

    def submit(self, folder: Path, stage: str, *arguments: str | Path, nodes: int = 0, **env: str | Path) -> Job:
        """Submits from a folder, with two tasks and the environment changed, and waits for the job.

        The script is that of the folder, if it has jobs/. Logs appear in the folder. The tasks are spread over all
        nodes, or over as many as are given.
        """
        return self.finish(self.start(folder, stage, *arguments, nodes=nodes, **env), folder, stage)

    def start(
        self, folder: Path, stage: str, *arguments: str | Path, nodes: int = 0, tasks: int = TASKS, **env: str | Path
    ) -> int:
        """The same without waiting, with fewer tasks if so wished; the job's number."""
        spread = f"--nodes={nodes or min(tasks, len(self.nodes))}"
        own = folder / "jobs" / f"{stage}.slurm"
        script = own if own.exists() else CHECKOUT / "jobs" / f"{stage}.slurm"
        # Not `sbatch --wait`, which looks only after 2, 10 and 42 seconds.
        done = self.run("sbatch", "--parsable", f"--ntasks={tasks}", spread, script, *arguments, folder=folder, **env)
        if done.returncode != 0:
            pytest.fail(f"sbatch refused {stage}: {done.stderr}\n{self.logs()}")
        return int(done.stdout)

    def finish(self, number: int, folder: Path, stage: str) -> Job:
        """Waits for a job that was started."""
        self.wait([number])
        status, signal = self.show(number)["ExitCode"].split(":")
        return Job(number, int(status) or -int(signal), self.log(folder, stage, number))

    def log(self, folder: Path, stage: str, number: int) -> str:
        """What a job printed."""
        path = folder / f"{stage}-{number}.out"
        if not path.exists():
            pytest.fail(f"job {number} left no {path.name}: {self.show(number)}\n{self.logs()}")
        return path.read_text(encoding="utf-8")

    def show(self, number: int | str) -> dict[str, str]:
        """The controller's fields of a job: JobState, ExitCode, NumTasks, ..."""
        done = self.run("scontrol", "--oneliner", "show", "job", str(number))
        if done.returncode != 0:
            pytest.fail(f"no answer about job {number}: {done.stderr}\n{self.logs()}")
        return dict(word.split("=", 1) for word in done.stdout.split() if "=" in word)

    def wait(self, numbers: Sequence[int | str]) -> None:
        """Until none of the jobs is waiting or running; the test's own time limit ends it otherwise."""
        try:
            while any(self.show(number)["JobState"] in UNFINISHED for number in numbers):
                time.sleep(0.1)
        except pytest.fail.Exception:
            print(*(self.show(number) for number in numbers), self.logs(), sep="\n")
            raise

    def logs(self) -> str:
        """The last lines of every daemon's log."""
        return "\n".join(
            "\n".join([f"--- {path.name}", *path.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]])
            for path in sorted(self.folder.glob("*.log"))
        )

    def await_success(self, what: str, *command: str, expect: str = "") -> None:
        """Repeats a command until it succeeds and prints nothing but lines with what is expected."""
        deadline = time.monotonic() + SECONDS_TO_START
        while True:
            done = self.run(*command)
            if done.returncode == 0 and all(expect in line for line in done.stdout.splitlines() or [""]):
                return
            if time.monotonic() > deadline:
                answer = f"{' '.join(command)} says: {done.stdout}{done.stderr}".strip()
                pytest.fail(f"{what} within {SECONDS_TO_START:g} s; {answer}\n{self.logs()}")
            time.sleep(0.1)

    @contextmanager
    def daemon(self, host: Host, name: str, *options: str) -> Iterator[None]:
        """A daemon in the foreground, as a child of this process, so that it can be stopped without looking for it."""
        self._daemons[host.name, name] = self._start(host, name, *options)
        try:
            yield
        finally:
            process = self._daemons[host.name, name]
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, host: Host, name: str, *options: str) -> "subprocess.Popen[bytes]":
        # slurmctld and slurmd also have a log file of their own; this one holds what munged says, and early errors.
        with (self.folder / f"{name}-{host.name}-output.log").open("ab") as log:
            return subprocess.Popen([*host.prefix, name, *options], cwd="/", env=self.env, stdout=log, stderr=log)

    def start_node(self, node: Host) -> None:
        """Starts the node's daemon again."""
        self._daemons[node.name, "slurmd"] = self._start(node, "slurmd", "-D", "-N", node.name)

    def crash_node(self, node: Host) -> None:
        """Ends the node's daemon and everything of its jobs at once, as when it loses power."""
        slurmd = self._daemons[node.name, "slurmd"]
        slurmd.kill()
        slurmd.wait()
        signs = {f"SLURMD_NODENAME={node.name}", f"SLURM_CONF={self.env['SLURM_CONF']}"}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if signs <= set((process / "environ").read_text(encoding="utf-8", errors="replace").split("\0")):
                    os.kill(int(process.name), signal.SIGKILL)

    def cancel_all(self) -> None:
        """Ends what a failed test left running, while slurmd can still do it."""
        self.run("scancel", "--me")
        deadline = time.monotonic() + 15.0
        while self.run("squeue", "-h").stdout.strip() and time.monotonic() < deadline:
            time.sleep(0.1)
