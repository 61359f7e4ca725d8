"""A run, opened for reading."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import COMMAND, UserError
from lj_vae_hpc.run.files import read_json
from lj_vae_hpc.run.folder import RunDir, load_for
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training.splits import Splits

if TYPE_CHECKING:
    from lj_vae_hpc.api.model import Model
    from lj_vae_hpc.api.suite import SuiteConfigurations

MODELS_SHOWN = 8
SplitName = Literal["training", "validation", "calibration", "test"]


class Run:
    """A run that was opened for reading.

    Args:
        path: the run's folder.

    Attributes:
        path: the run's folder.
        config: its resolved configuration, with a section of attributes per section of config.yaml.

    Raises:
        UserError: it is no run's folder, or its configuration cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._folder = RunDir(self.path.absolute())  # what is read later is found from any working directory
        if not self._folder.config.exists():
            state = "holds no config.yaml" if self.path.exists() else "does not exist"
            raise UserError(f"{self.path} {state}; name the folder of a run, which `{COMMAND} run -o RUN_DIR` makes")
        self.config: RunConfig = load_for(self._folder, None, ())

    def __repr__(self) -> str:
        return f"<run {self.path} of {self.config.system.n_particles} particles>"

    @property
    def positions(self) -> NDArray[np.float32]:
        """(n, N, 2) float32 in σ, mapped from data/dataset.h5. A slice reads only what it contains.

        This holds also for `energy` and `gamma`. The three behave like any NumPy array that must not be written to;
        `numpy.array(run.positions[:100])` is a copy of your own. Rows are in the order of the file: by γ, then by
        chain.

        Raises:
            UserError: the run has no data set, or it cannot be read.
        """
        return self._columns["positions"]

    @property
    def energy(self) -> NDArray[np.float64]:
        """(n,) total energy U of each configuration in ε, pairs and gravity; raises UserError as `positions`."""
        return self._columns["energy"]

    @property
    def gamma(self) -> NDArray[np.float64]:
        """(n,) γ = m g σ / ε of each configuration; raises UserError as `positions`."""
        return self._columns["gamma"]

    def split(self, name: SplitName) -> NDArray[np.int64]:
        """Row numbers of a split, ascending: `run.positions[run.split("test")]`.

        Args:
            name: `training`, `validation` (chooses the best epoch and calibrates the scores), `calibration` (calibrates
                the p-values) or `test` (seen by nothing).

        Raises:
            ValueError: there is no split of that name.
            UserError: as `positions`.
        """
        with _dataset(self._folder) as data:
            splits = vars(Splits.of(data.layout, self.config.training))
        if name not in splits:
            raise ValueError(f"there is no split {name!r}; choose one of {', '.join(splits)}")
        return np.sort(splits[name][:])

    @property
    def summary(self) -> dict[str, Any]:
        """What `lj-vae evaluate` found, as evaluation/summary.json holds it.

        Raises:
            UserError: the run is not evaluated yet, or the file is damaged.
        """
        path = self._folder.evaluation / "summary.json"
        if not path.exists():
            raise UserError(f"{path} does not exist; run `{COMMAND} evaluate -o {self.path}` first")
        summary: dict[str, Any] = read_json(path, f"run `{COMMAND} evaluate -o {self.path}` again")
        return summary

    def suite(self, name: str) -> "SuiteConfigurations":
        """The configurations of an anomaly suite: `run.suite("gamma_0.55").positions` are those sampled at γ = 0.55.

        Args:
            name: of the suite, as `run.summary` and the page have it.

        Returns:
            positions (n, N, 2) float32 in σ; gamma (n,); moved (n, N), which particles were put elsewhere, else None.

        Raises:
            ValueError: the run has no suite of that name.
            UserError: it is not sampled yet, or cannot be read; no model is trained yet.
        """
        from lj_vae_hpc.api.suite import read_suite  # late: it loads torch

        return read_suite(self._folder, self.config, self.model.gammas, name)

    @cached_property
    def model(self) -> "Model":
        """The trained model with its best weights.

        Raises:
            UserError: the run is not trained, or its weights are of another model than its configuration describes.
        """
        from lj_vae_hpc.api.model import Model  # late: it loads torch

        if self._folder.is_campaign:
            raise UserError(f"{self.path} is a campaign; {_models(self.path, self.config)}")
        return Model(self._folder, self.config)

    @cached_property
    def _columns(self) -> dict[str, NDArray[Any]]:
        with _dataset(self._folder) as data:
            return data.mapped()


def _models(path: Path, config: RunConfig) -> str:
    """What to open of a campaign: its finished models by folder, without those of an earlier configuration."""
    from lj_vae_hpc.scan.campaign import Campaign  # late: it loads numba

    finished = [task for task in Campaign(path, config).models if task.is_done()]
    shown = [f'open_run("{task.run.path}") ({task.label})' for task in finished[:MODELS_SHOWN]]
    more = len(finished) - len(shown)
    if not shown:
        return "none of its models is finished yet"
    return f"open one of its models: {', '.join(shown)}" + f" and {more} more" * bool(more)


@contextmanager
def _dataset(folder: RunDir) -> Iterator[Dataset]:
    """The data set, opened.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    if not folder.dataset.exists():
        raise UserError(f"no data set in {folder.path}; run `{COMMAND} generate -o {folder.path}` first")
    with Dataset(folder.dataset) as data:
        yield data
