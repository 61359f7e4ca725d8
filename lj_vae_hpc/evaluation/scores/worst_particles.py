"""The least likely particles."""

import numpy as np

from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Floats, Score

SHARE = 0.125  # of the particles


class WorstParticles(Score):
    """-log of the conditional density, averaged over the least likely eighth of the particles, in nats."""

    name = "worst_particles"

    def __call__(self, one: Pass) -> Floats:
        """The scores."""
        surprise = one.local.surprise
        count = max(1, round(SHARE * surprise.shape[1]))
        return np.asarray(np.sort(surprise, axis=1)[:, -count:].mean(axis=1))
