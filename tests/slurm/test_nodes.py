"""Ranks of one job on two nodes."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cluster import Cluster

pytestmark = pytest.mark.slurm

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
