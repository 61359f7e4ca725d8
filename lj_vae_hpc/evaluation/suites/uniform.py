"""Particles without interactions or gravity."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.observables import Columns
from lj_vae_hpc.evaluation.suites.base import SampledSuite
from lj_vae_hpc.sampling.ensemble import Ensemble


class Uniform(SampledSuite):
    """N points uniform in the box: the sampler's start, before any sweep."""

    @classmethod
    def of(cls, config: RunConfig) -> list[Self]:
        """The one."""
        return [cls(config)]

    @property
    def name(self) -> str:
        """As in summary.json."""
        return "uniform"

    @property
    def meaning(self) -> str:
        """No sweeps."""
        return "uniformly random points"

    @property
    def ensembles(self) -> Sequence[Ensemble]:
        """No sweeps."""
        return [self.sample(self.config.system, 0.0, protocol="reference", sweeps=0)]

    def log_density(self, positions: NDArray[np.float32], columns: Columns) -> NDArray[np.float64]:
        """A constant."""
        return np.zeros(len(positions))
