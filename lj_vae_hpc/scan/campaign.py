"""A campaign: its folder, its configuration and its tasks.

What lies where:

    CAMPAIGN/config.yaml          the resolved configuration; CAMPAIGN is a run folder with data
    CAMPAIGN/data/ensembles/      the segments of every ensemble
    CAMPAIGN/data/dataset.h5      all γ, once they are sampled
    CAMPAIGN/sets/KEY/            a run folder with the data set of models over other γ or fewer configurations
    CAMPAIGN/models/NAME/         a run folder for each model, with a relative link to its data
    CAMPAIGN/suites/              the ensembles of the anomaly suites, which the models share
    CAMPAIGN/scan/                what Slurm was given, logs, failures, measured rates
    CAMPAIGN/tables/              what `collect` writes
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lj_vae_hpc.config.campaign import model_entries
from lj_vae_hpc.config.load import load
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.scan import Scan
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.run.files import write_text
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.run.provenance import check_unchanged
from lj_vae_hpc.sampling.ensemble import ensembles_of
from lj_vae_hpc.scan.tasks import DataTask, ModelTask, SampleTask, Task, finished_in


@dataclass(frozen=True)
class Campaign:
    """All tasks that a configuration asks for.

    Attributes:
        path: the folder.
        config: the configuration.
    """

    path: Path
    config: RunConfig

    @property
    def run(self) -> RunDir:
        """The folder as that of a run, whose data are all γ."""
        return RunDir(self.path)

    @property
    def suites(self) -> Path:
        """Folder of the ensembles of the models' anomaly suites."""
        return self.path / "suites"

    @property
    def state(self) -> Path:
        """Folder of what Slurm was given, of logs, failures and measured rates."""
        return self.path / "scan"

    @property
    def measured(self) -> Path:
        """Folder of what sampling took."""
        return self.state / "measured"

    @property
    def tables(self) -> Path:
        """Folder of the tables that `collect` writes."""
        return self.path / "tables"

    @property
    def page(self) -> Path:
        """The page that `collect` writes."""
        return self.path / "campaign.html"

    @cached_property
    def samples(self) -> tuple[SampleTask, ...]:
        """A task per γ, in order of γ."""
        return self._samples(self.config)

    @cached_property
    def data(self) -> DataTask:
        """The data set of all γ."""
        return DataTask(self.config, self.run, self.samples)

    @cached_property
    def models(self) -> tuple[ModelTask, ...]:
        """A task per model, without repetitions.

        Raises:
            UserError: a model that the configuration cannot give.
        """
        sets = {self.data.key: self.data}
        found: dict[str, ModelTask] = {}
        for label, config in model_entries(self.config):
            data = self._data(config)
            data = sets.setdefault(data.key, data)
            task = ModelTask(label, config, self.path / "models", data)
            found.setdefault(task.key, task)
        return tuple(found.values())

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """Every task by its key, in an order in which each comes after what it needs."""
        sets = {data.key: data for data in (self.data, *(model.data for model in self.models))}
        tasks: list[Task] = [*self.samples, *sets.values(), *self.models]
        return {task.key: task for task in tasks}

    def obsolete_models(self) -> list[tuple[Path, str]]:
        """Folders of models that the configuration no longer asks for, as after growth, with what they were called."""
        wanted = {task.name for task in self.models}
        folders = [path.parent for path in sorted((self.path / "models").glob("*/config.yaml"))]
        return [(path, finished_in(path).get("label", "not finished")) for path in folders if path.name not in wanted]

    def chosen(self, keys: Sequence[str]) -> list[Task]:
        """The tasks of some keys; those that the configuration no longer asks for are left out."""
        return [self.tasks[key] for key in keys if key in self.tasks]

    def done(self) -> set[str]:
        """Keys of the tasks whose products are there."""
        return {key for key, task in self.tasks.items() if task.is_done()}

    def _data(self, config: RunConfig) -> DataTask:
        """The data set of a model: that of all γ, or one of its own."""
        same = config.sampling.configurations == self.config.sampling.configurations
        if same and sorted(config.sampling.gamma_values) == [sample.ensemble.gamma for sample in self.samples]:
            return self.data
        own = config.sampling.model_copy(update={"gammas": tuple(sorted(config.sampling.gamma_values))})
        changes = {"sampling": own, "scan": Scan()}
        data = DataTask(self.config.model_copy(update=changes), self.run, self._samples(config))
        return DataTask(data.config, RunDir(self.path / "sets" / data.key.removeprefix("data-")), data.samples)

    def _samples(self, config: RunConfig) -> tuple[SampleTask, ...]:
        """The sampling tasks of a model's γ, each to the number of configurations of the campaign."""
        most = self.config.sampling.configurations
        ensembles = ensembles_of(self.config.seed, self.config.system, config.sampling)
        return tuple(SampleTask(ensemble, most, self.run.ensembles) for ensemble in ensembles)


def open_campaign(
    path: Path, config_file: Path | None, overrides: tuple[str, ...] = (), *, writing: bool = True
) -> Campaign:
    """The campaign of a folder; one rank calls this.

    Without a configuration file the folder's own is taken. If it writes, the configuration is stored there.

    Raises:
        UserError: bad configuration, the folder holds another campaign or run, or cannot be written.
    """
    run = RunDir(path)
    if not (config_file or run.config.exists()):
        raise UserError(f"no campaign in {path}; give its configuration with -c, or name another folder with -o")
    config = load(config_file or run.config, overrides)
    if config.sampling.protocol == "imported":
        raise UserError("sampling.protocol: imported cannot be sampled; a campaign needs equilibrated or reference")
    if run.data_owner:
        raise UserError(f"{path} uses the data of {run.data_owner.path}; a campaign needs a folder of its own, -o")
    stored = load(run.config) if run.config.exists() else None
    if stored:
        check_unchanged(path, stored, config, True, run.has_model)
    campaign = Campaign(path, config)
    _ = campaign.tasks  # finds faults of the models before anything is written
    if writing and config != stored:
        try:
            write_text(run.config, config.to_yaml(), shared=True)
        except OSError as error:
            raise UserError(f"cannot write the output folder {path}: {error.strerror}") from None
    return campaign
