"""How a configuration would change the network."""

import numpy as np

from lj_vae_hpc.evaluation.nearest_class import NearestClassScore
from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Floats


class GradientNorms(NearestClassScore):
    """Squared distance of the logarithms of the gradient's norms, layer by layer, from those of the nearest γ.

    The gradient is that of the loss of one configuration in the weights of each fully connected layer (after Kwon et
    al., arXiv:2007.09507).
    """

    name = "gradient_norms"
    transform = False
    two_sided = True
    optional = True

    def features(self, one: Pass) -> Floats:
        """(n, layers) logarithms of the norms."""
        return np.log(one.gradient_norms + 1e-30)
