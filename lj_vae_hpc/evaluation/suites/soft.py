"""Another pair potential."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.system import System
from lj_vae_hpc.evaluation.observables import Arrays
from lj_vae_hpc.evaluation.suites.base import SampledSuite
from lj_vae_hpc.physics.energies import pair_energy
from lj_vae_hpc.sampling.ensemble import Ensemble


class Soft(SampledSuite):
    """Particles with the soft potential u = 4 (r^-4 - r^-2), not truncated, at evaluation.soft_gamma."""

    @classmethod
    def of(cls, config: RunConfig) -> list[Self]:
        """The one."""
        return [cls(config)]

    @property
    def name(self) -> str:
        """As in summary.json."""
        return "soft"

    @property
    def system(self) -> System:
        """The run's system with the soft potential."""
        return self.config.system.model_copy(update={"potential": "soft", "cutoff": None})

    @property
    def ensemble(self) -> Ensemble:
        """That system at evaluation.soft_gamma."""
        return self.sample(self.system, self.config.evaluation.soft_gamma)

    def why_left_out(self, trained: Sequence[float]) -> str | None:
        """It is normal where the run's own potential is the soft one."""
        gamma = self.config.evaluation.soft_gamma
        same = self.system == self.config.system and gamma in trained
        return f"the model was trained on the soft potential at γ = {gamma:g}" if same else None

    def log_density(self, positions: NDArray[np.float32], columns: Arrays) -> NDArray[np.float64]:
        """-U / T with U of the soft potential."""
        pairs = pair_energy(positions, self.system.pair_potential)
        energy = pairs + self.config.evaluation.soft_gamma * columns["height_sum"]
        return np.asarray(-energy / self.config.system.temperature)
