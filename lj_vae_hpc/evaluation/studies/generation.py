"""Configurations from the latent space, against Monte Carlo samples."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.generator import Generator, sweep
from lj_vae_hpc.evaluation.sources import Source
from lj_vae_hpc.evaluation.structure import Sample
from lj_vae_hpc.evaluation.studies.base import Context, Study, needs_coordinates, some_gammas
from lj_vae_hpc.store.reader import Dataset

COUNT, PAIRS = 2000, 1 << 23  # configurations of each kind at most, and their pairs
SWEEPS = (0, 1, 10, 100)
OVERLAP = 0.7  # σ, below which a pair overlaps
COMPARED = ("energy", "height_sum", "smallest_distance")


class Generation(Study):
    """Decoded codes after 0, 1, 10 and 100 Metropolis sweeps, beside other starts of the sweeps.

    aggregate: codes from the aggregate posterior of the γ. descended: the same after one step along the learned forces.
    normal: codes from a normal distribution of the same mean and covariance. prior: codes from N(0, 1). random: points
    uniform in the box. nearest: training configurations of the nearest other trained γ. Each is compared with a Monte
    Carlo sample that is in no split that anything was fitted on; noise_floor compares its halves, which are √2 times as
    far apart as two samples of the full size.
    """

    name = "generation"
    version = 2

    def __init__(self) -> None:
        self._generator: Generator | None = None

    def objection(self, context: Context) -> str | None:
        """It decodes positions."""
        return needs_coordinates(context)

    def parts(self, context: Context) -> Sequence[str]:
        """The γ: some of the trained ones, and the unseen ones between them."""
        trained = list(context.data.gammas)
        inside = [g for g in context.config.evaluation.unseen_gammas if trained[0] < g < trained[-1]]
        return [repr(g) for g in (*some_gammas(trained), *inside)]

    def follows_from(self, config: RunConfig) -> dict[str, Any]:
        """γ that it is also asked for."""
        return {"unseen_gammas": config.evaluation.unseen_gammas}

    def part_title(self, part: str) -> str:
        """With its γ."""
        return f"{self.name} at γ = {float(part):g}"

    def run(self, context: Context, part: str) -> dict[str, Any]:
        """The results of one γ by kind of start."""
        gamma = float(part)
        if self._generator is None:  # the same for all parts
            self._generator = Generator.of(context.network, context.order, context.conditional, context.data.training)
        generator = self._generator
        reference = self._reference(context, gamma)
        if len(reference) < 10:
            return {}
        random = np.random.default_rng([context.config.seed, int(np.float64(gamma).view(np.uint64))])
        count = min(COUNT, len(reference))
        sample, half = Sample(reference, gamma, context.config.system), len(reference) // 2
        decoded = generator.decode(generator.codes(gamma, count, random), gamma)
        side = context.config.system.box_side
        starts = {
            "aggregate": decoded,
            "descended": generator.descend(decoded, gamma),
            "normal": generator.decode(generator.normal_codes(gamma, count, random), gamma),
            "prior": generator.decode(random.normal(size=(count, generator.mean.shape[1])), gamma),
            "random": random.uniform(0.0, side, decoded.shape).astype(np.float32),
        }
        near = self._nearest(context, gamma, count)
        if near is not None:
            starts["nearest"] = near
        found: dict[str, Any] = {kind: self._after_sweeps(context, start, sample) for kind, start in starts.items()}
        found["curves"] = {
            "monte_carlo": sample.curves,
            "generated": Sample(starts["descended"], gamma, context.config.system).curves,
        }
        found["noise_floor"] = sample.part(slice(half)).compare(sample.part(slice(half, None)))
        found["effective_training_configurations"] = generator.effective_configurations(gamma)
        training = context.data.training
        found["distance_to_training"] = {
            "generated": float(np.median(generator.nearest_training(decoded[:500], training))),
            "monte_carlo": float(np.median(generator.nearest_training(reference[:500], training))),
        }
        return found

    @staticmethod
    def _after_sweeps(context: Context, start: NDArray[np.float32], reference: Sample) -> dict[str, Any]:
        gamma, system = reference.gamma, reference.system
        found = {}
        swept = sweep(start, gamma, system, SWEEPS, f"generation {context.config.seed} {gamma!r}")
        for sweeps, positions in zip(SWEEPS, swept, strict=True):
            own = Sample(positions, gamma, system)
            result: dict[str, Any] = own.compare(reference)
            result["no_overlap"] = float((own.scalars["smallest_distance"] >= OVERLAP).mean())
            result["smallest_ks_p"] = min(result[name]["ks_p"] for name in COMPARED)
            found[str(sweeps)] = result
        return found

    @staticmethod
    def _reference(context: Context, gamma: float) -> NDArray[np.float32]:
        """A Monte Carlo sample that nothing was fitted on."""
        data = context.data
        most = min(COUNT, PAIRS // context.config.system.n_particles**2)
        if gamma in data.gammas:
            own = np.concatenate([_first(split, gamma, most) for split in (data.test, data.calibration)])
        else:
            path = context.suites / f"gamma_{gamma:g}.h5"
            if not path.exists():
                return np.zeros((0, context.config.system.n_particles, 2), np.float32)
            with Dataset(path) as suite:
                own = suite.read(range(min(suite.rows, most)))["positions"]
        return np.asarray(own[:most])

    @staticmethod
    def _nearest(context: Context, gamma: float, count: int) -> NDArray[np.float32] | None:
        others = [g for g in context.data.gammas if g != gamma]
        if not others:
            return None
        return _first(context.data.training, min(others, key=lambda g: abs(g - gamma)), count)


def _first(split: Source, gamma: float, most: int) -> NDArray[np.float32]:
    """(n, N, 2) positions in σ of the first configurations of one γ."""
    own = split.of(gamma)
    return own.read(range(min(len(own), most))).positions
