"""What every test may use."""

import gc
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lj_vae_hpc.config.load import load
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.physics.potentials.base import REGISTRY
from lj_vae_hpc.run.folder import RunDir

if TYPE_CHECKING:
    import optuna

gc.set_threshold(50_000)  # as `lj-vae` does
ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
SHIPPED = [*sorted((CONFIGS / "approaches").glob("*.yaml")), CONFIGS / "reference.yaml", CONFIGS / "equilibrated.yaml"]
KILLS = int(os.environ.get("TEST_KILLS", "5"))  # in each test that kills a command again and again
PATIENCE = ("--mca", "odls_base_sigkill_timeout", "0")  # seconds for which mpirun lets the other ranks live

TINY = """
seed: 3
sampling: {gammas: [0.1, 1.0], configurations: 60, sweeps: 40, segment_rows: 50}
system: {n_particles: 8, box_side: 5.0}
model: {latent_dim: 4, width: 16}
training: {epochs: 2, batch_size: 16, validation_fraction: 0.2, calibration_fraction: 0.1, test_fraction: 0.2}
evaluation:
  configurations: 40
  unseen_gammas: [3.0]
  claims: []
  fluids: {soft: {potential: soft}}
  size_ratio: null
  early_sweeps: null
  studies: []
  corruptions: {corrupted: {amplitude: 2.83}, corrupted_mild: {amplitude: 0.2}}
"""


def potential_keys() -> list[object]:
    """Every pair potential that there is, as `system.potential` gives it."""
    return [[18, 6] if name == "mie" else name for name in sorted(REGISTRY)]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A configuration file that runs in seconds."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def sampled_run(run: Path, *settings: str) -> Path:
    """A run folder with the tiny data set, made in this process; it has no lock."""
    from lj_vae_hpc.stages.generate import generate  # late: it loads numba

    run.mkdir(parents=True)
    (run / "config.yaml").write_text(TINY)
    config = load(run / "config.yaml", settings)
    (run / "config.yaml").write_text(config.to_yaml())
    generate(World(), RunDir(run), config)
    return run


def trials(run: Path) -> "list[optuna.trial.FrozenTrial]":
    """The trials of a run's search, if there is one."""
    import optuna  # late: few tests need it
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    journal = run / "tuning/journal.log"
    if not journal.exists() or not journal.stat().st_size:
        return []
    return optuna.load_study(study_name="lj-vae", storage=JournalStorage(JournalFileBackend(str(journal)))).get_trials()


def workers(run: Path) -> set[str]:
    """The processes that trained in a run's search."""
    lines = map(json.loads, (run / "tuning/journal.log").read_text().splitlines())
    return {line["worker_id"] for line in lines if "best" in line.get("user_attr", ())}


@pytest.fixture
def lj_vae() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line as a user would, on a number of ranks (0: without mpirun)."""

    def run(*arguments: object, ranks: int = 0, timeout: float = 200) -> subprocess.CompletedProcess[str]:
        launcher = ["mpirun", "--oversubscribe", "-n", str(ranks)] if ranks else []
        # A test may itself run under mpirun; its ranks must not be taken for ours.
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_COMM_", "PMIX_", "OMPI_MCA_ess"))}
        return subprocess.run(
            [*launcher, str(ROOT / "bin" / "lj-vae"), *map(str, arguments)],
            capture_output=True, text=True, timeout=timeout, env=environment, check=False,
        )  # fmt: skip

    return run


def children(process: int) -> list[int]:
    """Numbers of the processes that a process has started; those of mpirun are the ranks, in order."""
    return [int(c) for task in Path(f"/proc/{process}/task").glob("*/children") for c in task.read_text().split()]


def alive(process: int) -> bool:
    """Whether a process has not ended; one that only waits to be noticed has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(chance: random.Random, process: "subprocess.Popen[bytes]") -> None:
    """Ends mpirun or one of its ranks at once; the others, which would notice within some seconds, soon after.

    Mpirun very rarely misses the end of a rank; it and all ranks are then ended, as a batch system would do.
    """
    ranks = children(process.pid)
    victim = chance.choice([process.pid, *ranks])
    os.kill(victim, signal.SIGKILL)
    if victim == process.pid:
        time.sleep(0.03 * chance.random())
        _end(ranks)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        _end([*ranks, process.pid])
        process.wait()
    while any(map(alive, ranks)):
        time.sleep(0.01)


def _end(processes: list[int]) -> None:
    for number in filter(alive, processes):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
