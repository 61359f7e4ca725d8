"""The distance of the code from those of the training split."""

import numpy as np
from sklearn.covariance import LedoitWolf

from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Floats, Score


class Mahalanobis(Score):
    """Distance of the latent mean from the mean of the training split's, in their covariance."""

    name = "mahalanobis"
    two_sided = True

    def features(self, one: Pass) -> Floats:
        """The latent means."""
        return one.latent_mean

    def fit(self, features: Floats, gamma: Floats) -> None:
        """Mean and covariance, shrunk (Ledoit and Wolf, J. Multivar. Anal. 88, 365, 2004)."""
        self._distribution = LedoitWolf().fit(features)

    def __call__(self, one: Pass) -> Floats:
        """The scores."""
        return np.asarray(np.sqrt(self._distribution.mahalanobis(one.latent_mean)))
