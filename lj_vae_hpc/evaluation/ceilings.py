"""The best possible detector of each suite.

Normal configurations are an equal mixture of Boltzmann distributions p_γ(x) = exp(-(E(x) + γ h(x)) / T) / Z_γ, with E
the pair energy and h = Σ y. By the lemma of Neyman and Pearson (Phil. Trans. R. Soc. A 231, 289, 1933) no score has a
larger AUROC than the likelihood ratio of anomaly to normal, and for a suite that is itself a Boltzmann distribution
that ratio is known up to a constant. Where data were not sampled in equilibrium this holds only as far as they are
near it.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp

Floats = NDArray[np.float64]


def relative_free_energies(height: Floats, which: NDArray[np.int64], gammas: ArrayLike, temperature: float) -> Floats:
    """Relative ln Z_γ, up to one constant, from configurations of every γ.

    The maximum-likelihood estimate (multistate Bennett acceptance ratio; Shirts and Chodera, J. Chem. Phys. 129,
    124105, 2008): given h alone, the posterior of γ is a softmax whose intercepts are -ln Z_γ. Convex.

    Args:
        height: (n,) Σ y, in σ.
        which: (n,) index of each configuration's γ.
        gammas: (k,) the values.
        temperature: T, in ε.
    """
    slopes = -np.asarray(gammas) / temperature
    logits = height[:, None] * slopes
    centre = logits.mean(axis=0)  # keeps the optimisation well scaled; undone below
    logits = logits - centre
    counts = np.bincount(which, minlength=len(slopes)) / len(height)

    def loss(c: Floats) -> tuple[float, Floats]:
        log_p = log_softmax(logits + c, axis=1)
        gradient = np.exp(log_p).mean(axis=0) - counts
        return float(-log_p[np.arange(len(which)), which].mean()), gradient

    c = minimize(loss, np.zeros(len(slopes)), jac=True, method="BFGS", options={"gtol": 1e-8}).x
    return np.asarray(-(c - centre) + np.log(np.maximum(counts, 1e-300)))


def log_normal_density(pair: Floats, height: Floats, gammas: ArrayLike, log_z: Floats, temperature: float) -> Floats:
    """(n,) log-density of the normal mixture, up to a constant.

    Args:
        pair: (n,) pair energy under the normal potential, in ε.
        height: (n,) Σ y, in σ.
        gammas: (k,) normal values of γ.
        log_z: (k,) from relative_free_energies.
        temperature: T, in ε.
    """
    exponent = -np.asarray(gammas) * height[:, None] / temperature - log_z
    return np.asarray(-pair / temperature + logsumexp(exponent, axis=1))
