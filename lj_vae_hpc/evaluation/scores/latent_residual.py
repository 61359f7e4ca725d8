"""The code apart from the order parameter."""

import numpy as np

from lj_vae_hpc.evaluation.nearest_class import NearestClassScore
from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Floats


class LatentResidual(NearestClassScore):
    """Squared distance from the nearest trained γ of what of the latent mean is orthogonal to the order parameter."""

    name = "latent_residual"
    transform = False
    two_sided = True

    def features(self, one: Pass) -> Floats:
        """The latent means without their part along the axis."""
        direction = one.learned.order.direction / np.linalg.norm(one.learned.order.direction)
        return np.asarray(one.latent_mean - np.outer(one.latent_mean @ direction, direction))
