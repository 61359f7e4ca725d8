"""What of a run was made with which keys of the configuration: these are fixed while it exists."""

from pathlib import Path
from typing import Any

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.sampling import Sampling
from lj_vae_hpc.config.training import Training
from lj_vae_hpc.errors import UserError

DATA: dict[str, Any] = {"seed": True, "system": True, "sampling": True}
MODEL: dict[str, Any] = {"seed": True, "representation": True, "model": True, "objective": True, "training": True}
FREE: dict[str, Any] = {"sampling": set(Sampling.FREE), "training": set(Training.FREE)}
"""Keys that may change at any time. The data set grows with `gammas` and `configurations`; `evaluation` and `tuning`
are free as a whole."""


def check_unchanged(path: Path, stored: RunConfig, config: RunConfig, has_data: bool, has_model: bool) -> None:
    """Whether a configuration may be used in a run that was made with another.

    Both are compared as they are after validation, so that a key that is new since then has its default in both.

    Args:
        path: the run's folder.
        stored: its configuration.
        config: the new one.
        has_data: whether it has data of its own.
        has_model: whether it has a model.

    Raises:
        UserError: naming every key that differs.
    """
    fixed = (DATA if has_data else {}) | (MODEL if has_model else {})
    before, after = (one.model_dump(mode="json", include=set(fixed), exclude=FREE) for one in (stored, config))
    lines = differences(before, after)
    if lines:
        raise UserError(
            f"{path} was made with another configuration: {'; '.join(lines)}. Choose another output folder with -o"
            + (f" (`--data {path}` uses the same data there)" if has_model else "")
            + ", or leave out what differs"
        )


def differences(old: Any, new: Any, key: str = "") -> list[str]:
    """A line for every key that differs between two configurations."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for name in dict.fromkeys([*old, *new])
            for line in differences(old.get(name), new.get(name), f"{key}.{name}".lstrip("."))
        ]
    return [] if old == new else [f"{key} is {old} there, {new} here"]
