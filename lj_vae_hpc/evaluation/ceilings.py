"""The best possible detector of each suite.

Normal configurations are an equal mixture of Boltzmann distributions p_γ(x) = exp(-(E(x) + γ h(x)) / T) / Z_γ in the
box, with E the pair energy and h = Σ y; outside the box their density is 0. By the lemma of Neyman and Pearson (Phil.
Trans. R. Soc. A 231, 289, 1933) no score has a larger AUROC than the likelihood ratio of anomaly to normal, and for a
suite that is itself a Boltzmann distribution that ratio is known up to a constant. Where data were not sampled in
equilibrium this holds only as far as they are near it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp, softmax

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.metrics import auroc
from lj_vae_hpc.evaluation.observables import Columns
from lj_vae_hpc.evaluation.sources import pieces

Floats = NDArray[np.float64]

NUMBERS_AT_ONCE = 1 << 18
GRADIENT = 1e-6  # largest difference between the share of a γ and its mean posterior probability


@dataclass(frozen=True)
class Ceiling:
    """The best AUROC, or what is known of it.

    Attributes:
        value: AUROC.
        interval: its 95 % confidence interval.
        kind: what it is.
    """

    value: float
    interval: tuple[float, float]
    kind: str


@dataclass(frozen=True, eq=False)
class NormalMixture:
    """The distribution of normal configurations.

    Attributes:
        gammas: (k,) values of γ, equally frequent.
        log_z: (k,) ln Z_γ, up to one constant.
        temperature: T, in ε.
    """

    gammas: Sequence[float]
    log_z: Floats
    temperature: float

    def log_density(self, columns: Columns) -> Floats:
        """(n,) logarithm of the density, up to one constant; -inf where a particle is outside the box.

        Args:
            columns: observables of the configurations.
        """
        height = columns["height_sum"]
        weights = [logsumexp(-np.asarray(self.gammas) * some[:, None] / self.temperature - self.log_z, axis=1)
                   for some in _parts(height, len(self.gammas))]  # fmt: skip
        inside = -columns["pair_energy"] / self.temperature + np.concatenate(weights)
        return np.where(columns["outside"] > 0, -np.inf, inside)


def _parts(values: NDArray[Any], gammas: int) -> list[NDArray[Any]]:
    """Parts of some values, of which so many γ give NUMBERS_AT_ONCE numbers."""
    return [values[some.start : some.stop] for some in pieces(len(values), max(1, NUMBERS_AT_ONCE // gammas))]


def fit_mixture(height: Floats, gamma: Floats, gammas: Sequence[float], temperature: float) -> NormalMixture:
    """The mixture of some γ, with ln Z_γ estimated from configurations; they must not be those it is applied to.

    Args:
        height: (n,) Σ y, in σ.
        gamma: (n,) γ of each configuration.
        gammas: (k,) ascending; each occurs.
        temperature: T, in ε.

    Raises:
        UserError: the estimate does not converge.
    """
    which = np.searchsorted(gammas, gamma)
    return NormalMixture(gammas, relative_free_energies(height, which, gammas, temperature), temperature)


def relative_free_energies(
    height: Floats, which: NDArray[np.int64], gammas: Sequence[float], temperature: float
) -> Floats:
    """Relative ln Z_γ, up to one constant, from configurations of every γ.

    The maximum-likelihood estimate (multistate Bennett acceptance ratio; Shirts and Chodera, J. Chem. Phys. 129,
    124105, 2008): given h alone, the posterior of γ is a softmax whose intercepts are -ln Z_γ. Convex.

    Args:
        height: (n,) Σ y, in σ.
        which: (n,) index of each configuration's γ.
        gammas: (k,) the values.
        temperature: T, in ε.

    Raises:
        UserError: a γ has no configuration, or the estimate does not converge.
    """
    fit = _Posterior(height, which, -np.asarray(gammas) / temperature)
    if not fit.shares.all():
        raise UserError("ceilings: ln Z needs configurations of every γ in the validation split, and one has none")
    result = minimize(
        fit.loss, fit.start(), jac=True, hess=fit.hessian, method="trust-exact", options={"gtol": 1e-8}
    )  # fmt: skip
    largest = float(np.abs(fit.loss(result.x)[1]).max())
    if not largest < GRADIENT:  # rounding can end the search before gtol, which is stricter than necessary
        raise UserError(
            f"ceilings: the estimate of ln Z from {len(height)} configurations of the validation split did not "
            f"converge (gradient {largest:.1e}, {GRADIENT:.0e} is accepted; {result.message})"
        )
    return np.asarray(fit.centre - result.x + np.log(fit.shares))


class _Posterior:
    """Minus the mean log-likelihood of γ given h, as a function of the intercepts."""

    def __init__(self, height: Floats, which: NDArray[np.int64], slopes: Floats) -> None:
        middle = height.mean()
        self.centre = middle * slopes  # keeps the optimisation well scaled
        self.shares = np.bincount(which, minlength=len(slopes)) / len(height)
        self._height, self._which, self._slopes = height - middle, which, slopes

    def start(self) -> Floats:
        """Intercepts by thermodynamic integration. Where neighbouring γ do not overlap, nothing changes them any more.

        Between two γ, <h> is integrated over the slope by the trapezoidal rule with its first correction, by the
        variance of h, and within the bounds that follow from <h> being monotonic.
        """
        sums = [np.bincount(self._which, self._height**k, len(self._slopes)) / len(self._height) for k in (1, 2)]
        mean, square = (each / self.shares for each in sums)
        variance, step = square - mean**2, np.diff(self._slopes)
        ends = np.sort([step * mean[:-1], step * mean[1:]], axis=0)
        parts = np.clip(ends.mean(axis=0) + step**2 * (variance[:-1] - variance[1:]) / 12, *ends)
        return np.asarray(np.log(self.shares) - np.concatenate([[0.0], np.cumsum(parts)]))

    def hessian(self, intercepts: Floats) -> Floats:
        """(k, k) second derivatives of the loss, and one more that keeps the mean of the intercepts."""
        size, n = len(self._slopes), len(self._height)
        total = np.full((size, size), 1.0 / size**2)
        for height in _parts(self._height, size):
            p = softmax(height[:, None] * self._slopes + intercepts, axis=1)
            total += (np.diag(p.sum(axis=0)) - p.T @ p) / n
        return total

    def loss(self, intercepts: Floats) -> tuple[float, Floats]:
        """The value and its gradient."""
        loss, gradient, n = 0.0, -self.shares, len(self._height)
        parts = (_parts(values, len(self._slopes)) for values in (self._height, self._which))
        for height, which in zip(*parts, strict=True):
            log_p = log_softmax(height[:, None] * self._slopes + intercepts, axis=1)
            loss -= float(log_p[np.arange(len(which)), which].sum()) / n
            gradient = gradient + np.exp(log_p).sum(axis=0) / n
        return loss, gradient


def likelihood_ratio(
    mixture: NormalMixture, normal: Columns, anomalous: Columns, log_density_of_normal: Floats, log_density: Floats
) -> Ceiling:
    """The AUROC of the likelihood ratio; what is impossible under normal is infinitely anomalous.

    Args:
        mixture: the distribution of normal configurations.
        normal: observables of the normal configurations.
        anomalous: those of the suite's.
        log_density_of_normal: logarithm of the suite's own density at the normal ones, up to one constant.
        log_density: the same at the suite's.
    """
    ratios = []
    for columns, suite in ((normal, log_density_of_normal), (anomalous, log_density)):
        under_normal = mixture.log_density(columns)
        possible = under_normal > -np.inf
        ratios.append(np.where(possible, suite - np.where(possible, under_normal, 0.0), np.inf))
    return Ceiling(*auroc(ratios[0], ratios[1]), "likelihood ratio")


def physics_alone(mixture: NormalMixture, normal: Columns, anomalous: Columns, paired: bool) -> Ceiling:
    """The larger AUROC of the density under normal and of the smallest distance: a lower bound of the best.

    The interval is that of the one chosen.

    Args:
        mixture: the distribution of normal configurations.
        normal: observables of the normal configurations.
        anomalous: those of the suite's.
        paired: whether anomaly k was made from normal configuration k.
    """
    by_density = auroc(-mixture.log_density(normal), -mixture.log_density(anomalous), paired)
    by_distance = auroc(-normal["smallest_distance"], -anomalous["smallest_distance"], paired)
    return Ceiling(*max(by_density, by_distance), "at least: energy or smallest distance alone")
