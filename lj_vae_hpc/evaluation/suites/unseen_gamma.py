"""Values of γ that the network was not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.observables import Columns
from lj_vae_hpc.evaluation.suites.base import SampledSuite
from lj_vae_hpc.sampling.ensemble import Ensemble


@dataclass(frozen=True, eq=False)
class UnseenGamma(SampledSuite):
    """The fluid itself at another γ, a suite for each of evaluation.unseen_gammas."""

    gamma: float

    @classmethod
    def of(cls, config: RunConfig) -> list[Self]:
        """One for each value."""
        return [cls(config, gamma) for gamma in config.evaluation.unseen_gammas]

    @property
    def name(self) -> str:
        """gamma_ and the value."""
        return f"gamma_{self.gamma:g}"

    @property
    def meaning(self) -> str:
        """The γ."""
        return f"γ = {self.gamma:g}, which was not trained"

    @property
    def ensembles(self) -> Sequence[Ensemble]:
        """The run's system at this γ."""
        return [self.sample(self.config.system, self.gamma)]

    def why_left_out(self, trained: Sequence[float]) -> str | None:
        """It is normal where it was trained on."""
        return f"the model was trained on γ = {self.gamma:g}" if self.gamma in trained else None

    def log_density(self, positions: NDArray[np.float32], columns: Columns) -> NDArray[np.float64]:
        """-U / T."""
        energy = columns["pair_energy"] + self.gamma * columns["height_sum"]
        return np.asarray(-energy / self.config.system.temperature)
