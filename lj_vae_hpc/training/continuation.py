"""Whether training goes on from a checkpoint, is done, or would not be right to continue."""

from pathlib import Path
from typing import Any

from lj_vae_hpc.config.training import Training
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.training.schedules import learning_rate


def schedule_facts(training: Training) -> dict[str, Any]:
    """What the learning rate of every epoch follows from, beside keys that never change."""
    return {"epochs": training.epochs} if training.schedule == "cosine" else {}


def why_done(stored: dict[str, Any], data: dict[str, Any], training: Training, run: Path) -> str | None:
    """Why there is nothing to train; None where there is.

    Args:
        stored: facts of the checkpoint.
        data: facts of the data set as it is now (setup.data_facts).
        training: the section.
        run: the run's folder.

    Raises:
        UserError: the data set is another than the one of the epochs that are done, or the cosine schedule would have
            another length than the one it was begun with, and so a learning rate that jumps.
    """
    done, trained = stored["state"]["epoch"], stored["data"]
    grown = trained["fingerprint"] != data["fingerprint"]
    older = (
        f"trained on {_size(trained)}, and the data set now holds {_size(data)}. To train on all of it, run "
        f"`lj-vae train -o NEW --data {run}`"
    )
    if training.epochs <= done:
        reason = f"{done} epochs are done, training.epochs is {training.epochs}: nothing to do"
        return f"{reason}. The weights are older than the data: they were {older}" if grown else reason
    if grown:
        raise UserError(
            f"{done} of {training.epochs} epochs are done, and more of them cannot continue on other data: the network "
            f"was {older}"
        )
    epochs = stored["schedule"].get("epochs", training.epochs)
    if training.epochs != epochs:
        before, after = (
            learning_rate(done, training.model_copy(update={"epochs": n})) for n in (epochs, training.epochs)
        )
        raise UserError(
            f"training.epochs is {training.epochs}, but {done} epochs are done under a cosine schedule of {epochs}: "
            f"the learning rate would jump from {before:.2g} to {after:.2g}. Set training.epochs={epochs}, or train "
            f"anew on the same data: `lj-vae train -o NEW --data {run} -s training.epochs={training.epochs}`. Under "
            "training.schedule=constant, epochs may be added at any time"
        )
    return None


def _size(data: dict[str, Any]) -> str:
    gammas = ", ".join(f"{gamma:g}" for gamma in data["gammas"][:8]) + ", ..." * (len(data["gammas"]) > 8)
    return f"{data['configurations']} configurations at each γ of {gammas}"
