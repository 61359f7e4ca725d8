"""How much closer the code is to the training split as a whole than to any of its γ."""

import numpy as np
from sklearn.covariance import LedoitWolf

from lj_vae_hpc.evaluation.order import class_of
from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Floats, Score


class RelativeMahalanobis(Score):
    """Squared Mahalanobis distance from the nearest trained γ, minus that from all (Ren et al., arXiv:2106.09022).

    The classes share one covariance.
    """

    name = "relative_mahalanobis"

    def features(self, one: Pass) -> Floats:
        """The latent means."""
        return one.latent_mean

    def fit(self, features: Floats, gamma: Floats) -> None:
        """Means of the classes, and covariances within them and of all."""
        classes = class_of(gamma, np.unique(gamma))
        self._means = np.stack([features[classes == k].mean(axis=0) for k in np.unique(classes)])
        number = np.searchsorted(np.unique(classes), classes)
        self._within = LedoitWolf().fit(features - self._means[number])
        self._all = LedoitWolf().fit(features)

    def __call__(self, one: Pass) -> Floats:
        """The scores."""
        z = one.latent_mean
        nearest = np.min([self._within.mahalanobis(z - mean) for mean in self._means], axis=0)
        return np.asarray(nearest - self._all.mahalanobis(z))
