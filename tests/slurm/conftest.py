"""A real Slurm on this machine: munge (where none runs), a controller and two nodes in network namespaces.

Where namespaces cannot be had, the machine itself is the only node; the last lines of the tests say so.
"""

import getpass
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from cluster import Cluster
from network import Host, NoNamespacesError, network

CPUS = 2
PROGRAMS = ("munge", "munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "sinfo", "squeue", "scancel")
WHY = pytest.StashKey[str]()

SLURM_CONF = """\
ClusterName=test
SlurmctldHost={login.name}({login.address})
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A job that is requeued waits for as long as a credential lives.
AuthInfo=cred_expire=5
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
SlurmdSpoolDir={folder}/spool-%n
# PMIx makes a folder there for each step, which two nodes cannot share.
TmpFS={folder}/tmp-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
{nodes}
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """Two nodes of two CPUs each, or one, up for the whole session."""
    with ExitStack() as stack:
        # Not pytest's own temporary folder: the path of a Unix socket may have 107 characters at most.
        folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        try:
            login, *nodes = stack.enter_context(network("login", "node1", "node2")).values()
            why = "two nodes in network namespaces"
        except NoNamespacesError as error:
            login = Host(socket.gethostname().split(".")[0], "127.0.0.1")
            nodes, why = [login], f"one node, since network namespaces cannot be had here: {error}"
        pytestconfig.stash[WHY] = why
        cluster = Cluster(folder, login, nodes, why)
        missing = [name for name in PROGRAMS if shutil.which(name, path=cluster.env["PATH"]) is None]
        if missing:
            pytest.fail(
                f"{', '.join(missing)} not found on this machine; `bin/bootstrap --test` installs Slurm and munge"
            )
        _configure(cluster)
        if cluster.run("munge", "-n").returncode != 0:
            stack.enter_context(_munged(cluster))
        stack.enter_context(cluster.daemon(login, "slurmctld", "-D"))
        cluster.await_success("slurmctld did not answer", "scontrol", "ping", expect="is UP")
        for node in nodes:
            stack.enter_context(cluster.daemon(node, "slurmd", "-D", "-N", node.name))
        cluster.await_success("the nodes did not become idle", "sinfo", "-hN", "-o", "%T", expect="idle")
        stack.callback(cluster.cancel_all)
        yield cluster


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if WHY in config.stash:
        terminalreporter.write_line(f"Slurm had {config.stash[WHY]}")


def _configure(cluster: Cluster) -> None:
    for name in ("state", *(f"{kind}-{node.name}" for node in cluster.nodes for kind in ("spool", "tmp"))):
        (cluster.folder / name).mkdir()
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        ports = {"controller_port": first.getsockname()[1], "node_port": second.getsockname()[1]}
    nodes = [f"NodeName={node.name} NodeAddr={node.address} CPUs={CPUS} State=UNKNOWN" for node in cluster.nodes]
    text = SLURM_CONF.format(
        login=cluster.login, user=getpass.getuser(), folder=cluster.folder, nodes="\n".join(nodes), **ports
    )
    (cluster.folder / "slurm.conf").write_text(text, encoding="utf-8")


@contextmanager
def _munged(cluster: Cluster) -> Iterator[None]:
    """munged as user munge, with this machine's key, made if there is none; its socket serves all nodes."""
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
    here = Host(socket.gethostname(), "127.0.0.1")
    with cluster.daemon(here, "munged", "--foreground", user="munge", group="munge"):
        cluster.await_success("munged did not answer", "munge", "-n")
        yield
