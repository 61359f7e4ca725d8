"""The bound on the likelihood."""

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Score


class NegativeELBO(Score):
    """-log p(x|z) + KL(q(z|x) || N(0, 1)) in nats, z the mean of q(z|x); without the weights of the objective."""

    name = "negative_elbo"
    two_sided = True

    def __call__(self, one: Pass) -> NDArray[np.float64]:
        """The scores."""
        return one.negative_elbo
