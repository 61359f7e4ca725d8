"""The energy of the learned pair function."""

import numpy as np

from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Floats, Score


class LearnedEnergy(Score):
    """Σ_{i<j} w(r_ij) in k_B T, with the pair function w that the conditional model has learned."""

    name = "learned_energy"
    two_sided = True

    def __call__(self, one: Pass) -> Floats:
        """The scores."""
        return np.asarray(one.local.pair.sum(axis=1, dtype=float) / 2)
