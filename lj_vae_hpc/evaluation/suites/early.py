"""Configurations that have not reached equilibrium."""

from collections.abc import Sequence
from typing import Self

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.suites.base import SampledSuite
from lj_vae_hpc.sampling.ensemble import Ensemble


class Early(SampledSuite):
    """The run's own fluid at every γ of normal configurations, evaluation.early_sweeps sweeps after a random start."""

    @classmethod
    def of(cls, config: RunConfig) -> list[Self]:
        """The one, unless it is switched off."""
        return [cls(config)] if config.evaluation.early_sweeps else []

    @property
    def name(self) -> str:
        """As in summary.json."""
        return "early"

    @property
    def meaning(self) -> str:
        """How early."""
        return f"{self.config.evaluation.early_sweeps} sweeps after a random start"

    @property
    def ensembles(self) -> Sequence[Ensemble]:
        """One for each γ."""
        gammas, sweeps = sorted(self.config.sampling.gamma_values), self.config.evaluation.early_sweeps
        return [self.sample(self.config.system, g, protocol="reference", sweeps=sweeps, step=0.2) for g in gammas]
