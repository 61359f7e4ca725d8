"""What is scored besides the anomaly suites: normal configurations, and those of anyone who asks."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.suites.base import Suite

NORMAL = "normal"
SPLITS = (NORMAL, "validation", "calibration")


@dataclass(frozen=True, eq=False)
class Split(Suite):
    """Normal configurations: a split of the run's data set.

    Attributes:
        split: `normal`, the test split; `validation` or `calibration`.
    """

    split: str

    claims: ClassVar[bool] = True

    @classmethod
    def of(cls, config: RunConfig) -> list[Self]:
        """All that are scored, the test split first."""
        return [cls(config, name) for name in SPLITS]

    @property
    def name(self) -> str:
        """As in scores.h5."""
        return self.split

    @property
    def identity(self) -> dict[str, Any]:
        """Its name; the rest follows from the data."""
        return {"split": self.split}


class Asked(Suite):
    """Configurations of which nothing is known."""

    scores_particles: ClassVar[bool] = True

    @classmethod
    def of(cls, config: RunConfig) -> list[Self]:
        """None: no configuration of a run asks for them."""
        return []

    @property
    def name(self) -> str:
        """What their columns are called."""
        return "scores"

    @property
    def identity(self) -> dict[str, Any]:
        """Nothing: their scores are not kept."""
        return {}
