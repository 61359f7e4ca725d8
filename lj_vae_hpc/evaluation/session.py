"""The evaluation of a run: samples what is missing of its suites, scores what is missing, and sums up."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import Stopped
from lj_vae_hpc.evaluation.ceilings import NormalMixture, fit_mixture
from lj_vae_hpc.evaluation.examples import first_example
from lj_vae_hpc.evaluation.kept import Kept
from lj_vae_hpc.evaluation.observables import Arrays
from lj_vae_hpc.evaluation.scoring import Scorer, Scoring, batches
from lj_vae_hpc.evaluation.sources import Source, everything, of_gammas
from lj_vae_hpc.evaluation.suites.base import Normal, Suite
from lj_vae_hpc.evaluation.weights import Weights
from lj_vae_hpc.physics.energies import height_sum
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.sampling.production import assemble, produce
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training.network import Network
from lj_vae_hpc.training.splits import Splits

if TYPE_CHECKING:
    from lj_vae_hpc.parallel.world import World


@dataclass(frozen=True, eq=False)
class RunData:
    """The splits of a run's data set, of the γ that the model was trained on.

    Attributes:
        training, validation, test: the splits.
        gammas: those values of γ, ascending.
        facts: what the splits follow from, by value.
    """

    training: Source
    validation: Source
    test: Source
    gammas: Sequence[float]
    facts: dict[str, Any]

    @classmethod
    def of(cls, data: Dataset, config: RunConfig, trained: Sequence[float]) -> "RunData":
        """The splits of an open data set.

        Raises:
            UserError: the data set holds none of these γ.
        """
        splits = Splits.of(data.layout, config.training)
        training, validation, test = (
            of_gammas(data, rows, trained) for rows in (splits.training, splits.validation, splits.test)
        )
        gammas = [gamma for gamma in data.layout.gammas if gamma in trained]
        keys = dict(zip(data.layout.gammas, data.ensembles()["key"].tolist(), strict=True))
        facts = {
            "ensembles": [keys[gamma].decode() for gamma in gammas],
            "configurations": data.layout.configurations,
            "content": str(data.attributes["content"]),
            "test_fraction": config.training.test_fraction,
            "validation_fraction": config.training.validation_fraction,
        }
        return cls(training, validation, test, gammas, facts)


def suite_file(run: RunDir, suite: Suite) -> Path:
    """The configurations that were sampled for a suite."""
    return run.evaluation / "suites" / f"{suite.name}.h5"


def sample_suites(world: "World", run: RunDir, config: RunConfig, suites: Sequence[Suite]) -> None:
    """Samples what is missing of the suites' ensembles, and writes the file of each.

    Raises:
        UserError: as of produce and assemble.
        Stopped: a signal or deadline came; finished segments are kept.
    """
    ensembles = {suite: suite.ensemble for suite in suites if suite.ensemble}
    different = {ensemble.key: ensemble for ensemble in ensembles.values()}
    store, count = run.evaluation / "ensembles", config.evaluation.configurations
    missing = bool(different) and produce(world, list(different.values()), count, store, "suites")
    for suite, ensemble in ensembles.items():
        assemble(world, [ensemble], count, store, suite_file(run, suite))
    if missing and world.should_stop():
        raise Stopped(f"the suites are sampled in {run.evaluation}")


@dataclass(frozen=True, eq=False)
class Session:
    """The suites of a run, opened, with what scores them.

    Attributes:
        world: the ranks.
        folder: of the scores that are kept.
        config: the run's configuration.
        network: with its best weights.
        weights: which they are.
        data: the run's own configurations.
        sources: of every suite, the normal one first.
    """

    world: "World"
    folder: Path
    config: RunConfig
    network: Network
    weights: Weights
    data: RunData
    sources: dict[Suite, Source]

    def score_suites(self) -> dict[str, Arrays]:
        """The columns of every suite by name, on rank 0; only those that are not kept are computed.

        Raises:
            Stopped: a signal or deadline came; the suites scored so far are kept.
        """
        scorer = Scorer(self.network, self.config)
        kept = {suite: self._kept(suite, scorer) for suite in self.sources}
        missing = self.world.on_root(lambda: {suite.name: kept[suite].why_missing() for suite in kept})
        todo = [suite for suite in kept if missing[suite.name]]
        self._announce(missing)
        if todo:
            scorer.fit(self.world, self.data.training)
            self._score_missing(todo, kept, scorer)
        return {suite.name: one.read() for suite, one in kept.items()} if self.world.is_root else {}

    def fit_mixture(self) -> NormalMixture:
        """The distribution of normal configurations, with ln Z from the validation split; on every rank.

        Raises:
            UserError: as of ceilings.fit_mixture.
        """
        source = self.data.validation
        parts = [source.read(part) for part in batches(self.world, len(source), source.data.n_particles)]
        here = [(height_sum(part.positions), part.gamma) for part in parts]
        everyone = [pair for rank in self.world.gather(here) for pair in rank]
        height, gamma = (np.concatenate(values) for values in zip(*everyone, strict=True))
        return fit_mixture(height, gamma, self.data.gammas, self.config.system.temperature)

    def examples(self) -> dict[str, Arrays]:
        """The first configuration of every suite with its reconstruction."""
        return {
            f"examples/{suite.name}": first_example(self.network, suite, source)
            for suite, source in self.sources.items()
        }

    def _kept(self, suite: Suite, scorer: Scorer) -> Kept:
        facts = {
            "weights": self.weights.sha256, "scores": scorer.versions, "splits": self.data.facts,
            "suite": suite.identity,
        }  # fmt: skip
        return Kept(self.folder, suite.name, facts)

    def _announce(self, missing: dict[str, str | None]) -> None:
        """Says what is computed and why."""
        if not self.world.is_root:
            return
        for name, reason in missing.items():
            if reason:
                print(f"evaluation: {name} is scored: {reason}", flush=True)
        same = [name for name, reason in missing.items() if not reason]
        if same:
            print(f"evaluation: the scores of {', '.join(same)} are kept", flush=True)

    def _score_missing(self, todo: list[Suite], kept: dict[Suite, Kept], scorer: Scorer) -> None:
        """Scores the normal configurations first, as the densities of the suites are computed at them, too."""
        total = sum(suite.count(self.sources[suite]) for suite in todo)
        normal = next(iter(self.sources))
        with Progress("scoring", total, "configurations", self.world.is_root) as progress:
            scoring = Scoring(self.world, scorer, progress.advance)
            for k, suite in enumerate(todo):
                columns = scoring.score(suite, self.sources[suite])
                if suite is not normal:
                    at_normal = kept[normal].read() if self.world.is_root else {}
                    columns |= scoring.weigh(suite, self.sources[normal], at_normal)
                self.world.on_root(partial(kept[suite].write, columns))
                if k + 1 < len(todo) and self.world.should_stop():
                    raise Stopped(f"{k + 1} of {len(todo)} suites are scored in {self.folder.parent}")


def open_sources(
    run: RunDir, config: RunConfig, suites: Sequence[Suite], data: RunData, files: ExitStack
) -> dict[Suite, Source]:
    """What the configurations of every suite are read from, the normal ones first.

    Args:
        run: the run.
        config: its configuration.
        suites: the suites, sampled.
        data: the run's own configurations, which some suites are made from.
        files: closes what is opened.
    """
    sources: dict[Suite, Source] = {Normal(config): data.test}
    for suite in suites:
        if suite.ensemble:
            sources[suite] = everything(files.enter_context(Dataset(suite_file(run, suite))))
        else:
            sources[suite] = data.test
    return sources
