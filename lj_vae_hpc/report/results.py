"""What a run has left so far, read for its page."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import COMMAND, UserError
from lj_vae_hpc.evaluation.calibration import CLAIM, DEFAULT_SCORE
from lj_vae_hpc.evaluation.structure import density_profile, pair_distribution
from lj_vae_hpc.evaluation.summary import TABLE
from lj_vae_hpc.evaluation.weights import best_weights, digest
from lj_vae_hpc.report.page import command
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.sampling.summary import EnsembleSummary, summarize, watch
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.schema import Columns
from lj_vae_hpc.training.checkpoint import load_facts
from lj_vae_hpc.training.continuation import why_older, why_unfinished
from lj_vae_hpc.training.curves import read_metrics
from lj_vae_hpc.training.setup import data_facts

Arrays = dict[str, NDArray[Any]]

CONFIGURATIONS, PAIRS, MOST_GAMMAS = 1000, 4_000_000, 8  # of each γ, and of how many, for g(r) and ρ(y)


@contextmanager
def readable(run: RunDir) -> Iterator[None]:
    """Around whatever reads the results of a run.

    Raises:
        UserError: a file is damaged.
    """
    try:
        yield
    except (json.JSONDecodeError, KeyError, OSError) as error:
        message = (
            f"cannot read the results in {run.path} ({error!r:.100}); run `{COMMAND} evaluate -o {run.path}` again"
        )
        raise UserError(message) from None


@dataclass(frozen=True, eq=False)
class Results:
    """What a run has left.

    Attributes:
        run: the run.
        config: its configuration.
        columns: energy, gamma and others of every configuration, by name.
        ensembles: what is stored of each ensemble.
        ensemble_summaries: the mean and the verdict of each.
        structure: g(r) and ρ(y) of some γ.
        history: of the training, one entry per epoch; empty before it.
        summary: the content of summary.json; empty before the evaluation.
        studies: the content of studies.json.
        data: facts of the data set (setup.data_facts).
        trained: of the data that the weights were trained on; None before the training, or if they cannot be read.
    """

    run: RunDir
    config: RunConfig
    columns: Columns
    ensembles: Arrays
    ensemble_summaries: list[EnsembleSummary]
    structure: dict[float, tuple[NDArray[np.float64], NDArray[np.float64]]]
    history: list[dict[str, float]]
    summary: dict[str, Any]
    studies: dict[str, Any]
    data: dict[str, Any]
    trained: dict[str, Any] | None

    @classmethod
    def read(cls, run: RunDir, config: RunConfig) -> Self:
        """Reads everything but the scores; errors of damaged files are for `readable`."""
        with Dataset(run.dataset) as data:
            columns, ensembles = watch(data), data.ensembles()
            summaries = list(summarize(columns, data.attributes, ensembles))
            facts = data_facts(data)
            structure = _structure(data, np.asarray(columns["gamma"], float), config)
        history, evaluation = read_metrics(run.metrics), run.evaluation
        summary = _json(evaluation / "summary.json") if (evaluation / "scores.h5").exists() else {}
        studies = _json(evaluation / "studies.json") if summary else {}
        trained = None
        with suppress(UserError):
            trained = load_facts(best_weights(run))["data"]
        return cls(
            run, config, columns, ensembles, summaries, structure, history, summary, studies, facts, trained
        )  # fmt: skip

    @property
    def name(self) -> str:
        """Of the run."""
        return self.run.path.resolve().name

    @property
    def shown_scores(self) -> list[str]:
        """Those that tables and figures show: the default score, its parts and two classical scores."""
        return [name for name in TABLE if name in self.summary.get("mean_auroc", {})]

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before anything else."""
        older = why_older(self.trained, self.data, self.run) if self.trained else None
        done = len(self.history)
        unfinished = why_unfinished(done, self.config.training, self.run) if done else None
        return [warning for warning in (unfinished, self.outdated, older) if warning]

    @property
    def outdated(self) -> str | None:
        """What to say if the evaluation is not that of the weights that are there."""
        if not self.summary:
            return None
        weights = best_weights(self.run)
        if not weights.exists():
            return f"{weights}, of which the scores are, is missing"
        if digest(weights) == self.summary["weights"]["sha256"]:
            return None
        return f"the scores are older than the weights {weights}; run `{command(self.run.path)}` again"

    def normal(self, *columns: str) -> dict[str, NDArray[Any]]:
        """(n,) columns of the normal configurations, by name.

        Raises:
            UserError: the file is damaged.
        """
        with readable(self.run), h5py.File(self.run.evaluation / "scores.h5", "r") as file:
            return {name: file[f"normal/{name}"][:] for name in columns}

    def detection(self, *scores: str) -> "dict[str, dict[str, tuple[NDArray[Any], NDArray[Any]]]]":
        """By suite and score, the scores of the normal configurations that it is told from, and its own.

        Args:
            scores: which; none for those that are shown.

        Raises:
            UserError: the file is damaged.
        """
        chosen = scores or tuple(self.shown_scores)
        found: dict[str, dict[str, tuple[NDArray[Any], NDArray[Any]]]] = {}
        with readable(self.run), h5py.File(self.run.evaluation / "scores.h5", "r") as file:
            normal = {name: file[f"normal/{name}"][:] for name in (*chosen, "gamma", CLAIM)}
            for suite in self.summary["suites"]:
                group = file[suite]
                claims = CLAIM in group
                here = normal["gamma"] == group["gamma"][0] if claims else slice(None)
                columns = {name: CLAIM if claims and name == DEFAULT_SCORE else name for name in chosen}
                found[suite] = {name: (normal[column][here], group[column][:]) for name, column in columns.items()}
        return found


def _json(path: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def _structure(
    data: Dataset, gamma: NDArray[np.float64], config: RunConfig
) -> dict[float, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """g(r) and ρ(y) of some γ, of the first configurations of each; the rows are ordered by γ."""
    gammas, first, counts = np.unique(gamma, return_index=True, return_counts=True)
    chosen = np.unique(np.linspace(0, len(gammas) - 1, min(len(gammas), MOST_GAMMAS)).round().astype(int))
    most = max(2, min(CONFIGURATIONS, PAIRS // config.system.n_particles**2))
    found = {}
    for k in chosen:
        positions = data.read(range(first[k], first[k] + min(counts[k], most)))["positions"].astype(np.float32)
        found[float(gammas[k])] = pair_distribution(positions), density_profile(positions, config.system.box_side)
    return found
