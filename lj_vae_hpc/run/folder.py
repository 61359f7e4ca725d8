"""The folder of a run: its paths, and the configuration it belongs to."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lj_vae_hpc.config.load import load
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.sampling import Sampling
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.files import write_text
from lj_vae_hpc.run.lock import lock

# Changing these continues the same run.
FREE: Any = {"training": {"epochs", "device", "precision", "checkpoint_minutes"}, "sampling": set(Sampling.FREE)}


@dataclass(frozen=True)
class RunDir:
    """Paths of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def data(self) -> Path:
        """The data set's folder."""
        return self.path / "data"

    @property
    def dataset(self) -> Path:
        """All configurations, in one file."""
        return self.data / "dataset.h5"

    @property
    def ensembles(self) -> Path:
        """The segments and pilots of each ensemble that the data set is made of."""
        return self.data / "ensembles"

    @property
    def model(self) -> Path:
        """Checkpoints and weights."""
        return self.path / "model"

    @property
    def metrics(self) -> Path:
        """One JSON object per epoch."""
        return self.path / "metrics.jsonl"

    @property
    def evaluation(self) -> Path:
        """Scores, summary and the suites' own data."""
        return self.path / "evaluation"

    @property
    def tuning(self) -> Path:
        """The search of hyperparameters, with a configuration of its own."""
        return self.path / "tuning"

    def products(self) -> dict[Path, set[str]]:
        """What was made with which sections; they may be changed until it exists."""
        return {
            self.dataset: {"seed", "system", "sampling"},
            self.model: {"representation", "model", "objective", "training"},
            self.evaluation: {"evaluation"},
        }

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report" / "index.html"


def open_run(
    world: World, path: Path, config_file: Path | None, overrides: tuple[str, ...], writing: bool = True
) -> tuple[RunDir, RunConfig]:
    """The folder and configuration of a run, the same on every rank; makes the folder if it is new, and locks it.

    A folder belongs to the configuration it was made with: a section is fixed once something was made with it. Without
    a configuration file an existing folder's own is taken.

    Args:
        world: the ranks.
        path: the folder.
        config_file: the configuration, if one is given.
        overrides: `section.key=value` each.
        writing: whether the command writes in the folder; one that only reads neither makes nor locks it.

    Raises:
        UserError: bad configuration, the folder holds another one, is in use, or cannot be written.
    """
    run = RunDir(path)
    return run, world.on_root(lambda: _adopt(run, config_file, overrides, writing))


def _adopt(run: RunDir, config_file: Path | None, overrides: tuple[str, ...], writing: bool) -> RunConfig:
    if config_file is None and run.config.exists():
        config_file = run.config
    config = load(config_file, overrides)
    try:
        if writing:
            run.path.mkdir(parents=True, exist_ok=True)
            lock(run.path)
        stored = _check(run, config)
        if writing and config != stored:
            write_text(run.config, config.to_yaml())
    except OSError as error:
        raise UserError(f"cannot write the output folder {run.path}: {error.strerror}") from None
    if writing and not os.access(run.path, os.W_OK | os.X_OK):
        raise UserError(f"cannot write the output folder {run.path}: no permission")
    return config


def _check(run: RunDir, config: RunConfig) -> RunConfig | None:
    """The configuration that the folder holds, if any; what was made with it must be the same in the new one."""
    stored = load(run.config) if run.config.exists() else None
    if stored:
        lines = [
            line
            for product, sections in run.products().items()
            if product.exists()
            for line in differences(_fixed(stored, sections), _fixed(config, sections))
        ]
        if lines:
            raise UserError(
                f"{run.path} holds another configuration: {'; '.join(lines)}. "
                "Choose another output folder with -o, or leave out what differs"
            )
    return stored


def _fixed(config: RunConfig, sections: set[str]) -> dict[str, Any]:
    return config.model_dump(mode="json", include=sections, exclude=FREE)


def differences(old: Any, new: Any, key: str = "") -> list[str]:
    """A line for every key that differs between two configurations."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for name in dict.fromkeys([*old, *new])
            for line in differences(old.get(name), new.get(name), f"{key}.{name}".lstrip("."))
        ]
    return [] if old == new else [f"{key} is {old} there, {new} here"]
