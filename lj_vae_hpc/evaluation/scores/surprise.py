"""How unlikely the particles are where they are, given the others."""

import numpy as np

from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Floats, Score


class Surprise(Score):
    """-log of the conditional density of a particle given the others, in nats, averaged over the particles.

    The negative logarithm of Besag's pseudo-likelihood (The Statistician 24, 179, 1975).
    """

    name = "surprise"
    two_sided = True

    def __call__(self, one: Pass) -> Floats:
        """The scores."""
        return np.asarray(one.local.surprise.mean(axis=1))
