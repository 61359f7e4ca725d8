"""Scores configurations with a trained network, divided over ranks."""

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.conditional.model import ConditionalModel
from lj_vae_hpc.evaluation.kept import Kept
from lj_vae_hpc.evaluation.learned import Learned, collect, learn, training_codes
from lj_vae_hpc.evaluation.observables import Arrays, observables
from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.displacement import log_ratio
from lj_vae_hpc.evaluation.scores.registry import chosen_scores
from lj_vae_hpc.evaluation.sources import AnySource, Source, batches
from lj_vae_hpc.evaluation.suites.base import Suite
from lj_vae_hpc.store.tables import Piece, Table
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.network import Network

if TYPE_CHECKING:
    from lj_vae_hpc.parallel.world import World

BATCH, DISTANCES = 512, 1 << 25  # at most so many configurations and so many of their distances at once

CODES = -1  # in place of a number of features: the latent means, which are there already

Advance = Callable[[float], None]


def batch_size(n_particles: int) -> int:
    """Configurations that are scored at once."""
    return max(1, min(BATCH, DISTANCES // n_particles**2))


class Scorer:
    """Every score of configurations, from one pass of the network over each.

    Args:
        network: with trained weights, on its device.
        config: the run's configuration.
        without: names of scores that it asks for and that are not computed.

    Attributes:
        scores: those that are computed.
        is_fitted: whether it has learned from the training split.
        learned: what that has taught.
    """

    def __init__(self, network: Network, config: RunConfig, without: Set[str] = frozenset()) -> None:
        self._network, self._config = network, config
        self.scores = [score for score in chosen_scores(config.evaluation.extra_scores) if score.name not in without]
        self.is_fitted = False
        self._widths: list[int] = []
        self.learned: Learned

    def fit(self, world: "World", training: Source, conditional: ConditionalModel, kept: Kept | None = None) -> None:
        """Learns from the training split, divided over ranks, the same on any number of them.

        Args:
            world: the ranks.
            training: the training split of the γ that the network was trained on.
            conditional: its conditional model.
            kept: where the codes and features of the training split are kept, so that they are computed once.
        """
        stored = world.on_root(lambda: kept.read() if kept and kept.path.exists() else None)
        size = batch_size(training.n_particles)
        codes = stored["codes"] if stored else training_codes(world, self._network, training, size)
        self.learned, gamma = learn(codes, conditional)
        if stored:
            features, widths = stored["features"], stored["widths"].tolist()
        else:
            features = collect(world, training, size, self._features, "learning the scores")
            widths = next(filter(None, world.gather(self._widths)), [])  # a rank may have had nothing to do
            if kept:
                columns = {"codes": codes, "features": features, "widths": np.array(widths)}
                world.on_root(lambda: kept.write(columns))
        with threadpool_limits(1):
            start = 0
            for score, width in zip(self.scores, widths, strict=True):
                if width == CODES:
                    score.fit(codes[:, :-1], gamma)
                elif width:
                    score.fit(features[:, start : start + width], gamma)
                    start += width
        self.is_fitted = True

    def __call__(self, configurations: Configurations, claims: bool, particles: bool = False) -> Arrays:
        """Every score, float32, and every observable of n configurations; gamma (n,), and latent_mean (n, d).

        Args:
            configurations: n of them.
            claims: whether their γ is one that they claim.
            particles: adds particle_score (n, N), the log likelihood ratio of each particle being out of place.
        """
        one = Pass(self._network, configurations, self.learned)
        columns = self._scores_of(one, claims)
        columns |= observables(configurations.positions, self._config.system)
        columns |= {"gamma": configurations.gamma, "latent_mean": one.latent_mean.astype(np.float32)}
        columns["order"] = one.order.astype(np.float32)
        return columns | ({"particle_score": log_ratio(one).astype(np.float32)} if particles else {})

    def alone(self, configurations: Configurations, claims: bool) -> Arrays:
        """The same without what is no score."""
        return self._scores_of(Pass(self._network, configurations, self.learned), claims)

    def _scores_of(self, one: Pass, claims: bool) -> Arrays:
        scores = [score for score in self.scores if claims or not score.needs_claim]
        return {score.name: score(one).astype(np.float32) for score in scores}

    @property
    def versions(self) -> dict[str, int]:
        """The version of every score, by name."""
        return {score.name: score.version for score in self.scores}

    def _features(self, configurations: Configurations) -> Any:
        one = Pass(self._network, configurations, self.learned)
        columns = [score.features(one) for score in self.scores]
        self._widths = [0 if part is None else CODES if part is one.latent_mean else part.shape[1] for part in columns]
        own = [part for part, width in zip(columns, self._widths, strict=True) if part is not None and width != CODES]
        return np.concatenate([np.empty((len(configurations.gamma), 0)), *own], axis=1)


@dataclass(frozen=True, eq=False)
class Scoring:
    """Scores suites, each configuration by exactly one rank.

    Attributes:
        world: the ranks.
        scorer: fitted.
        advance: told the number of configurations done, by all ranks together.
    """

    world: "World"
    scorer: Scorer
    advance: Advance

    def weigh(self, suite: Suite, normal: AnySource, table: Table) -> Iterator[Piece]:
        """log_density of a suite at this rank's normal configurations; nothing where it is not known.

        Args:
            suite: the suite.
            normal: the test split.
            table: its scores.
        """
        for part in batches(self.world, len(normal), batch_size(normal.n_particles)):
            density = suite.log_density(normal.read(part).positions, table.group(rows=part))
            if density is None:
                return
            yield Piece(part.start, len(normal), {"of_normal/log_density": density})

    def add(self, suite: Suite, source: AnySource, earlier: Table, others: Set[str]) -> Iterator[Piece]:
        """The columns of `score`, those that were kept before and those of the scores that are computed here.

        Args:
            suite: the suite.
            source: as of score.
            earlier: the scores of before.
            others: columns there that are not taken over.
        """
        names = [name for name in earlier.layout if name not in others and not name.startswith("of_normal/")]
        for part in self._parts(suite, source):
            columns = self.scorer.alone(suite.read(source, part), suite.claims)
            columns |= {name: earlier.read(name, part) for name in names}
            yield Piece(part.start, suite.count(source), columns)

    def score(self, suite: Suite, source: AnySource) -> Iterator[Piece]:
        """All columns of this rank's configurations of a suite: those of Scorer, `row`, the place in the suite,
        `origin`, the ensemble's number, chain and sample, log_density where it is known, and `moved`, which particles
        are to blame, where that is known.
        """
        for part in self._parts(suite, source):
            configurations = suite.read(source, part)
            culprits = suite.culprits(source, part, configurations)
            columns = self.scorer(
                configurations, suite.claims, particles=suite.scores_particles or culprits is not None
            )
            if culprits is not None:
                columns["moved"] = culprits
            density = suite.log_density(configurations.positions, columns)
            if density is not None:
                columns["log_density"] = density
            columns |= {"row": np.arange(part.start, part.stop), "origin": source.origins(part)}
            yield Piece(part.start, suite.count(source), columns)

    def _parts(self, suite: Suite, source: AnySource) -> Iterator[range]:
        """What is for this rank; tells how far all ranks are."""
        total, told = suite.count(source), 0
        for part in batches(self.world, total, batch_size(source.n_particles)):
            yield part
            now = min(len(part) * self.world.size, total - told)  # as if the other ranks were as far
            self.advance(now)
            told += now
        self.advance(total - told)
