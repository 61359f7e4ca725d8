"""What every anomaly suite is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.system import System
from lj_vae_hpc.evaluation.ceilings import Ceiling, NormalMixture, likelihood_ratio
from lj_vae_hpc.evaluation.observables import Arrays
from lj_vae_hpc.evaluation.sources import Source
from lj_vae_hpc.sampling.ensemble import Ensemble
from lj_vae_hpc.training.batches import Configurations

NORMAL = "normal"


@dataclass(frozen=True, eq=False)
class Suite(ABC):
    """Configurations that a detector should find odd.

    Attributes:
        config: the run's configuration.
    """

    config: RunConfig

    paired: ClassVar[bool] = False
    """Whether configuration k is made from normal configuration k."""

    @classmethod
    @abstractmethod
    def of(cls, config: RunConfig) -> list[Self]:
        """The suites of this kind that a configuration asks for."""

    @property
    @abstractmethod
    def name(self) -> str:
        """As in summary.json."""

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What its configurations follow from, by value; those that are made from the test split depend on it, too."""

    @property
    def ensemble(self) -> Ensemble | None:
        """What is sampled for it; None where it is made from the test split."""
        return None

    def why_left_out(self, trained: Sequence[float]) -> str | None:
        """Why it holds no anomalies for a model that was trained on these γ, if so."""
        return None

    def count(self, source: Source) -> int:
        """Number of configurations; the source is the file of its ensemble, or else the test split."""
        return len(source)

    def read(self, source: Source, part: range) -> Configurations:
        """A contiguous part of its configurations."""
        return source.read(part)

    def log_density(self, positions: NDArray[np.float32], columns: Arrays) -> NDArray[np.float64] | None:
        """(n,) logarithm of its density, up to one constant, in the box; None where it is not known.

        Args:
            positions: (n, N, 2), in σ; of any suite, or normal.
            columns: their observables.
        """
        return None

    def ceiling(self, mixture: NormalMixture, normal: Arrays, own: Arrays) -> Ceiling:
        """The best AUROC that any score can have: that of the likelihood ratio.

        Args:
            mixture: the distribution of normal configurations.
            normal: observables of the normal configurations.
            own: observables of the suite's, log_density, and of_normal/log_density, its log-density at the normal ones.
        """
        return likelihood_ratio(mixture, normal, own, own["of_normal/log_density"], own["log_density"])


class SampledSuite(Suite):
    """A suite that is drawn with the sampler: the configurations of one ensemble, one of each chain."""

    @property
    @abstractmethod
    def ensemble(self) -> Ensemble:
        """What is sampled."""

    @property
    def identity(self) -> dict[str, Any]:
        """The ensemble's key, and how many configurations."""
        return {"ensemble": self.ensemble.key, "configurations": self.config.evaluation.configurations}

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


class Normal(Suite):
    """The test split, which the suites are told from."""

    @classmethod
    def of(cls, config: RunConfig) -> list[Self]:
        """The one."""
        return [cls(config)]

    @property
    def name(self) -> str:
        """As in scores.h5."""
        return NORMAL

    @property
    def identity(self) -> dict[str, Any]:
        """Nothing besides the test split itself."""
        return {}
