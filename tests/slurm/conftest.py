"""A real Slurm on this machine: its own munge (where none runs), controller and node daemon, in a temporary folder."""

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
CPUS = 2
SECONDS_TO_START = 40.0
PROGRAMS = ("munge", "munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "sinfo", "squeue", "scancel")
# Set by whatever runs the tests (another job, mpirun, the user's shell); none of it may reach the jobs.
FOREIGN = ("SLURM", "SBATCH", "SRUN", "OMPI_", "PMI", "PRTE_", "LJ_VAE_")

SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A job that is requeued waits for as long as a credential lives.
AuthInfo=cred_expire=10
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
# The jobs are seconds long: look for work that often.
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
# Two CPUs also where the machine has one.
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Job:
    """A job that has ended: its id, exit status (negative: the signal that ended it) and everything it printed."""

    id: int
    status: int
    log: str


class Cluster:
    """The running Slurm: submits the checkout's jobs and waits for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        self.env["SLURM_CONF"] = str(folder / "slurm.conf")
        # bin/lj-vae takes the python3 on PATH where the checkout has no environment of its own.
        self.env["PATH"] = f"{Path(sys.executable).parent}:{self.env['PATH']}:/usr/sbin:/sbin"

    def run(
        self, *command: str | Path, folder: Path | None = None, **env: str | Path
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command with this Slurm; text in, text out."""
        environment = self.env | {name: str(value) for name, value in env.items()}
        return subprocess.run(
            [str(part) for part in command], cwd=folder or self.folder, env=environment, capture_output=True, text=True
        )

    def submit(self, folder: Path, stage: str, *arguments: str | Path, **env: str | Path) -> Job:
        """Submits from a folder, with a task on each CPU and the environment changed, and waits for the job.

        Logs appear in the folder.
        """
        return self.finish(self.start(folder, stage, *arguments, **env), folder, stage)

    def start(self, folder: Path, stage: str, *arguments: str | Path, tasks: int = CPUS, **env: str | Path) -> int:
        """The same without waiting, with fewer tasks if so wished; the job's number."""
        script = CHECKOUT / "jobs" / f"{stage}.slurm"
        # Not `sbatch --wait`, which looks only after 2, 10 and 42 seconds.
        done = self.run("sbatch", "--parsable", f"--ntasks={tasks}", script, *arguments, folder=folder, **env)
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

    def show(self, number: int) -> dict[str, str]:
        """The controller's fields of a job: JobState, ExitCode, NumTasks, ..."""
        done = self.run("scontrol", "--oneliner", "show", "job", str(number))
        if done.returncode != 0:
            pytest.fail(f"no answer about job {number}: {done.stderr}\n{self.logs()}")
        return dict(word.split("=", 1) for word in done.stdout.split() if "=" in word)

    def wait(self, numbers: list[int]) -> None:
        """Until none of the jobs is waiting or running; the test's own time limit ends it otherwise."""
        unfinished = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING")
        try:
            while any(self.show(number)["JobState"] in unfinished for number in numbers):
                time.sleep(0.2)
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
        """Repeats a command until it succeeds and prints what is expected."""
        deadline = time.monotonic() + SECONDS_TO_START
        while True:
            done = self.run(*command)
            if done.returncode == 0 and expect in done.stdout:
                return
            if time.monotonic() > deadline:
                answer = f"{' '.join(command)} says: {done.stdout}{done.stderr}".strip()
                pytest.fail(f"{what} within {SECONDS_TO_START:g} s; {answer}\n{self.logs()}")
            time.sleep(0.2)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One node with two CPUs, up for the whole session."""
    # Not pytest's own temporary folder: the path of a Unix socket may have 107 characters at most.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    cluster = Cluster(folder)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        missing = [name for name in PROGRAMS if shutil.which(name, path=cluster.env["PATH"]) is None]
        if missing:
            pytest.fail(
                f"{', '.join(missing)} not found on this machine; `bin/bootstrap --test` installs Slurm and munge"
            )
        folder.chmod(0o755)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            second.bind(("127.0.0.1", 0))
            controller_port, node_port = first.getsockname()[1], second.getsockname()[1]
        (folder / "slurm.conf").write_text(
            SLURM_CONF.format(
                host=socket.gethostname().split(".")[0], user=getpass.getuser(), folder=folder, cpus=CPUS,
                controller_port=controller_port, node_port=node_port,
            ),
            encoding="utf-8",
        )  # fmt: skip
        if cluster.run("munge", "-n").returncode != 0:
            stack.enter_context(_munged(cluster))
        stack.enter_context(_daemon(cluster, "slurmctld", "-D"))
        cluster.await_success("slurmctld did not answer", "scontrol", "ping", expect="is UP")
        stack.enter_context(_daemon(cluster, "slurmd", "-D"))
        cluster.await_success("the node did not become idle", "sinfo", "-h", "-o", "%T", expect="idle")
        stack.callback(_cancel_all, cluster)
        yield cluster


@contextmanager
def _munged(cluster: Cluster) -> Iterator[None]:
    """munged as user munge, with this machine's key, made if there is none."""
    key, socket_folder = Path("/etc/munge/munge.key"), Path("/run/munge")
    try:
        socket_folder.mkdir(exist_ok=True)
        shutil.chown(socket_folder, "munge", "munge")
        if not key.exists():
            key.write_bytes(secrets.token_bytes(128))
            shutil.chown(key, "munge", "munge")
            key.chmod(0o400)
    except PermissionError as error:
        pytest.fail(f"munge does not run here, and starting it needs root: {error}")
    with _daemon(cluster, "munged", "--foreground", user="munge", group="munge"):
        cluster.await_success("munged did not answer", "munge", "-n")
        yield


@contextmanager
def _daemon(cluster: Cluster, name: str, *options: str, **identity: str) -> Iterator[None]:
    """A daemon in the foreground, as a child of this process, so that it can be stopped without looking for it."""
    # slurmctld and slurmd also have a log file of their own; this one holds what munged says, and early errors.
    with (cluster.folder / f"{name}-output.log").open("wb") as log:
        process = subprocess.Popen(
            [name, *options], cwd="/", env=cluster.env, stdout=log, stderr=log, extra_groups=[] if identity else None,
            **identity,  # type: ignore[arg-type]
        )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _cancel_all(cluster: Cluster) -> None:
    """Ends what a failed test left running, while slurmd can still do it."""
    cluster.run("scancel", "--me")
    deadline = time.monotonic() + 15.0
    while cluster.run("squeue", "-h").stdout.strip() and time.monotonic() < deadline:
        time.sleep(0.2)
