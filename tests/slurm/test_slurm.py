"""The job templates under a real Slurm, with two tasks each."""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from tests.conftest import trials, workers

if TYPE_CHECKING:
    from tests.slurm.cluster import Cluster

pytestmark = pytest.mark.slurm

CHECKOUT = Path(__file__).resolve().parents[2]
COLUMNS = ("positions", "energy", "gamma", "ensemble", "chain", "acceptance")
GAMMAS, CONFIGURATIONS, N, SIDE = (0.1, 1.0), 60, 8, 5
CONFIG = f"""\
system:
  n_particles: {N}
  box_side: {SIDE}
sampling:
  gammas: {list(GAMMAS)}
  configurations: {CONFIGURATIONS}
  sweeps: 50
model:
  channels: [4, 4]
  latent_dim: 4
training:
  epochs: 1
  batch_size: 16
  validation_fraction: 0.2
  calibration_fraction: 0.2
  test_fraction: 0.2
evaluation:
  configurations: 40
  unseen_gammas: [3.0]
  claims: []
  fluids: {{soft: {{potential: soft}}}}
  size_ratio: null
  early_sweeps: null
  studies: []
  corruptions: {{corrupted: {{amplitude: 2.83}}, corrupted_mild: {{amplitude: 0.2}}}}
"""


@pytest.fixture(scope="module")
def reference(cluster: "Cluster", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small configuration, after `sbatch jobs/generate.slurm` without arguments."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "equilibrated.yaml").write_text(CONFIG, encoding="utf-8")
    job = cluster.submit(folder, "generate", LJ_VAE_CONFIG="equilibrated.yaml")
    assert job.status == 0, job.log
    assert cluster.show(job.id)["NumTasks"] == "2"
    return folder


def columns(run: Path) -> dict[str, np.ndarray]:
    """All columns of a run's data set, by plain h5py."""
    with h5py.File(run / "data" / "dataset.h5", "r") as file:
        return {name: file[name][()] for name in COLUMNS}


def check_data(run: Path) -> None:
    """The data set has the shapes of the configuration and physical values."""
    data = columns(run)
    rows = len(GAMMAS) * CONFIGURATIONS
    assert {name: values.shape for name, values in data.items()} == {
        name: (rows, N, 2) if name == "positions" else (rows,) for name in COLUMNS
    }
    assert np.isfinite(data["energy"]).all()
    assert data["positions"].min() >= 0 and data["positions"].max() <= SIDE
    assert [int((data["gamma"] == gamma).sum()) for gamma in GAMMAS] == [CONFIGURATIONS] * len(GAMMAS)


def check_training(run: Path, log: str) -> None:
    """One epoch, really on two ranks, each with the CPU that the job has for it and not with all that it finds."""
    assert "2 ranks x 1 thread" in log, log
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1]


def check_evaluation(run: Path) -> None:
    """The summary has the suites, and the page exists."""
    summary = json.loads((run / "evaluation" / "summary.json").read_text(encoding="utf-8"))
    assert {"corrupted", "corrupted_mild"} <= set(summary["suites"])
    assert (run / "evaluation" / "scores.h5").exists()
    assert "</html>" in (run / "report" / "index.html").read_text(encoding="utf-8")


@pytest.mark.timeout(200)
def test_jobs_from_sampling_to_the_page(cluster: "Cluster", reference: Path) -> None:
    run = reference / "runs" / "equilibrated"
    check_data(run)
    before = [node.sent() for node in cluster.nodes if len(cluster.nodes) > 1]
    job = cluster.submit(reference, "train")
    assert job.status == 0, job.log
    check_training(run, job.log)
    assert int(cluster.show(job.id)["NumNodes"]) == len(cluster.nodes)
    weights = (run / "model" / "best.safetensors").stat().st_size
    for node, sent in zip(cluster.nodes, before, strict=False):  # gradients of every step went over the network
        assert node.sent() - sent > 3 * weights, node
    job = cluster.submit(reference, "evaluate")
    assert job.status == 0, job.log
    check_evaluation(run)


@pytest.mark.timeout(150)
def test_mpirun_srun_and_a_single_rank_make_the_same_data(cluster: "Cluster", reference: Path, tmp_path: Path) -> None:
    """Launched by mpirun, and told by the environment which run."""
    (tmp_path / "small.yaml").write_text(CONFIG, encoding="utf-8")
    env = {"LJ_VAE_LAUNCHER": "mpirun", "LJ_VAE_CONFIG": "small.yaml", "LJ_VAE_OUTPUT": "mine"}
    job = cluster.submit(tmp_path, "generate", **env)
    assert job.status == 0, job.log
    done = cluster.run(CHECKOUT / "bin" / "lj-vae", "generate", "-c", "small.yaml", "-o", "single", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    single = columns(tmp_path / "single")
    for run in (reference / "runs" / "equilibrated", tmp_path / "mine"):
        for name, values in columns(run).items():
            assert values.dtype == single[name].dtype and values.tobytes() == single[name].tobytes(), (run, name)
    job = cluster.submit(tmp_path, "train", **env)
    assert job.status == 0, job.log
    check_training(tmp_path / "mine", job.log)


def signal_in_time(cluster: "Cluster", folder: Path, **env: str) -> int:
    """Starts a long job and signals it, as `#SBATCH --signal` does before the time limit: its steps, not its shell."""
    settings = ("-s", "sampling.configurations=4000", "-s", "sampling.segment_rows=500", "-o", "long")
    (folder / "small.yaml").write_text(CONFIG.replace("sweeps: 50", "sweeps: 2000"), encoding="utf-8")
    number = cluster.start(folder, "generate", "-c", "small.yaml", *settings, **env)
    while not list(folder.glob("long/data/ensembles/*/*-*.h5")):
        assert cluster.show(number)["JobState"] in ("PENDING", "CONFIGURING", "RUNNING")
        time.sleep(0.1)
    assert cluster.run("scancel", "--signal=USR2", str(number)).returncode == 0
    return number


@pytest.mark.timeout(150)
def test_a_signalled_job_saves_and_ends_with_75(cluster: "Cluster", tmp_path: Path) -> None:
    job = cluster.finish(signal_in_time(cluster, tmp_path, LJ_VAE_MAX_REQUEUES="0"), tmp_path, "generate")
    assert job.status == 75, job.log
    assert "stopped early after 0 of at most 0 requeues (LJ_VAE_MAX_REQUEUES)" in job.log
    assert 0 < len(list(tmp_path.glob("long/data/ensembles/*/*-*.h5"))) < 16


@pytest.mark.timeout(200)
def test_a_job_that_is_stopped_early_goes_back_into_the_queue(cluster: "Cluster", tmp_path: Path) -> None:
    """And what waits for its success still does, and then starts."""
    number = signal_in_time(cluster, tmp_path)
    after = ("--parsable", f"--dependency=afterok:{number}", "--kill-on-invalid-dep=yes", "--wrap=true")
    waiting = int(cluster.run("sbatch", *after, folder=tmp_path).stdout)
    cluster.wait([number, waiting])
    log = cluster.log(tmp_path, "generate", number)
    assert cluster.show(number)["JobState"] == cluster.show(waiting)["JobState"] == "COMPLETED", log
    assert cluster.show(number)["Restarts"] == "1"
    assert log.count("stopped early; back in the queue (1 of at most 20 times)") == 1, log
    assert log.count("of 8000 configurations are kept") == 2, log  # when it stopped, and when it went on
    assert len(columns(tmp_path / "long")["energy"]) == 8000


SAYS = """\
#!/bin/sh
[ "$SLURM_PROCID" != 0 ] || echo "$1 in element $SLURM_ARRAY_TASK_ID has $LJ_VAE_MAX_HOURS hours"
sleep 2
[ "$1-$SLURM_ARRAY_TASK_ID-$SLURM_RESTART_COUNT" != evaluate-1- ] || exit 75
"""


@pytest.mark.timeout(150)
def test_elements_of_an_array_know_their_time_and_are_requeued_alone(cluster: "Cluster", tmp_path: Path) -> None:
    """Every command gets the time that is left; the last element, whose number is that of the array, stops early."""
    (tmp_path / "jobs").symlink_to(CHECKOUT / "jobs")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "lj-vae").write_text(SAYS, encoding="utf-8")
    (tmp_path / "bin" / "lj-vae").chmod(0o755)
    array = cluster.start(tmp_path, "evaluate", SBATCH_ARRAY_INX="0-1", SBATCH_OUTPUT="%a.out")
    elements = [f"{array}_{k}" for k in range(2)]
    cluster.wait(elements)
    assert [cluster.show(name)["JobState"] for name in elements] == ["COMPLETED"] * 2, cluster.logs()
    said = [[line.split() for line in (tmp_path / f"{k}.out").read_text().splitlines()] for k in range(2)]
    hours = [[(words[0], float(words[-2])) for words in lines if words[-1] == "hours"] for lines in said]
    assert [[name for name, _ in part] for part in hours] == [
        ["evaluate", "report"], ["evaluate", "evaluate", "report"],
    ], said  # fmt: skip
    for part in hours:
        (_, first), (_, second) = part[-2:]
        assert 0.95 < first <= 1 and 1 <= 3600 * (first - second) < 60


@pytest.mark.timeout(150)
def test_two_jobs_share_a_search(cluster: "Cluster", reference: Path) -> None:
    """At once, of one task each."""
    settings = ("-s", "tuning.trials=6", "-s", "tuning.epochs=1")
    jobs = [cluster.start(reference, "tune", *settings, tasks=1) for _ in range(2)]
    done = [cluster.finish(number, reference, "tune") for number in jobs]
    assert [job.status for job in done] == [0, 0], done
    tuning = reference / "runs" / "equilibrated" / "tuning"
    found = trials(tuning.parent)
    assert len(found) == 6 and all(trial.state.is_finished() for trial in found) and len(workers(tuning.parent)) == 2
    assert (tuning / "best.yaml").exists() and (tuning / "importance.svg").exists()


def pipeline(cluster: "Cluster", folder: Path, *arguments: str, **env: str) -> tuple[list[int], str]:
    """Job ids and output of jobs/pipeline.sh, after all of them have ended."""
    done = cluster.run(
        CHECKOUT / "jobs" / "pipeline.sh",
        *arguments,
        folder=folder,
        SBATCH_OPTIONS=f"-n 2 -N {len(cluster.nodes)}",
        **env,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()[:3]]
    assert [line[0] for line in lines] == ["generate", "train", "evaluate"], done.stdout
    ids = [int(line[2].rstrip(",")) for line in lines]
    cluster.wait(ids)
    return ids, done.stdout


@pytest.mark.timeout(200)
def test_pipeline_runs_from_sampling_to_the_page(cluster: "Cluster", tmp_path: Path) -> None:
    """The command line wins over the environment."""
    (tmp_path / "small.yaml").write_text(CONFIG, encoding="utf-8")
    ids, output = pipeline(cluster, tmp_path, "-c", "small.yaml", "-s", "seed=7", LJ_VAE_CONFIG="no/such.yaml")
    for number, stage in zip(ids, ("generate", "train", "evaluate"), strict=True):
        job = cluster.show(number)
        assert (job["JobState"], job["NumTasks"]) == ("COMPLETED", "2"), cluster.log(tmp_path, stage, number)
    assert f"squeue --jobs={ids[0]},{ids[1]},{ids[2]}" in output
    assert "seed: 7\n" in (tmp_path / "runs" / "small" / "config.yaml").read_text(encoding="utf-8")
    check_data(tmp_path / "runs" / "small")
    check_evaluation(tmp_path / "runs" / "small")


@pytest.mark.timeout(150)
def test_bad_configuration_ends_every_job_of_a_pipeline(cluster: "Cluster", tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(CONFIG, encoding="utf-8")
    ids, _ = pipeline(cluster, tmp_path, "-c", "small.yaml", "-s", "sampling.sweeps=0")
    first, *others = [cluster.show(number) for number in ids]
    assert (first["JobState"], first["ExitCode"]) == ("FAILED", "2:0")
    assert [job["JobState"] for job in others] == ["CANCELLED", "CANCELLED"]
    log = cluster.log(tmp_path, "generate", ids[0])
    assert log.count("lj-vae: error:") == 1 and "sampling.sweeps" in log and "Traceback" not in log, log
    assert not (tmp_path / "runs").exists()


@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"LJ_VAE_LAUNCHER": "rsh -x"}, "LJ_VAE_LAUNCHER is 'rsh -x'"),
        ({"LJ_VAE_LAUNCHER": "mpirun", "LJ_VAE_CONFIG": "missing.yaml"}, "missing.yaml"),
    ],
    ids=["no such launcher", "no configuration"],
)
def test_a_job_that_cannot_start_says_why(
    cluster: "Cluster", tmp_path: Path, env: dict[str, str | Path], message: str
) -> None:
    check_refusal(cluster, tmp_path, message, **env)


def check_refusal(cluster: "Cluster", folder: Path, message: str, **env: str | Path) -> None:
    """A job ends with status 2 and one message."""
    job = cluster.submit(folder, "generate", **env)
    assert job.status == 2, job.log
    assert cluster.show(job.id)["ExitCode"] == "2:0"
    assert job.log.count("lj-vae: error:") == 1 and message in job.log and "Traceback" not in job.log, job.log


@pytest.mark.timeout(150)
def test_a_checkout_that_is_not_set_up(cluster: "Cluster", tmp_path: Path) -> None:
    """No environment, then no site file."""
    for name in ("bin", "jobs"):
        shutil.copytree(CHECKOUT / name, tmp_path / name)
    (tmp_path / "lj_vae_hpc").symlink_to(CHECKOUT / "lj_vae_hpc")
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n', encoding="utf-8")  # without installed packages
    python.chmod(0o755)
    check_refusal(cluster, tmp_path, "run bin/bootstrap first", PATH=f"{tmp_path}:{cluster.env['PATH']}")
    (tmp_path / "jobs" / "site.sh").unlink()
    for log in tmp_path.glob("*.out"):
        log.unlink()
    check_refusal(cluster, tmp_path, "no " + str(tmp_path / "jobs" / "site.sh"))
