"""One trial of a search of hyperparameters, on one rank."""

import math
from functools import partial
from pathlib import Path

import optuna
import torch
from optuna.trial import Trial, TrialState

from lj_vae_hpc.config.load import changed
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import Diverged, UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training import checkpoint
from lj_vae_hpc.training.batches import Batches, read_rows
from lj_vae_hpc.training.hardware import choose_dtype
from lj_vae_hpc.training.loop import State, Trainer
from lj_vae_hpc.training.selection import description_length
from lj_vae_hpc.training.setup import check_networks, first_state, model_facts, new_network
from lj_vae_hpc.training.splits import Splits
from lj_vae_hpc.tuning.study import Study
from lj_vae_hpc.tuning.summary import Outcome


def run_trial(
    world: World, study: Study, trial: Trial, data: Dataset, base: RunConfig, device: torch.device, outcome: Outcome
) -> None:
    """One trial, and how it ended."""
    values = study.suggest(trial)
    try:
        config = changed(base, {**values, "training.epochs": base.tuning.epochs})
        check_networks(config)
    except UserError as error:  # each value is possible, but not these together
        study.end(trial, TrialState.PRUNED, why=str(error))
        return
    try:
        _train(world, study.trial_folder(trial.number), trial, data, config, device, outcome)
        study.end(trial, TrialState.COMPLETE, trial.user_attrs["best"]["nats"])
    except optuna.TrialPruned:
        study.end(trial, TrialState.PRUNED, why="worse than the median")
    except Diverged:
        study.end(trial, TrialState.PRUNED, why="it diverged")
    except torch.cuda.OutOfMemoryError:
        study.end(trial, TrialState.PRUNED, why="the GPU's memory is too small")


def _train(
    world: World, folder: Path, trial: Trial, data: Dataset, config: RunConfig, device: torch.device, outcome: Outcome
) -> None:
    """Trains from the trial's checkpoint, where it has one; the best epoch becomes its attribute `best`."""
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
        outcome.show()

    trainer = Trainer(
        world=world,
        network=network,
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
