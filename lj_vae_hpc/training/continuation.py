"""Whether training goes on from a checkpoint, is done, or would not be right to continue."""

import shlex
from collections.abc import Sequence
from typing import Any

from lj_vae_hpc.config.training import Training
from lj_vae_hpc.errors import COMMAND, UserError
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.training.schedules import learning_rate

MOST_GAMMAS = 8  # that are listed


def schedule_facts(training: Training) -> dict[str, Any]:
    """What the learning rate of every epoch follows from, beside keys that never change."""
    return {"epochs": training.epochs} if training.schedule == "cosine" else {}


def why_done(stored: dict[str, Any], data: dict[str, Any], training: Training, run: RunDir) -> str | None:
    """Why there is nothing to train; None where there is.

    Args:
        stored: facts of the checkpoint.
        data: facts of the data set as it is now (setup.data_facts).
        training: the section.
        run: the run.

    Raises:
        UserError: the data set is another than the one of the epochs that are done, or the cosine schedule would have
            another length than the one it was begun with, and so a learning rate that jumps.
    """
    done = stored["state"]["epoch"]
    older = why_older(stored["data"], data, run)
    if training.epochs <= done:
        reason = f"{done} epochs are done, training.epochs is {training.epochs}: nothing to do"
        return f"{reason}. The weights are older than the data: {older}" if older else reason
    if older:
        raise UserError(
            f"{done} of {training.epochs} epochs are done, and more of them cannot continue on other data: {older}"
        )
    epochs = stored["schedule"].get("epochs", training.epochs)
    if training.epochs != epochs:
        before, after = (
            learning_rate(done, training.model_copy(update={"epochs": n})) for n in (epochs, training.epochs)
        )
        raise UserError(
            f"training.epochs is {training.epochs}, but {done} epochs are done under a cosine schedule of {epochs}: "
            f"the learning rate would jump from {before:.2g} to {after:.2g}. Set training.epochs={epochs}, or train "
            f"again on the same data: `{train_anew(run)} -s training.epochs={training.epochs}`. Under "
            "training.schedule=constant, epochs may be added at any time"
        )
    return None


def why_older(trained: dict[str, Any], data: dict[str, Any], run: RunDir) -> str | None:
    """What to say if weights are older than their data set; None where they are not.

    Args:
        trained: facts of the data that the weights were trained on.
        data: facts of the data set as it is now (setup.data_facts).
        run: the run.
    """
    if trained == data:
        return None
    return (
        f"the model was trained on {describe_size(trained)}; the data set now holds {describe_size(data)}. To train "
        f"the same model on all of it: `{train_anew(run)}`"
    )


def why_unfinished(done: int, training: Training, run: RunDir) -> str | None:
    """What to say if a training was stopped after some epochs; None if it came to its end."""
    if done >= training.epochs:
        return None
    return (
        f"training was stopped after {done} of {training.epochs} epochs; `{COMMAND} train -o {run.path}` continues it"
    )


def train_anew(run: RunDir) -> str:
    """The command that trains the same model in another folder, on all that the data set of the run holds now."""
    owner = run.data_owner or run
    return shlex.join([COMMAND, "run", "-c", str(run.config), "-o", "NEW", "--data", str(owner.path)])


def describe_size(data: dict[str, Any]) -> str:
    """How many configurations there are in all, and at which γ.

    Args:
        data: facts of a data set (setup.data_facts).
    """
    return f"{data['configurations'] * len(data['gammas']):,} configurations at {describe_gammas(data['gammas'])}"


def describe_gammas(gammas: Sequence[float]) -> str:
    """Every value of γ, or their number and range if there are many; they are ascending."""
    if len(gammas) > MOST_GAMMAS:
        return f"{len(gammas)} values of γ from {gammas[0]:g} to {gammas[-1]:g}"
    return "γ = " + ", ".join(f"{gamma:g}" for gamma in gammas)
