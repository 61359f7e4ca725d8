"""Other fluids: another pair potential, another temperature."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.evaluation import Fluid
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.system import System
from lj_vae_hpc.evaluation.observables import Columns
from lj_vae_hpc.evaluation.suites.base import SampledSuite
from lj_vae_hpc.physics.energies import pair_energy
from lj_vae_hpc.sampling.ensemble import Ensemble


@dataclass(frozen=True, eq=False)
class OtherFluid(SampledSuite):
    """One of evaluation.fluids.

    Attributes:
        label: its key there.
        fluid: its values.
    """

    label: str
    fluid: Fluid

    @classmethod
    def of(cls, config: RunConfig) -> list[Self]:
        """One for each."""
        return [cls(config, label, fluid) for label, fluid in config.evaluation.fluids.items()]

    @property
    def name(self) -> str:
        """The key."""
        return self.label

    @property
    def meaning(self) -> str:
        """What the fluid has instead."""
        changes = self.fluid.model_dump(exclude={"gamma"}, exclude_none=True)
        said = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in changes.items())
        return f"another fluid at γ = {self.fluid.gamma:g}: {said}"

    @property
    def system(self) -> System:
        """The run's system with the changes."""
        given = self.fluid.model_dump(exclude={"gamma"}, exclude_none=True)
        if "potential" in given:
            given.setdefault("cutoff", None)
        return System.model_validate(self.config.system.model_dump() | given)

    @property
    def ensembles(self) -> Sequence[Ensemble]:
        """That system at its γ."""
        return [self.sample(self.system, self.fluid.gamma)]

    def why_left_out(self, trained: Sequence[float]) -> str | None:
        """Where it is the run's own it is no other fluid; evaluation.unseen_gammas has that at γ not trained on."""
        return "the model was trained on this fluid" if self.system == self.config.system else None

    def log_density(self, positions: NDArray[np.float32], columns: Columns) -> NDArray[np.float64]:
        """-U / T of this fluid."""
        pairs = pair_energy(positions, self.system.pair_potential)
        energy = pairs + self.fluid.gamma * columns["height_sum"]
        return np.asarray(-energy / self.system.temperature)
