"""Searches hyperparameters on a run's data set; every rank trains whole trials by itself."""

import time
from pathlib import Path
from typing import Any

import torch

from lj_vae_hpc.config.load import changed, load
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.sampling import Sampling
from lj_vae_hpc.errors import Stopped, UserError
from lj_vae_hpc.model.convolution import warm_up
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.files import write_text
from lj_vae_hpc.run.folder import RunDir, link_data, load_for
from lj_vae_hpc.run.lock import Claims
from lj_vae_hpc.run.provenance import differences
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training.hardware import choose_device, without_denormals
from lj_vae_hpc.training.network import Network
from lj_vae_hpc.training.setup import check_data
from lj_vae_hpc.tuning.study import Study
from lj_vae_hpc.tuning.summary import SearchSummary
from lj_vae_hpc.tuning.trial import run_trial

CLAIMS = ".claims"
POLL_SECONDS = 1.0  # between looks at the trials of other processes


@without_denormals()
def tune(
    world: World, run: RunDir, config_file: Path | None, overrides: tuple[str, ...], data: Path | None = None
) -> None:
    """The command: runs trials until `tuning.trials` are finished in the study, which any number of jobs may share.

    The search minimises the description length of the validation split (training.selection). It writes only in
    RUN_DIR/tuning and does not lock the run folder, so other commands may use the run meanwhile.

    Raises:
        UserError: bad configuration, no complete data set, a study of another configuration, or a damaged journal.
        Stopped: asked to stop before the search was finished.
    """
    config = world.on_root(lambda: _check_and_store_config(run, config_file, overrides, data))
    if world.is_root:
        print(f"tuning: {config.tuning.trials} trials of {config.tuning.epochs} epochs", flush=True)
    torch.set_num_threads(world.threads_per_rank())
    device = choose_device(config.training, world)
    world.node_by_node(lambda: warm_up(Network.of(config).module, device))
    claims, alone = Claims(run.tuning / CLAIMS), world.alone()
    world.on_root(lambda: Study(run.tuning, claims, config))  # a new study is created by one rank
    study = Study(run.tuning, claims, config)
    summary = SearchSummary(run.tuning, study, config, prints=world.is_root)
    with Dataset(run.dataset) as dataset:
        while not alone.should_stop():
            trial = study.next_trial()
            if trial is None:
                if study.is_finished:
                    break
                summary.print_new_trials()
                time.sleep(POLL_SECONDS)
                continue  # if another process is killed, this rank takes over its trial
            try:
                run_trial(alone, study, trial, dataset, config, device, summary.print_new_trials)
            except Stopped:
                study.suspend(trial)
                break
    world.barrier()
    world.on_root(summary.print_new_trials)
    if not world.on_root(lambda: study.is_finished):
        raise Stopped(f"{len(study.finished_trials())} of {config.tuning.trials} trials are in {run.tuning}")
    world.on_root(lambda: _write_results(claims, summary))


def _write_results(claims: Claims, summary: SearchSummary) -> None:
    with claims.alone():  # another job may finish at the same time
        summary.write_results()


def _check_and_store_config(
    run: RunDir, config_file: Path | None, overrides: tuple[str, ...], data: Path | None
) -> RunConfig:
    """Loads the configuration given, else the study's, else the run's, and stores it with the study.

    Only what trials have in common must agree with the study's configuration. Both are compared after validation, so
    a key that one of the files lacks has its default.
    """
    study_file = run.tuning / "config.yaml"
    found = [path for path in (study_file, run.config) if path.exists()]
    config = load_for(run, config_file or (found[0] if found else None), overrides, data)
    if data:
        run.path.mkdir(parents=True, exist_ok=True)
        link_data(run, RunDir(data))
    check_data(run, config, 1)
    try:
        changed(config, {"training.epochs": config.tuning.epochs})
    except UserError as error:
        raise UserError(f"tuning.epochs is {config.tuning.epochs}: {error}") from None
    try:
        run.tuning.mkdir(exist_ok=True)
        with Claims(run.tuning / CLAIMS).alone():
            stored = load(study_file) if study_file.exists() else None
            if stored and (different := differences(_trial_facts(stored), _trial_facts(config))):
                raise UserError(
                    f"{run.tuning} holds the study of another configuration: {'; '.join(different)}. Leave out what "
                    "differs, or move that folder away"
                )
            if config != stored:
                write_text(study_file, config.to_yaml())
    except OSError as error:
        raise UserError(f"cannot write the folder {run.tuning}: {error.strerror}") from None
    return config


def _trial_facts(config: RunConfig) -> dict[str, Any]:
    """What all trials of a study have in common."""
    free = {
        "sampling": set(Sampling.FREE) - {"gammas", "configurations"},
        "training": {"epochs", "device", "checkpoint_minutes"},
        "tuning": {"trials"},
    }
    for key in config.tuning.space:
        section, name = key.split(".")
        free[section] = free.get(section, set()) | {name}
    return config.model_dump(mode="json", exclude={"evaluation": True, **free})
