"""The error of the reconstruction."""

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Score


class RMSE(Score):
    """Root mean squared error of the distance matrix, in units of L√2; of the entries where there are no distances."""

    name = "rmse"
    two_sided = True

    def __call__(self, one: Pass) -> NDArray[np.float64]:
        """The scores."""
        return np.asarray(np.sqrt(one.squared_error))
