"""One trial of a search of hyperparameters, on one rank."""

import math
from pathlib import Path

import numpy as np
import optuna
import torch
from optuna.trial import Trial, TrialState

from lj_vae_hpc.config import RunConfig
from lj_vae_hpc.configfile import changed
from lj_vae_hpc.errors import Diverged, UserError
from lj_vae_hpc.model.vae import VAE
from lj_vae_hpc.parallel import World
from lj_vae_hpc.representation.batches import Batches, Splits
from lj_vae_hpc.representation.distances import distance_matrix, matrix_side
from lj_vae_hpc.stages.outcome import Outcome
from lj_vae_hpc.stages.study import Study
from lj_vae_hpc.stages.train import model_facts
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training import checkpoint
from lj_vae_hpc.training.hardware import choose_dtype
from lj_vae_hpc.training.loop import State, Trainer
from lj_vae_hpc.training.selection import description_length


def attempt(
    world: World, study: Study, trial: Trial, data: Dataset, base: RunConfig, device: torch.device, outcome: Outcome
) -> None:
    """One trial, and how it ended."""
    values = study.suggest(trial)
    try:
        config = changed(base, {**values, "training.epochs": base.tuning.epochs})
    except UserError as error:  # each value is possible, but not these together
        study.end(trial, TrialState.PRUNED, why=str(error))
        return
    try:
        _train(world, study.trial_folder(trial.number), trial, data, config, device, outcome)
        study.end(trial, TrialState.COMPLETE, trial.user_attrs["best"]["nats"])
    except optuna.TrialPruned:
        study.end(trial, TrialState.PRUNED, why="worse than the median")
    except Diverged:
        study.end(trial, TrialState.PRUNED, why="the loss is not finite")
    except torch.cuda.OutOfMemoryError:
        study.end(trial, TrialState.PRUNED, why="the GPU's memory is too small")


def _train(
    world: World, folder: Path, trial: Trial, data: Dataset, config: RunConfig, device: torch.device, outcome: Outcome
) -> None:
    """Trains from the trial's checkpoint, where it has one; the best epoch becomes its attribute `best`."""
    torch.manual_seed(config.seed % 2**63)
    module = VAE(matrix_side(config.system.n_particles, config.representation), config.model)
    module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(module.parameters(), lr=config.training.learning_rate)
    state, path = State(), folder / "checkpoint.safetensors"
    if path.exists():
        tensors, stored = checkpoint.load(path)
        checkpoint.restore(tensors, module, optimizer, path)
        state = State(**stored["state"])
    splits = Splits.of(data.rows, config.sampling.turn, config.training)

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
        module=module,
        optimizer=optimizer,
        objective=config.objective,
        encode=lambda p: distance_matrix(p, config.system.box_side, config.representation),
        read=lambda rows: np.asarray(data.read(rows, ("positions",))["positions"], dtype=np.float32),
        batches=Batches(splits.training, config.training.batch_size, config.seed),
        validation=splits.validation,
        dtype=choose_dtype(config.training, device),
        folder=folder,
        facts=model_facts(config),
        report=report,
        advance=lambda _: None,
    )
    trainer.fit(state, config.training.epochs)
