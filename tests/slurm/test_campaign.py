"""A campaign whose jobs are disturbed in every way ends with the products of one that was left alone."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from pyarrow import parquet

from tests.slurm.cluster import CHECKOUT

if TYPE_CHECKING:
    from tests.slurm.cluster import Cluster

pytestmark = pytest.mark.slurm
T = TypeVar("T")

GAMMAS, MODELS = int(os.environ.get("TEST_GAMMAS", "4")), int(os.environ.get("TEST_MODELS", "1"))
CONFIG = f"""\
seed: 3
system: {{n_particles: 8, box_side: 5.0}}
sampling:
  protocol: {os.environ.get("TEST_PROTOCOL", "reference")}
  gammas: {{start: 0.1, stop: 1.0, num: {GAMMAS}}}
  configurations: 100
  sweeps: 50
  segment_rows: 25
model: {{width: 16}}
training:
  {{epochs: 1, batch_size: 64, validation_fraction: 0.2, calibration_fraction: 0.1, test_fraction: 0.2}}
evaluation:
  configurations: 40
  unseen_gammas: []
  claims: []
  fluids: {{}}
  size_ratio: null
  early_sweeps: null
  studies: []
  corruptions: {{corrupted: {{amplitude: 2.83}}}}
scan: {{grid: {{model.latent_dim: {[3, 4][:MODELS]}}}}}
"""
MEGABYTES = 160
TWO_RANKS = ("mpirun", "--allow-run-as-root", "-n", "2")  # as the jobs: the weights follow from the number of ranks


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a small disk of its own, if such can be had here."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "none", str(folder)], capture_output=True
    ).returncode
    yield folder
    if mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Campaign:
    """A campaign on the cluster, and what can happen to its jobs."""

    def __init__(self, cluster: "Cluster", folder: Path, record: Path) -> None:
        self.cluster, self.folder, self.record = cluster, folder, record
        (folder / "campaign.yaml").write_text(CONFIG, encoding="utf-8")
        record.touch()

    def call(
        self, command: str, *arguments: str, launcher: Sequence[str] = (), statuses: Collection[int] = (0,), **env: str
    ) -> str:
        """A command on the campaign; what it printed."""
        env |= {"RECORD": str(self.record), "PYTHONPATH": str(CHECKOUT / "tests" / "slurm" / "recorder")}
        lj_vae = CHECKOUT / "bin" / "lj-vae"
        done = self.cluster.run(*launcher, lj_vae, "scan", command, "-o", self.folder / "c", *arguments, **env)
        assert done.returncode in statuses, done.stdout + done.stderr + self.logs()
        return done.stdout

    def submit(self, *options: str, **env: str) -> int:
        """Submits; the number of tasks that were."""
        settings = ("-c", str(self.folder / "campaign.yaml"), "--job-minutes", "0.00001")
        said = self.call("submit", *settings, "--", "--ntasks=2", *options, **env)
        return int(said.split("in the queue, ")[1].split()[0])

    def ranks(self) -> dict[int, tuple[str, str]]:
        """Processes that sample or have sampled and still live: element (ID_INDEX) and node of each."""
        found = {}
        for line in self.record.read_text(encoding="utf-8").splitlines():
            process = int(line.split()[3])
            try:
                environment = Path(f"/proc/{process}/environ").read_text(encoding="utf-8")
            except OSError:
                continue
            values = dict(part.split("=", 1) for part in environment.split("\0") if "=" in part)
            if "SLURM_ARRAY_JOB_ID" in values:
                element = f"{values['SLURM_ARRAY_JOB_ID']}_{values['SLURM_ARRAY_TASK_ID']}"
                found[process] = (element, values["SLURMD_NODENAME"])
        return found

    def victim(self, spared: Collection[str] = ()) -> tuple[int, str, str]:
        """A rank that samples, its element and its node; not of the elements given, nor of the first of an array."""

        def look() -> list[tuple[int, str, str]]:
            return [
                (process, element, node) for process, (element, node) in self.ranks().items()
                if element not in spared and not element.endswith("_0")
            ]  # fmt: skip

        return self.wait_for(look)[0]

    def wait_for(self, look: Callable[[], T], seconds: float = 300.0) -> T:
        """Until there is something to see; what it is."""
        deadline = time.monotonic() + seconds
        while not (seen := look()):
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.05)
        return seen

    def drain(self) -> None:
        """Until the queue is empty."""
        self.wait_for(lambda: not self.cluster.run("squeue", "--me", "-h").stdout.strip())

    def logs(self) -> str:
        """What the jobs and the daemons printed."""
        logs = sorted((self.folder / "c" / "scan" / "logs").glob("*"))
        return "\n".join([*(f"--- {log.name}\n{log.read_text()}" for log in logs), self.cluster.logs()])


@pytest.mark.timeout(900)
def test_a_disturbed_campaign_loses_nothing(cluster: "Cluster", disk: Path, tmp_path: Path) -> None:
    """A full disk, a killed rank, a cancelled element, a time limit, a node that dies, ranks beside; then once more."""
    campaign = Campaign(cluster, disk, tmp_path / "record")
    lj_vae, quiet = CHECKOUT / "bin" / "lj-vae", tmp_path / "quiet"
    assert campaign.submit() == GAMMAS + 1 + MODELS
    if disk.is_mount():
        campaign.wait_for(campaign.ranks)
        fill(disk / "ballast")
        campaign.drain()
        assert "failed" in campaign.call("status")
        (disk / "ballast").unlink()
        assert campaign.submit("--time=1", "--signal=USR2@15", RECORD_SLOWLY="1") > 1 + MODELS

    process, killed, _ = campaign.victim()
    os.kill(process, signal.SIGKILL)
    _, cancelled, _ = campaign.victim({killed})
    cluster.run("scancel", cancelled)
    _, _, name = campaign.victim({killed, cancelled})
    node = next(one for one in cluster.nodes if one.name == name)
    cluster.crash_node(node)
    cluster.start_node(node)
    campaign.wait_for(lambda: any(element.endswith("_0") for element, _ in campaign.ranks().values()))
    with ThreadPoolExecutor() as threads:  # beside the slow element, for as long as it is patient with it
        beside = threads.submit(campaign.call, "run", launcher=TWO_RANKS, statuses=(0, 2))
        campaign.wait_for(lambda: "failed" in campaign.call("status"))
        campaign.drain()
        beside.result()
    assert " none.0 " in campaign.record.read_text(encoding="utf-8")
    assert "CLASH" not in campaign.record.read_text(encoding="utf-8")
    if disk.is_mount():  # the first element of the second submission met its time limit and went on by itself
        assert "stopped early; back in the queue" in campaign.logs()
    submissions = 1
    while campaign.submit():
        campaign.drain()
        submissions += 1
        assert submissions < 5, campaign.call("status") + campaign.logs()

    done = cluster.run(*TWO_RANKS, lj_vae, "scan", "run", "-c", disk / "campaign.yaml", "-o", quiet)
    assert done.returncode == 0, done.stderr
    done = cluster.run(lj_vae, "scan", "collect", "-o", quiet)
    assert done.returncode == 0, done.stderr
    campaign.call("collect")
    assert "CLASH" not in campaign.record.read_text(encoding="utf-8")
    check_equal(disk / "c", quiet)


def check_equal(campaign: Path, quiet: Path) -> None:
    """The data sets and all tables have the same bytes, but for the seconds that each model took."""
    assert (campaign / "data/dataset.h5").read_bytes() == (quiet / "data/dataset.h5").read_bytes()
    tables = sorted(path.name for path in (quiet / "tables").glob("*.csv"))
    assert {"ensembles.csv", "scores.csv"} <= set(tables)
    for name in tables:
        if name != "scores.csv":
            assert (campaign / "tables" / name).read_bytes() == (quiet / "tables" / name).read_bytes(), name
    ours, theirs = (
        parquet.read_table(folder / "tables" / "scores.parquet").drop_columns("core_seconds")
        for folder in (campaign, quiet)
    )
    assert theirs.num_rows and ours.equals(theirs)


def fill(path: Path) -> None:
    """Writes until the disk is full."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 16)):
            pass
