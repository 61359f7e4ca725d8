"""The order parameter that separates the trained values of γ, found in the latent space."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp
from sklearn.decomposition import PCA

Floats = NDArray[np.float64]

CLASSES = 16  # at most; more values of γ are put together with their neighbours
RIDGE = 1e-5  # keeps the axis finite where the classes do not overlap


def class_of(gamma: Floats, gammas: Floats) -> NDArray[np.int64]:
    """(n,) the class of each configuration: its γ, or, of many, a group of adjacent ones.

    Args:
        gamma: (n,) γ of each, among the trained ones.
        gammas: (k,) the trained ones, ascending.
    """
    number = np.searchsorted(gammas, gamma)
    return np.asarray(number * min(CLASSES, len(gammas)) // len(gammas))


class OrderParameter:
    """A linear function h of the latent mean such that log p(γ|z) = -γ h(z) - ln Z(γ) + const, by maximum likelihood.

    Under Boltzmann distributions h would be Σ y / T up to a constant, if that is linear in the latent mean; but only γ
    is told. With a single γ it is the first principal component instead.

    Args:
        latent_mean: (n, d) of training configurations.
        gamma: (n,) their γ.

    Attributes:
        gammas: (k,) the trained γ, ascending.
        direction: (d,) of h; h = (z - centre) · direction.
    """

    def __init__(self, latent_mean: Floats, gamma: Floats) -> None:
        self.gammas = np.unique(gamma)
        self._centre = latent_mean.mean(axis=0)
        if len(self.gammas) == 1:
            self.direction = np.asarray(PCA(1, svd_solver="full").fit(latent_mean).components_[0])
            self._log_z = np.zeros(1)
            return
        fit = _Fit(latent_mean - self._centre, gamma, self.gammas)
        self.direction, self._log_z = fit.result()
        sample = self(latent_mean)
        density = logsumexp(self._exponents(sample, self.gammas, self._log_z), axis=1)
        low, high = 2 * self.gammas[0] - self.gammas[1], 2 * self.gammas[-1] - self.gammas[-2]
        self._possible = np.concatenate([[low], self.gammas, [high]])
        self._log_z_possible = np.array([logsumexp(-g * sample - density) for g in self._possible])

    def __call__(self, latent_mean: Floats) -> Floats:
        """(n,) the value."""
        return np.asarray((latent_mean - self._centre) @ self.direction)

    def probability(self, latent_mean: Floats) -> Floats:
        """(n, k) probabilities of the trained γ, ascending."""
        return np.asarray(np.exp(log_softmax(self._exponents(self(latent_mean), self.gammas, self._log_z), axis=1)))

    def log_probability_of(self, claimed: Floats, latent_mean: Floats) -> Floats:
        """(n,) log probability of one γ of each configuration, among the trained ones and one more on either side.

        The two are as far from the ends as the ends are from their neighbours; without them a configuration of a γ
        beyond the largest would belong to the largest more than its own do. ln Z of γ that were not trained is
        reweighted from those that were (Shirts and Chodera, J. Chem. Phys. 129, 124105, 2008).

        Args:
            claimed: (n,) γ.
            latent_mean: (n, d).
        """
        if len(self.gammas) == 1:
            return np.where(claimed == self.gammas[0], 0.0, -np.inf)
        exponents = self._exponents(self(latent_mean), self._possible, self._log_z_possible)
        log_p = log_softmax(exponents, axis=1)
        number = np.minimum(np.searchsorted(self.gammas, claimed), len(self.gammas) - 1)
        known = np.isclose(self.gammas[number], claimed, rtol=1e-12)
        return np.where(known, log_p[np.arange(len(claimed)), number + 1], -np.inf)

    def log_weight(self, gamma: float, latent_mean: Floats) -> Floats:
        """(n,) log of the ratio of p_γ to the equal mixture of the trained γ, up to one constant, for any γ."""
        if len(self.gammas) == 1:
            return np.zeros(len(latent_mean))
        order = self(latent_mean)
        return np.asarray(-gamma * order - logsumexp(self._exponents(order, self.gammas, self._log_z), axis=1))

    @staticmethod
    def _exponents(order: Floats, gammas: Floats, log_z: Floats) -> Floats:
        return np.asarray(-np.outer(order, gammas) - log_z)


class _Fit:
    """The likelihood of the axis and of ln Z."""

    def __init__(self, latent_mean: Floats, gamma: Floats, gammas: Floats) -> None:
        self._scale, self._gamma_scale = latent_mean.std(axis=0) + 1e-12, gammas.std()
        self._z, self._gammas = latent_mean / self._scale, gammas / self._gamma_scale
        self._number = np.searchsorted(gammas, gamma)

    def result(self) -> tuple[Floats, Floats]:
        """Direction and ln Z of every γ."""
        dimension = self._z.shape[1]
        start = np.zeros(dimension + len(self._gammas))
        found = minimize(self._loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-12}).x
        return found[:dimension] / self._scale / self._gamma_scale, -found[dimension:]

    def _loss(self, parameters: Floats) -> tuple[float, Floats]:
        dimension, n = self._z.shape[1], len(self._z)
        axis, intercepts = parameters[:dimension], parameters[dimension:]
        log_p = log_softmax(intercepts - np.outer(self._z @ axis, self._gammas), axis=1)
        excess = np.exp(log_p)
        excess[np.arange(n), self._number] -= 1.0
        loss = -log_p[np.arange(n), self._number].mean() + 0.5 * RIDGE * axis @ axis
        return float(loss), np.r_[RIDGE * axis - self._z.T @ (excess @ self._gammas) / n, excess.mean(axis=0)]
