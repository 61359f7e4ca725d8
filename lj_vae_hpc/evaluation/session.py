"""The evaluation of a run: scores what is missing, and sums up."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import Stopped
from lj_vae_hpc.evaluation.calibration import MOST as CALIBRATED
from lj_vae_hpc.evaluation.calibration import Calibration
from lj_vae_hpc.evaluation.ceilings import NormalMixture, fit_mixture
from lj_vae_hpc.evaluation.conditional.model import ConditionalModel
from lj_vae_hpc.evaluation.kept import Earlier, Kept
from lj_vae_hpc.evaluation.learned import VERSION as CONDITIONAL_VERSION
from lj_vae_hpc.evaluation.learned import learn_conditional
from lj_vae_hpc.evaluation.observables import Arrays
from lj_vae_hpc.evaluation.scoring import Scorer, Scoring
from lj_vae_hpc.evaluation.sources import AnySource, Copied, RunData, batches, everything
from lj_vae_hpc.evaluation.splits import SPLITS, Split
from lj_vae_hpc.evaluation.studies.base import Context
from lj_vae_hpc.evaluation.suite_data import suite_file
from lj_vae_hpc.evaluation.suites.base import Suite
from lj_vae_hpc.evaluation.weights import Weights
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.run.files import unfinished
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.sampling.production import together
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.tables import Layout, Piece, Table, plan, write_table
from lj_vae_hpc.training.network import Network

if TYPE_CHECKING:
    from lj_vae_hpc.parallel.world import World


ROWS_AT_ONCE = 1024  # whose columns are calibrated and written


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
            self._score_missing(todo, kept)
        return Scores({suite.name: one for suite, one in kept.items()})

    def fit_mixture(self) -> NormalMixture:
        """The distribution of normal configurations, with ln Z from the scored validation split; on every rank.

        Raises:
            UserError: as of ceilings.fit_mixture.
        """
        kept = self._kept(Split(self.config, "validation"), self._scorer)

        def fit() -> NormalMixture:
            with kept.opened(checked=False) as table:
                height, gamma = (table.read(name, range(CALIBRATED)) for name in ("height_sum", "gamma"))
            return fit_mixture(height, gamma, self.data.gammas, self.config.system.temperature)

        return self.world.on_root(fit)

    def conditional(self) -> ConditionalModel:
        """The conditional model; all ranks call this."""
        folder, side = self.folder.parent / "conditional", self.config.system.box_side
        return learn_conditional(self.world, folder, self.data.training, self.data.gammas, self.data.facts, side)

    def fitted_scorer(self) -> Scorer:
        """The scorer after it has learned from the training split; all ranks call this."""
        return self._fitted(self._scorer)

    def _fitted(self, scorer: Scorer) -> Scorer:
        if not scorer.is_fitted:
            kept = self._kept_learned(scorer)
            if self.world.is_root and not kept.path.exists():
                print(f"learning what scores need, once for this model; kept in {self.folder.parent}", flush=True)
            scorer.fit(self.world, self.data.training, self.conditional(), kept)
        return scorer

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

    def _kept_learned(self, scorer: Scorer) -> Kept:
        facts = {
            "weights": self.weights.sha256, "scores": scorer.versions, "splits": self.data.facts,
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

    def _score(self, scoring: Scoring, suite: Suite, kept: Kept, kept_normal: Kept, earlier: Earlier | None) -> None:
        """Scores a suite, and keeps each piece as it comes."""
        source = self.sources[suite]
        with ExitStack() as files:
            if earlier:
                pieces = scoring.add(suite, source, files.enter_context(earlier.kept.opened()), earlier.others)
            else:
                pieces = scoring.score(suite, source)
            layout, scored = plan(pieces, self.world.gather)
            if not isinstance(suite, Split):
                normal = files.enter_context(kept_normal.opened(checked=False))
                more, weighed = plan(scoring.weigh(suite, self.data.test, normal), self.world.gather)
                layout, scored = layout | more, chain(scored, weighed)
            kept.write_pieces(layout, scored, together(self.world))
        self.world.on_root(partial(_check_rows, kept))

    def _score_missing(self, todo: list[Suite], kept: dict[Suite, Kept]) -> None:
        """Scores the normal configurations first, as the densities of the suites are computed at them, too."""
        total = sum(suite.count(self.sources[suite]) for suite in todo)
        normal = next(iter(self.sources))
        earlier = self.world.on_root(lambda: [kept[suite].earlier() for suite in todo])
        there = [frozenset(before.right) if before else frozenset() for before in earlier]
        scorers = {right: Scorer(self.network, self.config, right) if right else self._scorer for right in there}
        for scorer in scorers.values():
            self._fitted(scorer)
        threads = threadpool_limits(self.world.threads_per_rank())  # or every rank would take all cores
        with threads, Progress("scoring", total, "configurations", self.world.is_root) as progress:
            for k, suite in enumerate(todo):
                scoring = Scoring(self.world, scorers[there[k]], progress.advance)
                self._score(scoring, suite, kept[suite], kept[normal], earlier[k])
                if k + 1 < len(todo) and self.world.should_stop():
                    raise Stopped(f"{k + 1} of {len(todo)} suites are scored in {self.folder.parent}")


def _check_rows(kept: Kept) -> None:
    with kept.opened(checked=False) as table:
        if not np.array_equal(row := table.read("row"), np.arange(len(row))):
            raise RuntimeError("some configurations were not scored once and only once")


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of every split and suite, each in its file.

    Attributes:
        kept: by name.
    """

    kept: dict[str, Kept]

    def calibration(self) -> Calibration:
        """What adds two-sided scores, combinations and p-values; one rank calls this."""
        with self.kept["validation"].opened() as validation, self.kept["calibration"].opened() as calibration:
            some = range(CALIBRATED)
            return Calibration(validation.group(rows=some), calibration.group(rows=some))

    def write(self, world: "World", path: Path, others: dict[str, Arrays]) -> None:
        """Writes all columns with those of the calibration, and others, by GROUP/NAME; all ranks call this.

        Args:
            world: the ranks.
            path: the file.
            others: further columns by group; on rank 0.

        Raises:
            UserError: the file cannot be written.
        """
        calibration, layout = world.on_root(lambda: self._plan(others))
        write_table(path, layout, {}, self._pieces(world, calibration, others), together(world))

    def _plan(self, others: dict[str, Arrays]) -> tuple[Calibration, Layout]:
        """The calibration, and every column that there will be; checks the files that they are made of."""
        calibration, found = self.calibration(), dict[str, tuple[str, tuple[int, ...]]]()
        for name, kept in self.kept.items():
            with kept.opened() as table:
                first = _calibrated(name, table, calibration, range(1))
                found |= {f"{name}/{column}": known for column, known in table.layout.items()} | first.layout
        for group, columns in others.items():
            found |= {f"{group}/{name}": (each.dtype.str, each.shape) for name, each in columns.items()}
        return calibration, found

    def _pieces(self, world: "World", calibration: Calibration, others: dict[str, Arrays]) -> Iterator[Piece]:
        """What this rank writes."""
        for name, kept in self.kept.items():
            with kept.opened(checked=False) as table:
                for part in batches(world, _rows(table, "row"), ROWS_AT_ONCE):
                    yield _calibrated(name, table, calibration, part)
                for column in filter(_of_normal, table.layout):
                    for part in batches(world, rows := _rows(table, column), ROWS_AT_ONCE):
                        yield Piece(part.start, rows, {f"{name}/{column}": table.read(column, part)})
        for group, columns in others.items() if world.is_root else ():
            for name, values in columns.items():
                yield Piece(0, len(values), {f"{group}/{name}": values})


def _calibrated(group: str, table: Table, calibration: Calibration, part: range) -> Piece:
    """Some rows of the columns of a suite, with calibrated scores."""
    columns = {name: table.read(name, part) for name in table.layout if not _of_normal(name)}
    named = {f"{group}/{name}": values for name, values in calibration.add(columns).items()}
    return Piece(part.start, _rows(table, "row"), named)


def _of_normal(column: str) -> bool:
    """Whether a column of a suite's has a row for each normal configuration."""
    return column.startswith("of_normal/")


def _rows(table: Table, column: str) -> int:
    return table.layout[column][1][0]


def open_sources(
    world: "World", run: RunDir, config: RunConfig, suites: Sequence[Suite], data: RunData, files: ExitStack
) -> dict[Suite, AnySource]:
    """What the configurations of every split and suite are read from, the test split first.

    Args:
        world: the ranks.
        run: the run.
        config: its configuration.
        suites: the suites, sampled.
        data: the run's own configurations, which some suites are made from.
        files: closes what is opened, and removes copies.
    """
    splits = dict(zip(SPLITS, (data.test, data.validation, data.calibration), strict=True))
    sources: dict[Suite, AnySource] = {split: splits[split.name] for split in Split.of(config)}
    for suite in suites:
        if suite.file:
            path = world.on_root(partial(unfinished, suite_file(run, suite)))
            copied = Copied(path, config.system.n_particles)
            if world.is_root:
                files.callback(path.unlink, missing_ok=True)
            world.on_root(partial(copied.copy, suite.file, config))
            sources[suite] = copied
        elif suite.ensembles:
            sources[suite] = everything(files.enter_context(Dataset(suite_file(run, suite))))
        else:
            sources[suite] = data.test
    return sources
