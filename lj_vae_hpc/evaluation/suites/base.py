"""What every anomaly suite is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.system import System
from lj_vae_hpc.evaluation.ceilings import Ceiling, NormalMixture, likelihood_ratio, physics_alone
from lj_vae_hpc.evaluation.observables import Columns
from lj_vae_hpc.evaluation.sources import AnySource
from lj_vae_hpc.sampling.ensemble import Ensemble
from lj_vae_hpc.training.batches import Configurations


@dataclass(frozen=True, eq=False)
class Suite(ABC):
    """Configurations that a detector should find odd.

    Attributes:
        config: the run's configuration; `sampling.gammas` are those of normal configurations: trained, and in the data.
    """

    config: RunConfig

    paired: ClassVar[bool] = False
    """Whether configuration k is made from normal configuration k."""
    claims: ClassVar[bool] = False
    """Whether its configurations claim a trained γ, which is then part of what is scored."""
    scores_particles: ClassVar[bool] = False
    """Whether every particle is scored as well, though it is not known which are to blame."""

    @classmethod
    @abstractmethod
    def of(cls, config: RunConfig) -> list[Self]:
        """The suites of this kind that a configuration asks for."""

    @property
    @abstractmethod
    def name(self) -> str:
        """As in summary.json."""

    @property
    def meaning(self) -> str:
        """What its configurations are, in a few words for the page."""
        return self.name

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What its configurations follow from, by value; those that are made from the test split depend on it, too."""

    @property
    def ensembles(self) -> Sequence[Ensemble]:
        """What is sampled for it, equally many configurations of each; nothing where it is made from the test split."""
        return ()

    @property
    def file(self) -> Path | None:
        """The user's file that it is read from, if so."""
        return None

    def why_left_out(self, trained: Sequence[float]) -> str | None:
        """Why it holds no anomalies for a model that was trained on these γ, if so."""
        return None

    def count(self, source: AnySource) -> int:
        """Number of configurations; the source is the file of its ensemble, or else the test split."""
        return len(source)

    def read(self, source: AnySource, part: range) -> Configurations:
        """A contiguous part of its configurations."""
        return source.read(part)

    def culprits(self, source: AnySource, part: range, own: Configurations) -> NDArray[np.bool_] | None:
        """(n, N) which particles make its configurations odd; None where that is not known.

        Args:
            source: as of read.
            part: as of read.
            own: what read has given.
        """
        return None

    def normal(self, columns: Columns) -> Columns:
        """The normal configurations that it is told from.

        Args:
            columns: of the test split.
        """
        return columns

    def log_density(self, positions: NDArray[np.float32], columns: Columns) -> NDArray[np.float64] | None:
        """(n,) logarithm of its density, up to one constant, in the box; None where it is not known.

        Args:
            positions: (n, N, 2), in σ; of any suite, or normal.
            columns: their observables.
        """
        return None

    def ceiling(self, mixture: NormalMixture, normal: Columns, own: Columns) -> Ceiling:
        """The best AUROC that any score can have, by the likelihood ratio; a lower bound where no density is known.

        Args:
            mixture: the distribution of normal configurations.
            normal: observables of the normal configurations.
            own: observables of the suite's; where it is known, log_density, and of_normal/log_density, its log-density
                at the normal ones.
        """
        if "log_density" not in own:
            return physics_alone(mixture, normal, own, self.paired)
        return likelihood_ratio(mixture, normal, own, own["of_normal/log_density"], own["log_density"])


class SampledSuite(Suite):
    """A suite that is drawn with the sampler: the configurations of some ensembles, one of each chain."""

    @property
    @abstractmethod
    def ensembles(self) -> Sequence[Ensemble]:
        """What is sampled."""

    @property
    def identity(self) -> dict[str, Any]:
        """The ensembles' keys, and how many configurations."""
        keys = [ensemble.key for ensemble in self.ensembles]
        return {"ensembles": keys, "configurations": self.config.evaluation.configurations}

    def sample(self, system: System, gamma: float, **changes: Any) -> Ensemble:
        """The ensemble of a fluid under the protocol of the run's data; with imported data under `equilibrated`.

        Args:
            system: the fluid.
            gamma: γ.
            changes: of the section `sampling`.
        """
        protocol = "reference" if self.config.sampling.protocol == "reference" else "equilibrated"
        own = {"protocol": protocol, "samples_per_chain": 1, "check_equilibrium": False, **changes}
        return Ensemble(self.config.seed, system, gamma, self.config.sampling.model_copy(update=own))
