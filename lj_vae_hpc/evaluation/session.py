"""The evaluation of a run: samples what is missing of its suites, scores what is missing, and sums up."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import Stopped
from lj_vae_hpc.evaluation.calibration import Calibration
from lj_vae_hpc.evaluation.ceilings import NormalMixture, fit_mixture
from lj_vae_hpc.evaluation.conditional.model import ConditionalModel
from lj_vae_hpc.evaluation.examples import examples
from lj_vae_hpc.evaluation.kept import Kept
from lj_vae_hpc.evaluation.learned import VERSION as CONDITIONAL_VERSION
from lj_vae_hpc.evaluation.learned import learn_conditional
from lj_vae_hpc.evaluation.observables import Arrays
from lj_vae_hpc.evaluation.scoring import Scorer, Scoring, batch_size
from lj_vae_hpc.evaluation.sources import AnySource, RunData, batches, everything, own_configurations
from lj_vae_hpc.evaluation.splits import SPLITS, Split
from lj_vae_hpc.evaluation.studies.base import Context
from lj_vae_hpc.evaluation.suites.base import Suite
from lj_vae_hpc.evaluation.suites.registry import configurations_each
from lj_vae_hpc.evaluation.weights import Weights
from lj_vae_hpc.physics.energies import height_sum
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.sampling.production import assemble, holds, produce
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training.network import Network

if TYPE_CHECKING:
    from lj_vae_hpc.parallel.world import World


def suite_file(run: RunDir, suite: Suite) -> Path:
    """The configurations that were sampled for a suite."""
    return run.evaluation / "suites" / f"{suite.name}.h5"


def with_seed_of_data(run: RunDir, config: RunConfig) -> RunConfig:
    """The configuration that suites follow from: models of any seed on the same data have the same anomalies."""
    with Dataset(run.dataset) as data:
        return config.model_copy(update={"seed": int(data.attributes["seed"])})


def sample_suites(world: "World", run: RunDir, config: RunConfig, suites: Sequence[Suite]) -> None:
    """Samples what is missing of the suites' ensembles, and writes the file of each.

    Raises:
        UserError: as of produce and assemble.
        Stopped: a signal or deadline came; finished segments are kept.
    """
    store = run.evaluation / "ensembles"
    counts = {suite: configurations_each(suite, config) for suite in suites if suite.ensembles}
    missing = False
    for count in dict.fromkeys(counts.values()):
        different = {e.key: e for suite, its in counts.items() if its == count for e in suite.ensembles}
        names = world.on_root(partial(_unsampled, run, counts, count))
        if world.is_root and len(names) > 1:
            print(f"evaluation: sampling the suites {', '.join(names)}", flush=True)
        label = f"suite {names[0]}" if len(names) == 1 else "suites"
        missing |= produce(world, list(different.values()), count, store, label)
    for suite, count in counts.items():
        assemble(world, suite.ensembles, count, store, suite_file(run, suite))
    if missing and world.should_stop():
        raise Stopped(f"the suites are sampled in {run.evaluation}")


def _unsampled(run: RunDir, counts: dict[Suite, int], count: int) -> list[str]:
    """The suites of so many configurations per ensemble whose file is not there."""
    suites = [suite for suite, its in counts.items() if its == count]
    return [suite.name for suite in suites if not holds(suite_file(run, suite), suite.ensembles, count)]


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
        sources: of every split that is scored and of every suite, the test split first.
        quiet: says only what has to be computed.
    """

    world: "World"
    folder: Path
    config: RunConfig
    network: Network
    weights: Weights
    data: RunData
    sources: dict[Suite, AnySource]
    quiet: bool = False

    def score_suites(self) -> "Scores":
        """The columns of every split and suite; only those that are not kept are computed.

        Raises:
            Stopped: a signal or deadline came; the suites scored so far are kept.
        """
        kept = {suite: self._kept(suite, self._scorer) for suite in self.sources}
        missing = self.world.on_root(lambda: {suite.name: kept[suite].why_missing() for suite in kept})
        todo = [suite for suite in kept if missing[suite.name]]
        self._announce(missing)
        if todo:
            self._score_missing(todo, kept, self.fitted_scorer())
        return Scores({suite.name: one for suite, one in kept.items()})

    def fit_mixture(self) -> NormalMixture:
        """The distribution of normal configurations, with ln Z from the validation split; on every rank.

        Raises:
            UserError: as of ceilings.fit_mixture.
        """
        source = self.data.validation
        parts = [source.read(part) for part in batches(self.world, len(source), batch_size(source.n_particles))]
        here = [(height_sum(part.positions), part.gamma) for part in parts]
        everyone = [pair for rank in self.world.gather(here) for pair in rank]
        height, gamma = (np.concatenate(values) for values in zip(*everyone, strict=True))
        return fit_mixture(height, gamma, self.data.gammas, self.config.system.temperature)

    def examples(self) -> dict[str, Arrays]:
        """Some configurations of every suite with their reconstructions."""
        return examples(self.network, self.sources, self.config)

    def conditional(self) -> ConditionalModel:
        """The conditional model; all ranks call this."""
        folder, side = self.folder.parent / "conditional", self.config.system.box_side
        return learn_conditional(self.world, folder, self.data.training, self.data.gammas, self.data.facts, side)

    def fitted_scorer(self) -> Scorer:
        """The scorer after it has learned from the training split; all ranks call this."""
        if not self._scorer.is_fitted:
            self._scorer.fit(self.world, self.data.training, self.conditional(), self._kept_learned())
        return self._scorer

    def context(self, suites: Path) -> Context:
        """What studies use; all ranks call this.

        Args:
            suites: folder of the configurations that were sampled for the suites.
        """
        learned = self.fitted_scorer().learned
        return Context(self.config, self.network, self.data, learned.order, learned.conditional, suites)

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(self.network, self.config)

    def _kept(self, suite: Suite, scorer: Scorer) -> Kept:
        facts = {
            "weights": self.weights.sha256, "scores": scorer.versions, "splits": self.data.facts,
            "suite": suite.identity,
        }  # fmt: skip
        return Kept(self.folder, suite.name, facts)

    def _kept_learned(self) -> Kept:
        facts = {
            "weights": self.weights.sha256, "scores": self._scorer.versions, "splits": self.data.facts,
            "conditional": CONDITIONAL_VERSION,
        }  # fmt: skip
        return Kept(self.folder.parent / "learned", "training", facts)

    def _announce(self, missing: dict[str, str | None]) -> None:
        """Says what is computed and why."""
        if not self.world.is_root:
            return
        reasons = dict.fromkeys(reason for reason in missing.values() if reason)
        for reason in reasons:
            names = ", ".join(name for name, why in missing.items() if why == reason)
            print(f"evaluation: to be scored, as {reason}: {names}", flush=True)
        same = [name for name, reason in missing.items() if not reason]
        if same and not self.quiet:
            print(f"evaluation: the scores of {', '.join(same)} are kept", flush=True)

    def _score_missing(self, todo: list[Suite], kept: dict[Suite, Kept], scorer: Scorer) -> None:
        """Scores the normal configurations first, as the densities of the suites are computed at them, too."""
        total = sum(suite.count(self.sources[suite]) for suite in todo)
        normal = next(iter(self.sources))
        threads = threadpool_limits(self.world.threads_per_rank())  # or every rank would take all cores
        with threads, Progress("scoring", total, "configurations", self.world.is_root) as progress:
            scoring = Scoring(self.world, scorer, progress.advance)
            for k, suite in enumerate(todo):
                columns = scoring.score(suite, self.sources[suite])
                if not isinstance(suite, Split):
                    at_normal = kept[normal].read() if self.world.is_root else {}
                    columns |= scoring.weigh(suite, self.sources[normal], at_normal)
                self.world.on_root(partial(kept[suite].write, columns))
                if k + 1 < len(todo) and self.world.should_stop():
                    raise Stopped(f"{k + 1} of {len(todo)} suites are scored in {self.folder.parent}")


class Scores(Mapping[str, Arrays]):
    """The columns of every split and suite by name, each read where it is used: memory is that of one at a time.

    Args:
        kept: the scores of each.
        calibration: adds two-sided scores, combinations and p-values; None for none of them.
    """

    def __init__(self, kept: dict[str, Kept], calibration: Calibration | None = None) -> None:
        self._kept, self._calibration = kept, calibration

    def calibrated(self) -> "Scores":
        """The same with two-sided scores, combinations and p-values."""
        return Scores(self._kept, Calibration(self["validation"], self["calibration"]))

    def __getitem__(self, name: str) -> Arrays:
        columns = self._kept[name].read()
        return self._calibration.add(columns) if self._calibration else columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


def open_sources(
    run: RunDir, config: RunConfig, suites: Sequence[Suite], data: RunData, files: ExitStack
) -> dict[Suite, AnySource]:
    """What the configurations of every split and suite are read from, the test split first.

    Args:
        run: the run.
        config: its configuration.
        suites: the suites, sampled.
        data: the run's own configurations, which some suites are made from.
        files: closes what is opened.
    """
    splits = dict(zip(SPLITS, (data.test, data.validation, data.calibration), strict=True))
    sources: dict[Suite, AnySource] = {split: splits[split.name] for split in Split.of(config)}
    for suite in suites:
        if suite.file:
            sources[suite] = own_configurations(suite.file, config)
        elif suite.ensembles:
            sources[suite] = everything(files.enter_context(Dataset(suite_file(run, suite))))
        else:
            sources[suite] = data.test
    return sources
