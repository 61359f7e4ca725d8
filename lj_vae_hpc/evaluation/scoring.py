"""Scores configurations with a trained network, divided over ranks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.observables import OBSERVABLES, Arrays, observables
from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Score
from lj_vae_hpc.evaluation.scores.registry import score_classes
from lj_vae_hpc.evaluation.sources import Source
from lj_vae_hpc.evaluation.suites.base import Suite
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.network import Network

if TYPE_CHECKING:
    from lj_vae_hpc.parallel.world import World

BATCH, DISTANCES = 64, 1 << 25  # at most so many configurations and so many of their distances at once

Advance = Callable[[float], None]


def batches(world: "World", rows: int, n_particles: int) -> list[range]:
    """The batches of some rows that are this rank's.

    The batches do not depend on the ranks, so that no sum over a batch is rounded otherwise with more of them.
    """
    size = max(1, min(BATCH, DISTANCES // n_particles**2))
    starts = range(0, rows, size)
    mine = world.shard(len(starts))
    return [range(start, min(start + size, rows)) for start in starts[mine.start : mine.stop]]


class Scorer:
    """Every score of configurations, from one pass of the network over each.

    Args:
        network: with trained weights, on its device.
        config: the run's configuration.
    """

    def __init__(self, network: Network, config: RunConfig) -> None:
        self._network, self._config = network, config
        self.scores: list[Score] = [kind() for kind in score_classes().values()]

    def fit(self, world: "World", training: Source) -> None:
        """Fits the scores that learn from the training split, divided over ranks.

        Args:
            world: the ranks.
            training: the training split of the γ that the network was trained on.
        """
        fitted = [score for score in self.scores if score.is_fitted]
        for part in batches(world, len(training), training.data.n_particles):
            one = Pass(self._network, training.read(part))
            for score in fitted:
                score.observe(one)
        for score in fitted:
            score.finish_fit(world)

    def __call__(self, configurations: Configurations) -> Arrays:
        """Every score, float32, and every observable of n configurations; gamma (n,), and latent_mean (n, d)."""
        one = Pass(self._network, configurations)
        columns: Arrays = {score.name: score(one).astype(np.float32) for score in self.scores}
        columns |= observables(configurations.positions, self._config.system)
        return columns | {"gamma": configurations.gamma, "latent_mean": one.latent_mean.astype(np.float32)}

    @property
    def versions(self) -> dict[str, int]:
        """The version of every score, by name."""
        return {score.name: score.version for score in self.scores}


@dataclass(frozen=True, eq=False)
class Scoring:
    """Scores suites, each configuration by exactly one rank; the results are on rank 0.

    Attributes:
        world: the ranks.
        scorer: fitted.
        advance: told the number of configurations done, by all ranks together.
    """

    world: "World"
    scorer: Scorer
    advance: Advance

    def score(self, suite: Suite, source: Source) -> Arrays:
        """All columns of a suite: those of Scorer, `row`, its place, and log_density where it is known."""
        return self._gather(self._score_batches(suite, source), suite.count(source))

    def weigh(self, suite: Suite, normal: Source, columns: Arrays) -> Arrays:
        """log_density of a suite at the normal configurations; nothing where it is not known.

        Args:
            suite: the suite.
            normal: the test split.
            columns: its columns, on rank 0.
        """
        everywhere = self.world.broadcast({name: columns[name] for name in OBSERVABLES if name in columns})
        parts = []
        for part in batches(self.world, len(normal), normal.data.n_particles):
            here = {name: values[part.start : part.stop] for name, values in everywhere.items()}
            density = suite.log_density(normal.read(part).positions, here)
            if density is None:
                break
            parts.append({"log_density": density, "row": np.arange(part.start, part.stop)})
        weighed = self._gather(iter(parts), len(normal))
        return {f"of_normal/{name}": values for name, values in weighed.items() if name != "row"}

    def _score_batches(self, suite: Suite, source: Source) -> Iterator[Arrays]:
        for part in batches(self.world, suite.count(source), source.data.n_particles):
            configurations = suite.read(source, part)
            columns = self.scorer(configurations)
            density = suite.log_density(configurations.positions, columns)
            if density is not None:
                columns["log_density"] = density
            yield columns | {"row": np.arange(part.start, part.stop)}
            self.advance(len(part) * self.world.size)

    def _gather(self, parts: Iterator[Arrays], rows: int) -> Arrays:
        """Columns of all ranks in order, on rank 0; an empty dictionary elsewhere, and where there are no columns."""
        gathered: list[dict[str, Any]] = [part for rank in self.world.gather_to_root(list(parts)) for part in rank]
        if not gathered:
            return {}
        columns = {name: np.concatenate([part[name] for part in gathered]) for name in gathered[0]}
        if not np.array_equal(columns["row"], np.arange(rows)):
            raise RuntimeError("some configurations were not scored once and only once")
        return columns
