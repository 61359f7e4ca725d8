"""A campaign as job arrays of a real Slurm."""

import getpass
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lj_vae_hpc.scan.campaign import Campaign, open_campaign
from tests.conftest import TINY

if TYPE_CHECKING:
    from tests.slurm.cluster import Cluster

pytestmark = pytest.mark.slurm

CHECKOUT = Path(__file__).resolve().parents[2]
MODEL = "scan.models=[{model.latent_dim: 3}]"
SETTINGS = ("sampling.gammas=[0.1,0.4,0.7,1.0]", "training.epochs=1", "evaluation.fluids={}",
            "evaluation.unseen_gammas=[]")  # fmt: skip


class User:
    """Gives commands on a campaign."""

    def __init__(self, cluster: "Cluster", folder: Path) -> None:
        self._cluster, self._folder = cluster, folder
        (folder / "tiny.yaml").write_text(TINY)

    def scan(self, command: str, *settings: str, options: tuple[str, ...] = (), status: int = 0) -> str:
        """Runs a command of lj-vae scan; what it printed."""
        given = [word for setting in settings for word in ("-s", setting)]
        done = self._cluster.run(CHECKOUT / "bin/lj-vae", "scan", command, "-c", "tiny.yaml", "-o", "c", *given,
                                 *options, folder=self._folder)  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def limit(self, *most: str, where: tuple[str, ...] = ()) -> None:
        """Gives this user other limits."""
        which = ("where", f"name={getpass.getuser()}", *where)
        done = self._cluster.run("sacctmgr", "--immediate", "modify", "user", *which, "set", *most)
        assert done.returncode == 0, done.stdout + done.stderr

    def wait(self) -> None:
        """Until the queue is empty."""
        while self._cluster.run("squeue", "--noheader").stdout.strip():
            time.sleep(0.5)

    def campaign(self, *settings: str) -> Campaign:
        """As it is on disk."""
        return open_campaign(self._folder / "c", self._folder / "tiny.yaml", settings, writing=False)

    def segments(self) -> dict[Path, int]:
        """When each was written."""
        return {path: path.stat().st_mtime_ns for path in self._folder.glob("c/data/ensembles/*/*-*.h5")}

    def logs(self) -> str:
        """What the jobs printed."""
        return "\n".join(file.read_text() for file in sorted(self._folder.glob("c/scan/logs/*")))


@pytest.mark.timeout(240)
def test_a_campaign_from_submission_to_its_tables(cluster: "Cluster", tmp_path: Path) -> None:
    """Each array after what it needs; again, nothing is submitted; grown, only what is new."""
    user = User(cluster, tmp_path)
    options = ("--job-minutes", "0.001", "--at-once", "2", "--", "--ntasks=1", "--time=5")
    said = user.scan("submit", MODEL, *SETTINGS, options=options)
    assert "4 elements with 4 tasks" in said and "6 are submitted" in said, said
    again = user.scan("submit", MODEL, *SETTINGS, options=options)
    assert "0 are submitted" in again, again
    status = user.scan("status", MODEL, *SETTINGS)
    assert "not submitted" not in status and "failed" not in status, status
    user.wait()
    campaign = user.campaign(MODEL, *SETTINGS)
    assert len(campaign.done()) == 6, user.logs() + user.scan("status", MODEL, *SETTINGS)
    assert "model: 1 tasks, 1 done" in user.scan("status", MODEL, *SETTINGS)
    user.scan("collect", MODEL, *SETTINGS)
    assert (tmp_path / "c/tables/scores.parquet").exists()
    before = user.segments()
    grown = ("sampling.gammas=[0.1,0.4,0.7,1.0,1.2]", *SETTINGS[1:])
    said = user.scan("submit", *grown, options=options)
    assert "4 tasks are done, 0 were in the queue, 2 are submitted" in said, said
    user.wait()
    assert len(user.campaign(*grown).done()) == 6, user.logs()
    assert (
        before.items() < {path: path.stat().st_mtime_ns for path in tmp_path.glob("c/data/ensembles/*/*-*.h5")}.items()
    )


@pytest.mark.timeout(200)
def test_a_failed_element_is_named_and_submitted_again(cluster: "Cluster", tmp_path: Path) -> None:
    """What waited for it is cancelled, and comes again with it."""
    user = User(cluster, tmp_path)
    options = ("--job-minutes", "0.001", "--", "--ntasks=1", "--time=5")
    frozen = ("sampling.gammas=[0.1,1.0]", "system.temperature=0.02", "sampling.max_pilot_sweeps=2048")
    assert "3 are submitted" in user.scan("submit", *frozen, options=options)
    user.wait()
    status = user.scan("status", *frozen)
    assert "equilibrium was not proved" in status and "data: 1 tasks, 1 failed" in status, status
    free = (*frozen, "sampling.allow_unconverged=true")
    assert "are submitted" in user.scan("submit", *free, options=options)
    user.wait()
    assert len(user.campaign(*free).done()) == 3, user.logs() + user.scan("status", *free)
    refused = user.scan("submit", *free, "sampling.configurations=70", options=("--", "--partition=none"), status=2)
    assert "sbatch refused" in refused and "Traceback" not in refused, refused
    assert "not submitted" in user.scan("status", *free, "sampling.configurations=70")


@pytest.fixture
def limited(cluster: "Cluster", tmp_path: Path) -> Iterator[User]:
    """A user whose limits are as before afterwards."""
    user = User(cluster, tmp_path)
    yield user
    cluster.run("scancel", "--me")
    user.limit("MaxSubmitJobs=-1")


@pytest.mark.timeout(200)
def test_no_more_is_submitted_than_accounting_allows(cluster: "Cluster", limited: User) -> None:
    """Neither by a limit that sacctmgr tells, nor by one that only sbatch knows: that of one account of two."""
    held = ("--job-minutes", "0.001", "--", "--ntasks=1", "--hold")
    limited.limit("MaxSubmitJobs=3")
    said = limited.scan("submit", MODEL, *SETTINGS, options=held)
    assert "3 are submitted" in said and "3 tasks do not fit into the queue" in said, said
    assert "0 are submitted" in limited.scan("submit", MODEL, *SETTINGS, options=held)
    assert "sample: 4 tasks, 3 waiting, 1 not submitted" in limited.scan("status", MODEL, *SETTINGS)
    assert "at most 3 jobs in the queue, sacct answers" in cluster.run(CHECKOUT / "bin/lj-vae", "doctor").stdout
    cluster.run("scancel", "--me")
    limited.wait()
    limited.limit("MaxSubmitJobs=-1", where=("account=root",))
    limited.limit("MaxSubmitJobs=2", where=("account=physics",))
    said = limited.scan("submit", MODEL, *SETTINGS, options=held)
    assert "2 are submitted" in said and "4 tasks do not fit into the queue" in said, said


@pytest.mark.timeout(100)
def test_status_tells_how_slurm_ended_elements(cluster: "Cluster", tmp_path: Path) -> None:
    """Also those that had not started, which sacct puts on one line."""
    user = User(cluster, tmp_path)
    options = ("--job-minutes", "0.001", "--", "--ntasks=1", "--time=5", "--hold")
    assert "5 are submitted" in user.scan("submit", *SETTINGS, options=options)
    cluster.run("scancel", "--me")
    user.wait()
    deadline = time.monotonic() + 60.0
    while (status := user.scan("status", *SETTINGS)).count("ended as CANCELLED; ") < 5:
        assert time.monotonic() < deadline, status  # accounting lags behind
    assert "sample: 4 tasks, 4 failed" in status and status.count("ended as CANCELLED; ") == 5, status
