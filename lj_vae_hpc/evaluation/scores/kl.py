"""The length of the code."""

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Score


class KL(Score):
    """KL(q(z|x) || N(0, 1)) in nats per configuration, summed over latent dimensions."""

    name = "kl"
    two_sided = True

    def __call__(self, one: Pass) -> NDArray[np.float64]:
        """The scores."""
        return one.kl
