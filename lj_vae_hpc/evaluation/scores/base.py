"""What every anomaly score is."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.evaluation.passes import Pass

if TYPE_CHECKING:
    from lj_vae_hpc.parallel.world import World


class Score(ABC):
    """A number for every configuration: the larger, the more anomalous."""

    name: ClassVar[str]
    """As in summary.json."""
    version: ClassVar[int] = 1
    """To be raised with every change of what is computed, so that kept scores are computed anew."""
    is_fitted: ClassVar[bool] = False
    """Whether it learns from the training split."""

    def observe(self, one: Pass) -> None:  # noqa: B027, most scores learn nothing
        """Learns from some configurations of this rank's share of the training split."""

    def finish_fit(self, world: "World") -> None:  # noqa: B027
        """Combines what the ranks have learned, once each has seen all of its share."""

    @abstractmethod
    def __call__(self, one: Pass) -> NDArray[np.floating[Any]]:
        """(n,) scores of the configurations of a pass."""
