"""The folder of a run: its paths, its configuration, and whose data it uses."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lj_vae_hpc.config.load import load, read_tree, validated
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import COMMAND, UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.files import point, write_text
from lj_vae_hpc.run.lock import lock
from lj_vae_hpc.run.provenance import MODEL, check_same_data, check_unchanged, check_used

RUNS_SHOWN = 8  # beside one that does not exist


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

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report" / "index.html"

    @property
    def data_owner(self) -> Self | None:
        """The run whose data this one uses; None where the data are its own, also behind a link to another disk."""
        if not self.data.is_symlink():
            return None
        owner = type(self)((self.path / self.data.readlink()).parent.resolve())
        return owner if owner.config.exists() or not self.data.exists() else None

    @property
    def has_model(self) -> bool:
        """Whether training has left anything."""
        return any(self.model.glob("*.safetensors"))

    @property
    def is_campaign(self) -> bool:
        """Whether its models are those of a campaign, in folders of their own."""
        return not self.has_model and any(self.path.glob("models/*/config.yaml"))

    @property
    def has_data(self) -> bool:
        """Whether sampling has left anything that belongs to this run."""
        return not self.data_owner and (self.dataset.exists() or any(self.ensembles.glob("*/*.h5")))


def open_run(
    world: World, path: Path, config_file: Path | None, overrides: tuple[str, ...] = (), *, writing: bool = True,
    needs_data: bool = False, data: Path | None = None, uses: tuple[str, ...] | None = None,
) -> tuple[RunDir, RunConfig]:  # fmt: skip
    """The folder and configuration of a run, the same on every rank; makes the folder if it is new, and locks it.

    A folder belongs to the configuration it was made with (provenance). Without a configuration file an existing
    folder's own is taken.

    Args:
        world: the ranks.
        path: the folder.
        config_file: the configuration, if one is given.
        overrides: `section.key=value` each.
        writing: whether the command writes in the folder; one that only reads neither makes nor locks it.
        needs_data: whether the command needs a data set, and takes it as it is; without one nothing is made.
        data: another run, whose data set this one uses from now on.
        uses: keys that change what the command does with a model, if overrides of others are to be refused.

    Raises:
        UserError: bad configuration, the folder holds another one, is in use, or cannot be written; no data; an
            override that would change nothing, or the data.
    """
    run = RunDir(path)

    def opened() -> RunConfig:
        config = _open(run, config_file, overrides, writing, needs_data, data)
        if uses is not None:
            check_used(run.path, load_for(run, config_file, ()), config, uses)
        return config

    return run, world.on_root(opened)


def _open(
    run: RunDir, config_file: Path | None, overrides: tuple[str, ...], writing: bool, needs_data: bool,
    data: Path | None,
) -> RunConfig:  # fmt: skip
    config = load_for(run, config_file, overrides, data)
    if needs_data and not data:
        check_has_data(run, writing)
    stored = load(run.config) if run.config.exists() else None
    if writing and not stored and (run.has_model or (run.dataset.exists() and not run.data_owner)):
        raise UserError(
            f"{run.path} holds a data set or a model, but no config.yaml, which says what they are: put it back, or "
            "choose another output folder with -o"
        )
    try:
        if writing:
            run.path.mkdir(parents=True, exist_ok=True)
            lock(run.path)
        if stored:
            check_unchanged(run.path, stored, config, run.has_data, run.has_model)
            if needs_data and run.has_data:
                check_same_data(run.path, stored.sampling, config.sampling)
        if writing and data:
            link_data(run, RunDir(data))
        if writing and config != stored:
            write_text(run.config, config.to_yaml())
    except FileExistsError:
        raise UserError(f"{run.path} is a file; choose another output folder with -o") from None
    except OSError as error:
        raise UserError(f"cannot write the output folder {run.path}: {error.strerror}") from None
    if writing and not os.access(run.path, os.W_OK | os.X_OK):
        raise UserError(f"cannot write the output folder {run.path}: no permission")
    return config


def check_has_data(run: RunDir, writing: bool) -> None:
    """Whether a run has a data set.

    Args:
        run: the run.
        writing: whether the command writes there; one that only reads wants another run.

    Raises:
        UserError: it has none; what to do instead.
    """
    if not run.dataset.exists():
        raise UserError(f"no data set in {run.path}{_what_instead(run, writing)}")


def _whose(path: Path) -> str:
    """What was meant by --data: the run that a file or folder is of, or another run beside it."""
    for folder in (path.parent, path.parent.parent):
        if path.exists() and RunDir(folder).dataset.exists():
            return f"; name the run's folder, --data {folder}"
    return _what_instead(RunDir(path), writing=True)


def _what_instead(run: RunDir, writing: bool) -> str:
    missing = "" if run.path.exists() else f": {run.path} does not exist"
    beside = sorted(path.parents[1] for path in run.path.parent.glob("*/data/dataset.h5"))
    more = len(beside) - RUNS_SHOWN
    names = ", ".join(map(str, beside[:RUNS_SHOWN])) + f" and {more} more" * (more > 0)
    here = f"; here are {names}" * bool(beside)
    if not writing and beside:
        return f"{missing}; name a run with -o{here}"
    other = "-o or --data" if writing else "-o"
    return f"{missing}; run `{COMMAND} generate -o {run.path}` first, or name another run with {other}{here}"


def load_for(run: RunDir, config_file: Path | None, overrides: tuple[str, ...], data: Path | None = None) -> RunConfig:
    """The configuration given, else the run's own, else the defaults; what describes data of another run is that run's.

    Raises:
        UserError: bad configuration; the other run has no data; an override contradicts it.
    """
    source = config_file or (run.config if run.config.exists() else None)
    config = load(source, overrides)
    named = RunDir(data) if data else run
    owner = named.data_owner or (named if data else None)
    if owner is None:
        return config
    if not owner.dataset.exists():
        if data:
            raise UserError(f"--data {owner.path}: no data set there{_whose(owner.path)}")
        raise UserError(
            f"{run.path} uses the data of {owner.path}, where there are none any more: if that run was moved, tell "
            f"where it is by `{COMMAND} train -o {run.path} --data RUN_DIR`"
        )
    if not owner.config.exists():
        raise UserError(f"--data {owner.path}: no config.yaml there, which says what the data are")
    theirs = load(owner.config)
    for override in overrides:
        if override.startswith(("system.", "sampling.")) and load(owner.config, (override,)) != theirs:
            raise UserError(
                f"-s {override}: the data are those of {owner.path}, which were sampled as its configuration says; "
                "leave this out"
            )
    # Of what is given, not of what is resolved: `auto` is resolved for the other run's system.
    given = read_tree(source, overrides)
    tree = given | {"system": theirs.system.model_dump(), "sampling": theirs.sampling.model_dump()}
    found = validated(tree, f"{config_file or run.config} with the data of {owner.path}")
    if data and source is None:
        _say_if_defaults(validated({"system": tree["system"], "sampling": tree["sampling"]}, "the defaults"), named)
    return found


def _say_if_defaults(defaults: RunConfig, other: RunDir) -> None:
    """Prints a note if the defaults are not the settings of the run of --data, whose model the user may mean.

    Args:
        defaults: the built-in defaults, with the fluid and the sampling of the data.
        other: the run of --data.
    """
    theirs = load(other.config)
    if any(getattr(defaults, section) != getattr(theirs, section) for section in MODEL):
        print(
            f"note: model and training settings are the built-in defaults, not those of {other.path}; use -c "
            f"{other.config} to keep them",
            flush=True,
        )


def link_data(run: RunDir, owner: RunDir) -> None:
    """Lets a run use the data of another, which is only read: RUN_DIR/data becomes a relative link to it.

    Raises:
        UserError: the run has data of its own, or a model trained on others.
    """
    owner = owner.data_owner or owner
    if run.data.resolve() == owner.data.resolve():
        return
    if run.data.exists() and not run.data_owner:
        raise UserError(f"--data {owner.path}: {run.path} has data of its own; choose another output folder with -o")
    if run.has_model:
        raise UserError(
            f"--data {owner.path}: the model in {run.path} was trained on the data of {run.data.resolve().parent}; "
            "choose another output folder with -o"
        )
    point(run.data, owner.data)
