"""The code, compared with each of the trained γ."""

from lj_vae_hpc.evaluation.nearest_class import NearestClassScore
from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Floats


class LatentDistance(NearestClassScore):
    """Squared Mahalanobis distance of the latent mean from those of the nearest trained γ, in their covariance."""

    name = "latent_distance"
    transform = False
    two_sided = True

    def features(self, one: Pass) -> Floats:
        """The latent means."""
        return one.latent_mean
