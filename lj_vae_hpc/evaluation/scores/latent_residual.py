"""The code apart from the order parameter."""

import numpy as np

from lj_vae_hpc.evaluation.nearest_class import NearestClass
from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Floats, Score


class LatentResidual(Score):
    """Squared distance from the nearest trained γ of what of the latent mean is orthogonal to the order parameter."""

    name = "latent_residual"
    two_sided = True

    def features(self, one: Pass) -> Floats:
        """The latent means without their part along the axis."""
        direction = one.learned.order.direction / np.linalg.norm(one.learned.order.direction)
        return np.asarray(one.latent_mean - np.outer(one.latent_mean @ direction, direction))

    def fit(self, features: Floats, gamma: Floats) -> None:
        """The distribution of each γ."""
        self._nearest = NearestClass(features, gamma, transform=False)

    def __call__(self, one: Pass) -> Floats:
        """The scores."""
        return self._nearest(self.features(one))
