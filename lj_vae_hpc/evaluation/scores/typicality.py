"""Whether the configuration as a whole is like those of some trained γ."""

import numpy as np

from lj_vae_hpc.evaluation.nearest_class import NearestClassScore
from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Floats


class Typicality(NearestClassScore):
    """Squared distance from the nearest trained γ of five numbers of a configuration, each made normal.

    The order parameter; the learned pair energy; and the means over the particles of the surprise, of the free energy
    of one more particle, and of the log likelihood ratio of being displaced. A configuration may be odd because it is
    too ordinary, so both directions count.
    """

    name = "typicality"
    transform = True

    def features(self, one: Pass) -> Floats:
        """The numbers."""
        local = one.local
        pair, surprise = local.pair.astype(np.float64), local.surprise
        energy = pair + one.slope[:, None] * one.height
        return np.stack([
            one.order, pair.sum(axis=1) / 2, surprise.mean(axis=1), (surprise - energy).mean(axis=1),
            local.displaced.mean(axis=1),
        ], axis=1)  # fmt: skip
