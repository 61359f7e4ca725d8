"""Ranks of one job on two nodes."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.slurm.cluster import Cluster

pytestmark = pytest.mark.slurm
CHECKOUT = Path(__file__).resolve().parents[2]

RANKS = "from mpi4py import MPI; from socket import gethostname; print(MPI.COMM_WORLD.allgather(gethostname()))"
JOB = f"""\
#!/bin/bash
srun --mpi=pmix {sys.executable} -c '{RANKS}'
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
mpirun {sys.executable} -c '{RANKS}'
"""


@pytest.mark.timeout(100)
def test_both_launchers_connect_ranks_on_both_nodes(cluster: "Cluster", tmp_path: Path) -> None:
    if len(cluster.nodes) < 2:
        pytest.skip(cluster.why)
    (tmp_path / "ranks.sh").write_text(JOB, encoding="utf-8")
    done = cluster.run("sbatch", "--parsable", "-N2", "-n2", "-o", "log", "ranks.sh", folder=tmp_path)
    cluster.wait([int(done.stdout)])
    assert (tmp_path / "log").read_text().splitlines() == [str([node.name for node in cluster.nodes])] * 4


@pytest.mark.timeout(150)
def test_doctor_looks_at_all_nodes(cluster: "Cluster", tmp_path: Path) -> None:
    nodes = len(cluster.nodes)
    doctor = f'. {CHECKOUT}/jobs/launch.sh; launch doctor -o "$1"'
    (tmp_path / "doctor.sh").write_text(f"#!/bin/bash\nset -euo pipefail\n{doctor}\n", encoding="utf-8")
    done = cluster.run("sbatch", "--parsable", f"-N{nodes}", "-n2", "-o", "log", "doctor.sh", "run", folder=tmp_path)
    cluster.wait([int(done.stdout)])
    log = (tmp_path / "log").read_text()
    assert f"2 on {', '.join(node.name for node in cluster.nodes)}, " in log, log
    assert "nodes reach each other over eth0" in log if nodes > 1 else "one node" in log, log
    assert "shared with its locks by 2 ranks" in log, log
    assert "site.sh: LJ_VAE_LAUNCHER=srun --mpi=pmix" in log, log
    assert "arrays of up to 1001 elements, at most 10000 jobs in the queue, sacct answers" in log, log
    done = cluster.run(CHECKOUT / "bin" / "lj-vae", "doctor", folder=tmp_path, LJ_VAE_LAUNCHER="srun --mpi=morse")
    assert done.returncode == 2 and "not ready: site file" in done.stderr, done.stderr
    assert "starts ranks by `srun --mpi=morse`, and this srun has pmix, " in done.stdout, done.stdout


@pytest.mark.timeout(100)
def test_doctor_finds_a_folder_that_nodes_do_not_share(cluster: "Cluster", tmp_path: Path) -> None:
    if len(cluster.nodes) < 2:
        pytest.skip(cluster.why)
    (tmp_path / "local").mkdir()
    mounted = f"mount -t tmpfs none {tmp_path}/local && exec {CHECKOUT}/bin/lj-vae doctor -o {tmp_path}/local"
    job = f"#!/bin/bash\nsrun --mpi=pmix unshare --mount sh -c '{mounted}'\n"
    (tmp_path / "doctor.sh").write_text(job, encoding="utf-8")
    done = cluster.run("sbatch", "--parsable", "-N2", "-n2", "-o", "log", "doctor.sh", folder=tmp_path)
    cluster.wait([int(done.stdout)])
    log = (tmp_path / "log").read_text()
    assert f"not ready: output folder: node2 see nothing of {tmp_path}/local" in log, log
