"""A real Slurm on this machine: munge, accounting, a controller and two nodes in network namespaces, all of its own.

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

from tests.slurm.cluster import Cluster
from tests.slurm.network import Host, NoNamespacesError, network

CPUS = 2
PROGRAMS = ("munge", "munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd", "mariadb-install-db", "sbatch", "srun",
            "scontrol", "sinfo", "squeue", "scancel", "sacct", "sacctmgr")  # fmt: skip
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
AuthInfo=cred_expire=5,socket={folder}/munge.socket
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
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={login.address}
AccountingStoragePort={accounting_port}
AccountingStoragePass={folder}/munge.socket
AccountingStorageEnforce=limits
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
{nodes}
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={login.name}
DbdAddr={login.address}
DbdPort={accounting_port}
SlurmUser={user}
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser={user}
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
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
            pytest.fail(f"{', '.join(missing)} not found on this machine; `bin/bootstrap --test` installs all of them")
        database_port = _configure(cluster)
        names = {"socket": "socket", "key-file": "key", "seed-file": "seed", "pid-file": "pid", "log-file": "log"}
        files = [f"--{option}={folder}/munge.{name}" for option, name in names.items()]
        stack.enter_context(cluster.daemon(login, "munged", "--foreground", *files))
        cluster.await_success("munged did not answer", "munge", "-n", f"--socket={folder}/munge.socket")
        stack.enter_context(_accounting(cluster, database_port))
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


def _configure(cluster: Cluster) -> int:
    """Writes Slurm's files; returns the port of the database."""
    for name in ("state", "database", *(f"{kind}-{node.name}" for node in cluster.nodes for kind in ("spool", "tmp"))):
        (cluster.folder / name).mkdir()
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(4)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        controller, node, accounting, database = (one.getsockname()[1] for one in sockets)
    nodes = [f"NodeName={node.name} NodeAddr={node.address} CPUs={CPUS} State=UNKNOWN" for node in cluster.nodes]
    for name, text in (("slurm.conf", SLURM_CONF), ("slurmdbd.conf", SLURMDBD_CONF)):
        file = cluster.folder / name
        file.write_text(
            text.format(
                login=cluster.login, user=getpass.getuser(), folder=cluster.folder, nodes="\n".join(nodes),
                controller_port=controller, node_port=node, accounting_port=accounting, database_port=database,
            ), encoding="utf-8",
        )  # fmt: skip
    file.chmod(0o600)  # slurmdbd insists
    key = cluster.folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    return int(database)


@contextmanager
def _accounting(cluster: Cluster, port: int) -> Iterator[None]:
    """What remembers jobs and knows the users' limits: slurmdbd and its database, where this user has an account."""
    user, database = getpass.getuser(), cluster.folder / "database"
    options = ("--no-defaults", f"--user={user}", f"--datadir={database}", f"--tmpdir={cluster.folder}")
    made = cluster.run("mariadb-install-db", *options, "--skip-test-db")
    if made.returncode:
        pytest.fail(f"mariadb-install-db says {made.stdout}{made.stderr}")
    options += ("--skip-grant-tables", "--bind-address=127.0.0.1", f"--port={port}", f"--socket={database}.sock",
                f"--pid-file={database}.pid", "--innodb-lock-wait-timeout=900")  # fmt: skip
    with ExitStack() as stack:
        stack.enter_context(cluster.daemon(cluster.login, "mariadbd", *options))
        cluster.await_success("the database did not start", "test", "-S", f"{database}.sock")
        stack.enter_context(cluster.daemon(cluster.login, "slurmdbd", "-D"))
        cluster.await_success("slurmdbd did not answer", "sacctmgr", "show", "cluster", "--noheader")
        for what in ("cluster test", "account physics", f"user {user} account=physics defaultaccount=physics"):
            done = cluster.run("sacctmgr", "--immediate", "add", *what.split())
            if done.returncode:
                pytest.fail(f"sacctmgr add {what} says {done.stdout}{done.stderr}\n{cluster.logs()}")
        yield
