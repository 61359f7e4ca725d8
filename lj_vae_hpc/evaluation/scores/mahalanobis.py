"""The distance of the code from those of the training split."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Score

if TYPE_CHECKING:
    from lj_vae_hpc.parallel.world import World

FLOOR = 1e-6  # of the mean variance, added to every one: a collapsed dimension must not dominate


class Mahalanobis(Score):
    """Distance of the latent mean from the mean of the training split's, in their covariance."""

    name = "mahalanobis"
    is_fitted = True

    def __init__(self) -> None:
        self._moments = np.zeros((0, 0))
        self._mean = np.zeros(0)
        self._precision = np.zeros((0, 0))

    def observe(self, one: Pass) -> None:
        """Adds zeroth, first and second moments."""
        extended = np.c_[one.latent_mean, np.ones(len(one.latent_mean))]  # (n, d + 1)
        moments = extended.T @ extended
        self._moments = self._moments + moments if self._moments.size else moments

    def finish_fit(self, world: "World") -> None:
        """Mean and inverse covariance of all ranks' configurations; a rank may have seen none."""
        size = max(world.gather(len(self._moments)))
        moments = world.sum(self._moments if self._moments.size else np.zeros((size, size)))
        count = moments[-1, -1]
        self._mean = moments[-1, :-1] / count
        covariance = moments[:-1, :-1] / count - np.outer(self._mean, self._mean)
        floor = FLOOR * np.trace(covariance) / len(covariance)
        self._precision = np.linalg.inv(covariance + floor * np.eye(len(covariance)))

    def __call__(self, one: Pass) -> NDArray[np.float64]:
        """The scores."""
        offset = one.latent_mean - self._mean
        return np.asarray(np.sqrt(np.einsum("ni,ij,nj->n", offset, self._precision, offset)))
