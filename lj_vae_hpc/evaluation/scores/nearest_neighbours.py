"""The distance to the nearest codes of the training split."""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Floats, Score

NEIGHBOURS, CODES = 10, 4096


class Neighbours(Score):
    """Distance of the whitened latent mean to the tenth nearest among the first 4,096 of the training split."""

    name = "nearest_neighbours"
    two_sided = True

    def features(self, one: Pass) -> Floats:
        """The latent means."""
        return one.latent_mean

    def fit(self, features: Floats, gamma: Floats) -> None:
        """Keeps the codes."""
        self._whiten = PCA(whiten=True, svd_solver="full").fit(features)
        codes = self._whiten.transform(features[:CODES])
        self._nearest = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(codes)), algorithm="brute").fit(codes)

    def __call__(self, one: Pass) -> Floats:
        """The scores."""
        return np.asarray(self._nearest.kneighbors(self._whiten.transform(one.latent_mean))[0][:, -1])
