"""Searches hyperparameters on a run's data set: every rank trains whole trials by itself."""

import time
from pathlib import Path
from typing import Any

import torch

from lj_vae_hpc.config.load import load
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import Stopped, UserError
from lj_vae_hpc.model.convolution import warm_up
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.files import write_text
from lj_vae_hpc.run.folder import RunDir, differences
from lj_vae_hpc.run.lock import Claims
from lj_vae_hpc.sampling.plan import FREE_KEYS
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training.hardware import choose_device
from lj_vae_hpc.training.network import Network
from lj_vae_hpc.training.setup import check_data
from lj_vae_hpc.tuning.study import Study
from lj_vae_hpc.tuning.summary import Outcome
from lj_vae_hpc.tuning.trial import run_trial

CLAIMS = ".claims"
PAUSE = 1.0  # seconds between looks at what others work on


def tune(world: World, run: RunDir, config_file: Path | None, overrides: tuple[str, ...]) -> None:
    """The command: trials until `tuning.trials` of them are finished in the study, which any number of jobs may share.

    What is minimised is the description length of the validation split (training.selection). The run's folder is not
    locked: nothing outside its part for tuning is written.

    Raises:
        UserError: bad configuration, no complete data set, the study is of another configuration, a damaged journal.
    """
    config = world.on_root(lambda: _adopt(run, config_file, overrides))
    torch.set_num_threads(world.threads_per_rank())
    torch.set_flush_denormal(True)
    device = choose_device(config.training, world)
    world.node_by_node(lambda: warm_up(Network.of(config).module))
    claims, alone = Claims(run.tuning / CLAIMS), world.alone()
    world.on_root(lambda: Study(run.tuning, claims, config))  # makes it, if it is new
    study = Study(run.tuning, claims, config)
    outcome = Outcome(run.tuning, study, config, world.is_root)
    with Dataset(run.data, check_segments=False) as data:
        while not alone.stop_requested():
            trial = study.begin()
            if trial is None:
                if study.complete:
                    break
                outcome.show()
                time.sleep(PAUSE)
                continue  # what others work on is this rank's if they are killed
            try:
                run_trial(alone, study, trial, data, config, device, outcome)
            except Stopped:
                study.pause(trial)
                break
    world.barrier()
    world.on_root(outcome.show)
    if not world.on_root(lambda: study.complete):
        raise Stopped(f"{len(study.finished())} of {config.tuning.trials} trials are in {run.tuning}")

    def conclude() -> None:
        with claims.alone():  # another job may end at the same time
            outcome.conclude()

    world.on_root(conclude)


def _adopt(run: RunDir, config_file: Path | None, overrides: tuple[str, ...]) -> RunConfig:
    """The configuration given, else the study's, else the run's; the study's if it has one but for what is free."""
    home = run.tuning / "config.yaml"
    config = load(config_file or next((path for path in (home, run.config) if path.exists()), None), overrides)
    check_data(run, config, 1)
    try:
        run.tuning.mkdir(exist_ok=True)
        with Claims(run.tuning / CLAIMS).alone():
            stored = load(home) if home.exists() else None
            different = differences(_fixed(stored), _fixed(config)) if stored else []
            if different:
                raise UserError(
                    f"{run.tuning} holds the study of another configuration: {'; '.join(different)}. Leave out what "
                    "differs, or move that folder away"
                )
            if config != stored:
                write_text(home, config.to_yaml())
    except OSError as error:
        raise UserError(f"cannot write the folder {run.tuning}: {error.strerror}") from None
    return config


def _fixed(config: RunConfig) -> dict[str, Any]:
    """What every trial of a study has in common."""
    free = {"sampling": set(FREE_KEYS), "training": {"epochs", "device"}, "tuning": {"trials"}}
    for key in config.tuning.space:
        section, name = key.split(".")
        free[section] = free.get(section, set()) | {name}
    return config.model_dump(mode="json", exclude={"evaluation": True, **free})
