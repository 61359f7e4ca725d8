"""What every anomaly score is."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.evaluation.passes import Pass

Floats = NDArray[np.float64]


class Score(ABC):
    """A number for every configuration: the larger, the more anomalous."""

    name: ClassVar[str]
    """As in summary.json."""
    version: ClassVar[int] = 1
    """To be raised with every change of what is computed, so that kept scores are computed anew."""
    two_sided: ClassVar[bool] = False
    """Whether too small a value is as odd as too large a one; a second score, NAME_two_sided, then says so."""
    optional: ClassVar[bool] = False
    """Whether it is computed only where evaluation.extra_scores names it, because it is slow."""
    needs_claim: ClassVar[bool] = False
    """Whether it asks if a configuration belongs to the γ that it claims."""

    def features(self, one: Pass) -> Floats | None:
        """(n, k) what it learns from each configuration of the training split; None if it learns nothing."""
        return None

    def fit(self, features: Floats, gamma: Floats) -> None:  # noqa: B027, many scores learn nothing
        """Learns; every rank does the same.

        Args:
            features: (n, k) of the training split.
            gamma: (n,) their γ.
        """

    @abstractmethod
    def __call__(self, one: Pass) -> Floats:
        """(n,) scores of the configurations of a pass."""
