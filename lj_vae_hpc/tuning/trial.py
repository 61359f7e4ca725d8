"""One trial of a search of hyperparameters, on one rank."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import optuna
import torch
from optuna.trial import Trial, TrialState

from lj_vae_hpc.config.load import changed
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import Diverged, UserError, out_of_memory
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training import checkpoint
from lj_vae_hpc.training.batches import Batches, read_rows
from lj_vae_hpc.training.hardware import choose_dtype
from lj_vae_hpc.training.loop import State, Trainer
from lj_vae_hpc.training.memory import check_memory
from lj_vae_hpc.training.selection import description_length
from lj_vae_hpc.training.setup import check_networks, first_state, model_facts, new_network
from lj_vae_hpc.training.splits import Splits
from lj_vae_hpc.tuning.study import Study


def run_trial(
    world: World,
    study: Study,
    trial: Trial,
    data: Dataset,
    base: RunConfig,
    device: torch.device,
    after_epoch: Callable[[], None],
) -> None:
    """Trains one trial and records how it ended.

    Args:
        world: this rank alone.
        study: the study.
        trial: claimed by this process.
        data: the run's data set.
        base: the configuration that the trial's values change.
        device: what it trains on.
        after_epoch: called after every epoch.

    Raises:
        Stopped: asked to stop; the checkpoint is written and the trial is not finished.
    """
    values = study.suggest(trial)
    try:
        config = changed(base, {**values, "training.epochs": base.tuning.epochs})
        check_networks(config)
        check_memory(config)
    except UserError as error:  # each value is valid, but not their combination
        study.finish(trial, TrialState.PRUNED, reason=str(error))
        return
    try:
        _train(world, study.trial_folder(trial.number), trial, data, config, device, after_epoch)
        study.finish(trial, TrialState.COMPLETE, trial.user_attrs["best"]["nats"])
    except optuna.TrialPruned:
        study.finish(trial, TrialState.PRUNED, reason="worse than the median")
    except Diverged:
        study.finish(trial, TrialState.PRUNED, reason="training diverged")
    except Exception as error:
        if not (lack := out_of_memory(error)):
            raise
        study.finish(trial, TrialState.PRUNED, reason=str(lack))


def _train(
    world: World,
    folder: Path,
    trial: Trial,
    data: Dataset,
    config: RunConfig,
    device: torch.device,
    after_epoch: Callable[[], None],
) -> None:
    """Trains, from the trial's checkpoint if it has one; the best epoch becomes the trial's attribute `best`."""
    network, optimizer = new_network(config, device)
    splits, read = Splits.of(data.layout, config.training), partial(read_rows, data)
    path = folder / "checkpoint.safetensors"
    if path.exists():
        tensors, stored = checkpoint.load(path)
        checkpoint.restore(tensors, network.module, optimizer, path)
        state = State(**stored["state"])
    else:
        state = first_state(network, config, read, splits.training)

    def report(history: list[dict[str, float]]) -> None:
        measured = description_length(trainer, config)
        if not math.isfinite(measured["nats"]):
            raise Diverged("the loss is not finite")
        trial.report(measured["nats"], len(history))
        if measured["nats"] < trial.user_attrs.get("best", {"nats": math.inf})["nats"]:
            trial.set_user_attr("best", measured)
        if len(history) < config.training.epochs and trial.should_prune():
            raise optuna.TrialPruned
        after_epoch()

    trainer = Trainer(
        world=world,
        network=network,
        parallel=network.module,
        optimizer=optimizer,
        config=config,
        read=read,
        batches=Batches(splits.training, config.training.batch_size, config.seed),
        validation=splits.validation,
        dtype=choose_dtype(config.training, device),
        folder=folder,
        facts=model_facts(config),
        report=report,
        advance=lambda _: None,
    )
    trainer.fit(state)
