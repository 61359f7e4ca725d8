"""Whether some particles have been put where they do not belong."""

import math

import numpy as np

from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Floats, Score

SHARE = 0.1  # of the particles that are displaced under the alternative
ANYWHERE = 0.2  # of these, the share that is anywhere in the box instead of near where it was
ODD = math.log((1 - SHARE) / SHARE)  # log ratio above which a particle is more likely displaced than not
LARGEST = 60.0  # nats that one particle may contribute


def log_ratio(one: Pass) -> Floats:
    """(n, N) log likelihood ratio of each particle being displaced to its being in its place."""
    near, anywhere = np.minimum(one.local.displaced, LARGEST), np.minimum(one.local.surprise, LARGEST)
    return np.asarray(np.logaddexp(np.log(1 - ANYWHERE) + near, np.log(ANYWHERE) + anywhere))


class Displacement(Score):
    """Log likelihood ratio of every particle being displaced with probability 0.1 to none being so, in nats.

    A displaced particle is anywhere in the box with probability 0.2, else moved from its place by up to a in each
    component, log a uniform from 0.1 σ to 4 σ. Particles count as independent given their neighbours (the contamination
    model of Huber, Ann. Math. Stat. 35, 73, 1964).
    """

    name = "displacement"

    def __call__(self, one: Pass) -> Floats:
        """The scores."""
        return np.asarray(np.logaddexp(np.log(1 - SHARE), np.log(SHARE) + log_ratio(one)).sum(axis=1))
