"""What of a run was made with which keys of the configuration: these are fixed while it exists."""

from pathlib import Path
from typing import Any

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.sampling import Sampling
from lj_vae_hpc.config.training import Training
from lj_vae_hpc.errors import COMMAND, UserError

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
        same_data = has_model and not any(line.split(".")[0].split(" ")[0] in DATA for line in lines)
        raise UserError(
            f"{path} was made with another configuration: {'; '.join(lines)}. Choose another output folder with -o"
            + (f" (`--data {path}` uses the same data there)" if same_data else "")
            + ", or leave out what differs"
        )


def check_same_data(path: Path, stored: Sampling, sampling: Sampling) -> None:
    """Whether a command that takes a data set as it is was asked for another one.

    Args:
        path: the run's folder.
        stored: the section that its data set follows from.
        sampling: the one given.

    Raises:
        UserError: it has other γ, or another number of configurations.
    """
    both = zip(extent(stored), extent(sampling), strict=True)
    others = [(kept, new) for kept, new in both if kept != new]
    if others:
        theirs, new = (" and ".join(texts) for texts in zip(*others, strict=True))
        raise UserError(
            f"the data set in {path} has {theirs}, and all of it is used: leave out {new}. To change the data set, run "
            f"`{COMMAND} generate -o {path}` with the new values: it samples only what is missing, and keeps in "
            f"{path}/data/ensembles what it takes out"
        )


def leaving(stored: Sampling, sampling: Sampling) -> str | None:
    """What to say if a data set would lose γ or configurations, which are kept beside it; None if it does not.

    Args:
        stored: the section that it follows from.
        sampling: the new one.
    """
    before, after = set(stored.gamma_values), set(sampling.gamma_values)
    lost = [f"γ = {', '.join(f'{gamma:.12g}' for gamma in sorted(before - after))}"] if before - after else []
    if stored.configurations > sampling.configurations:
        lost.append(
            f"{stored.configurations - sampling.configurations} of {stored.configurations} configurations of each γ"
        )
    if not lost:
        return None
    most = max(stored.configurations, sampling.configurations)
    both = sampling.model_copy(update={"gammas": tuple(before | after), "configurations": most})
    return f"will no longer have {' and '.join(lost)}; {' '.join(f'-s {key}' for key in extent(both))} brings them back"


def extent(sampling: Sampling) -> tuple[str, str]:
    """The keys with which a data set grows."""
    gammas = [f"{gamma:.12g}" for gamma in sorted(sampling.gamma_values)]
    return f"sampling.gammas=[{','.join(gammas)}]", f"sampling.configurations={sampling.configurations}"


def check_used(path: Path, config: RunConfig, changed: RunConfig, uses: tuple[str, ...]) -> None:
    """Whether overrides change something for a command that takes a model as it is.

    Args:
        path: the run's folder.
        config: its configuration.
        changed: with the overrides.
        uses: the keys that may change.

    Raises:
        UserError: naming every other key.
    """
    lines = differences(config.model_dump(mode="json"), changed.model_dump(mode="json"))
    useless = [line for line in lines if line.split(" ")[0] not in uses]
    if useless:
        raise UserError(
            f"{'; '.join(useless)}: the model in {path} is used as it is, and this changes nothing; leave it out. "
            f"Only {' and '.join(uses)} can be set here"
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
