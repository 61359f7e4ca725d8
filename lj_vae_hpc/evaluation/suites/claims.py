"""Configurations that claim a wrong γ."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from lj_vae_hpc.config.evaluation import Claim
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.ceilings import Ceiling, NormalMixture
from lj_vae_hpc.evaluation.metrics import auroc
from lj_vae_hpc.evaluation.observables import Chosen, Columns
from lj_vae_hpc.evaluation.sources import AnySource
from lj_vae_hpc.evaluation.suites.base import SampledSuite
from lj_vae_hpc.sampling.ensemble import Ensemble
from lj_vae_hpc.training.batches import Configurations


@dataclass(frozen=True, eq=False)
class WrongClaim(SampledSuite):
    """One of evaluation.claims, told from the normal configurations of the claimed γ."""

    claim: Claim

    claims: ClassVar[bool] = True

    @classmethod
    def of(cls, config: RunConfig) -> list[Self]:
        """One for each pair."""
        return [cls(config, claim) for claim in config.evaluation.claims]

    @property
    def name(self) -> str:
        """Both γ."""
        return f"claimed_{self.claim.claimed:g}_true_{self.claim.true:g}"

    @property
    def meaning(self) -> str:
        """Both γ."""
        return f"of γ = {self.claim.true:g}, said to be of {self.claim.claimed:g}; told by the score claim"

    @property
    def identity(self) -> dict[str, Any]:
        """With the claimed γ."""
        return super().identity | {"claimed": self.claim.claimed}

    @property
    def ensembles(self) -> Sequence[Ensemble]:
        """The run's system at the true γ."""
        return [self.sample(self.config.system, self.claim.true)]

    def why_left_out(self, trained: Sequence[float]) -> str | None:
        """The claimed γ must be a trained one, and not the true one."""
        if self.claim.claimed not in trained:
            return f"the model was not trained on γ = {self.claim.claimed:g}"
        if self.claim.claimed not in self.config.sampling.gamma_values:
            return f"the data set no longer holds γ = {self.claim.claimed:g}"
        return "the claim is right" if self.claim.claimed == self.claim.true else None

    def read(self, source: AnySource, part: range) -> Configurations:
        """Part of the configurations, with the claimed γ."""
        positions, gamma = source.read(part)
        return Configurations(positions, np.full_like(gamma, self.claim.claimed))

    def normal(self, columns: Columns) -> Columns:
        """Those of the claimed γ."""
        return Chosen(columns, columns["gamma"] == self.claim.claimed)

    def ceiling(self, mixture: NormalMixture, normal: Columns, own: Columns) -> Ceiling:
        """Exact: the likelihood ratio of two γ of one fluid is monotonic in Σ y."""
        sign = -1.0 if self.claim.true > self.claim.claimed else 1.0
        return Ceiling(*auroc(sign * normal["height_sum"], sign * own["height_sum"]), "likelihood ratio")
