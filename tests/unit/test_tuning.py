"""Searching hyperparameters: the number of trials asked for; the best of them; what is refused."""

import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from lj_vae_hpc.config.load import load
from lj_vae_hpc.errors import Stopped, UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir, open_run
from lj_vae_hpc.run.lock import Claims
from lj_vae_hpc.stages.tune import tune
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.loop import State, Trainer
from lj_vae_hpc.training.network import Network
from lj_vae_hpc.training.objective import Terms
from lj_vae_hpc.training.selection import description_length
from lj_vae_hpc.tuning.figures import write_figures
from lj_vae_hpc.tuning.study import Study
from lj_vae_hpc.tuning.trial import run_trial
from tests.conftest import ROOT, sampled_run, trials

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, and six trials of one epoch to come."""
    space = "{model.latent_dim: [2, 4, 8], training.learning_rate: {low: 1e-3, high: 0.1, spacing: log}}"
    settings = ("tuning.trials=6", "tuning.epochs=1", f"tuning.space={space}")
    return sampled_run(tmp_path_factory.mktemp("tuning") / "run", *settings)


@pytest.fixture
def run(sampled: Path, tmp_path: Path) -> Path:
    """The same in a folder of its own."""
    shutil.copytree(sampled, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def one_core() -> Iterator[None]:
    """A process has one thread then: less waiting for each other where much else is running."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


@pytest.mark.usefixtures("one_core")
def test_the_trials_asked_for_and_the_best_of_them(run: Path, lj_vae: Run) -> None:
    before = (run / "config.yaml").read_bytes()
    done = lj_vae("tune", "-o", run)
    assert done.returncode == 0, done.stderr
    everyone = trials(run)
    assert [trial.state for trial in everyone] == [TrialState.COMPLETE] * 6
    assert len(re.findall(r"^trial \d", done.stdout, re.MULTILINE)) == 6
    best = min(everyone, key=lambda trial: trial.value)
    config = load(run / "tuning/best.yaml")
    assert config.model.latent_dim == int(best.params["model.latent_dim"])
    assert config.training.learning_rate == pytest.approx(best.params["training.learning_rate"], rel=1e-3)
    assert f"best of 6 trials is trial {best.number} with {best.value:.1f} nats" in done.stdout
    options = re.findall(r"-s (\S+=\S+)", done.stdout)
    assert load(run / "config.yaml", tuple(options)).model_dump(exclude={"tuning"}) == config.model_dump(
        exclude={"tuning"}
    )
    for name in ("history", "slice", "importance"):
        assert (run / f"tuning/{name}.svg").read_text().rstrip().endswith("</svg>")
    assert (run / "config.yaml").read_bytes() == before and not list((run / "tuning/trials").glob("*"))
    open_run(World(), run, run / "tuning/best.yaml", (), writing=False)  # train accepts it
    with pytest.raises(UserError, match=r"holds the study of another configuration: model\.channels is"):
        tune(World(), RunDir(run), None, ("model.channels=[2,2]",))


def test_a_key_that_the_stored_configuration_lacks_has_its_default(run: Path) -> None:
    """As in a folder made before the key existed; a value other than the default is still refused."""
    config = load(run / "config.yaml", ("tuning.trials=2", "tuning.epochs=1")).to_yaml()
    shorter = re.sub(r"^  (linear_path|checkpoint_minutes|mirror): .*\n", "", config, flags=re.MULTILINE)
    assert len(config.splitlines()) == len(shorter.splitlines()) + 3
    (run / "tuning").mkdir()
    (run / "tuning/config.yaml").write_text(shorter)
    tune(World(), RunDir(run), None, ())
    tune(World(), RunDir(run), run / "tuning/best.yaml", ("training.checkpoint_minutes=3", "tuning.trials=3"))
    assert len(trials(run)) == 3
    (run / "tuning/config.yaml").write_text(shorter)
    with pytest.raises(UserError, match=r"model\.linear_path is True there, False here"):
        tune(World(), RunDir(run), None, ("model.linear_path=false",))


def test_the_same_study_gives_the_same_figures(tmp_path: Path) -> None:
    study = optuna.create_study()
    choices, span = CategoricalDistribution(["[16,32]", "[60,50]"]), FloatDistribution(1e-4, 1e-2, log=True)
    for number in range(8):
        params = {"model.channels": choices.choices[number % 2], "training.learning_rate": 1e-4 * 1.5**number}
        distributions = {"model.channels": choices, "training.learning_rate": span}
        study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=5.0 * number))
    written = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        write_figures(study, folder)
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert set(written[0]) == {"history.svg", "slice.svg", "importance.svg"} and written[0] == written[1]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 276.00 MiB."),
    ],
)
def test_a_trial_without_enough_memory_does_not_stop_the_search(
    error: Exception, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = Trainer.fit

    def lacking(trainer: Trainer, state: State) -> None:
        if trainer.folder.name == "0000":
            raise error
        fit(trainer, state)

    monkeypatch.setattr(Trainer, "fit", lacking)
    tune(World(), RunDir(run), None, ("tuning.trials=2",))
    assert [trial.state for trial in trials(run)] == [TrialState.PRUNED, TrialState.COMPLETE]
    assert trials(run)[0].user_attrs["reason"].startswith("not enough memory")


def test_a_search_without_time_begins_no_trial(run: Path) -> None:
    world = World()
    world.stop.limit_hours(1e-9)
    with pytest.raises(Stopped):
        tune(world, RunDir(run), None, ())
    assert not trials(run)


def test_the_value_of_a_trial() -> None:
    """The bound with z drawn from q: 15 pairs of particles, two nats of KL in each of three dimensions.

    The mean squared error of 36 entries of the matrix, six of which are the zeros of its diagonal, is 0.01.
    """
    config = load(None, ("system.n_particles=6", "model.latent_dim=3"))
    seen = []

    def forward(_: object, criterion: object, part: Configurations, noise: torch.Tensor) -> Terms:
        seen.append(noise)
        one = torch.ones(len(part.gamma))
        return Terms(one, 0.01 * one, 6.0 * one, one)

    trainer = SimpleNamespace(
        network=Network.of(config), validation=range(40, 100),
        read=lambda rows: Configurations(np.zeros((len(rows), 6, 2), np.float32), np.zeros(len(rows))),
        batches=SimpleNamespace(batch_size=25), _forward=forward,
    )  # fmt: skip
    measured = description_length(trainer, config)
    assert measured["nats"] == pytest.approx(7.5 * math.log(2 * math.pi * math.e * 0.012) + 6)
    assert measured["mse"] == pytest.approx(0.012) and measured["kl"] == pytest.approx(6)
    noise = torch.cat(seen)
    assert noise.shape == (60, 1, 3) and 0.7 < noise.std() < 1.3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.nonsense=[1, 2]", "model.nonsense cannot be searched; the keys that can are model.encoder,"),
        ("system.n_particles=[8, 9]", "system.n_particles cannot be searched"),
        ("training.epochs=[8, 9]", "training.epochs cannot be searched"),
        ("model.latent_dim={low: 9, high: 4}", "tuning.space.model.latent_dim: low 9 must be less than high 4"),
        ("model.latent_dim={low: 0, high: 4}", "model.latent_dim: input should be greater than 0, not 0"),
        ("model.latent_dim={low: 1.5, high: 4}", "model.latent_dim: input should be a valid integer, not 1.5"),
        ("model.latent_dim={low: 1, upper: 4}", "unknown key tuning.space.model.latent_dim.upper; valid keys of"),
        ("training.learning_rate={low: 0, high: 1, spacing: log}", "spacing log needs low > 0, not 0"),
        ("model.channels={low: 1, high: 4}", "model.channels: is not a number; give a list"),
        ("model.channels=[]", "model.channels: give at least one choice and none of them twice, not []"),
    ],
)
def test_a_space_that_makes_no_sense(setting: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        load(None, (f"tuning.space.{setting}",))


def test_a_space_without_keys() -> None:
    with pytest.raises(UserError, match=re.escape("tuning.space: is empty")):
        load(None, ("tuning.space.model={latent_dim: null}",))


def test_a_refused_search_writes_nothing(run: Path, lj_vae: Run, tmp_path: Path) -> None:
    done = lj_vae("tune", "-o", run, "-s", "tuning.space.model.nonsense=[1]")
    assert (
        done.returncode == 2 and "Traceback" not in done.stderr and "model.nonsense cannot be searched" in done.stderr
    )
    assert not (run / "tuning").exists()
    done = lj_vae("tune", "-o", tmp_path / "none", ranks=2)
    assert done.returncode == 2 and done.stderr.count("no data set in") == 1 and not (tmp_path / "none").exists()


def test_other_commands_never_load_optuna() -> None:
    code = "import sys; import lj_vae_hpc.cli, lj_vae_hpc.stages.train; sys.exit('optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


class Impatient(World):
    """Asks to stop after two epochs."""

    asked = 0

    def should_stop(self) -> bool:
        self.asked += 1
        return self.asked > 1


def test_a_stopped_trial_is_continued_to_the_same_values(run: Path) -> None:
    config = load(run / "config.yaml", ("tuning.epochs=5", "tuning.trials=1"))
    reported: list[str] = []
    values, epochs = {}, []
    with Dataset(run / "data/dataset.h5") as data:
        for name in ("whole", "stopped"):
            (run / name).mkdir()
            after_epoch = partial(reported.append, name)
            study = Study(run / name, Claims(run / name / "claims"), config)
            trial = study.next_trial()
            if name == "stopped":
                with pytest.raises(Stopped):
                    run_trial(Impatient(), study, trial, data, config, torch.device("cpu"), after_epoch)
                study.suspend(trial)
                assert not study.is_finished and not study.finished_trials()
                trial = study.next_trial()
                epochs = list(trial.study.trials[0].intermediate_values)
            run_trial(World(), study, trial, data, config, torch.device("cpu"), after_epoch)
            values[name] = study.finished_trials()[0].intermediate_values
            assert study.next_trial() is None
    assert epochs == [1, 2] and reported == ["whole"] * 5 + ["stopped"] * 5, "no epoch was trained twice"
    assert len(values["whole"]) == 5 and values["whole"] == values["stopped"]
