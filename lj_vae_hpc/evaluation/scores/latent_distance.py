"""The code, compared with each of the trained γ."""

from lj_vae_hpc.evaluation.nearest_class import NearestClass
from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Floats, Score


class LatentDistance(Score):
    """Squared Mahalanobis distance of the latent mean from those of the nearest trained γ, in their covariance."""

    name = "latent_distance"
    two_sided = True

    def features(self, one: Pass) -> Floats:
        """The latent means."""
        return one.latent_mean

    def fit(self, features: Floats, gamma: Floats) -> None:
        """The distribution of each γ."""
        self._nearest = NearestClass(features, gamma, transform=False)

    def __call__(self, one: Pass) -> Floats:
        """The scores."""
        return self._nearest(one.latent_mean)
