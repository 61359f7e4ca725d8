"""The loss, one value per sample."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lj_vae_hpc.config.objective import Objective
from lj_vae_hpc.model.vae import Output


class Terms(NamedTuple):
    """Each (B,), float32."""

    loss: Tensor
    squared_error: Tensor  # mean over the entries of the distance matrix where there is one, else of the sample
    kl: Tensor  # KL(q(z|x) || N(0, 1)) in nats, summed over latent dimensions
    negative_elbo: Tensor  # -log p(x|z) + KL in nats, whatever weights the loss gives to its terms


@dataclass(frozen=True)
class Criterion:
    """What training minimises, as `objective` says.

    Attributes:
        objective: the section.
        matrix: makes the (B, M, M) distance matrix of a sample (Encoding.matrix), where there is one.
        compares_both: whether the likelihood is that of the sample's entries and of the matrix formed from them.
    """

    objective: Objective
    matrix: Callable[[Tensor], Tensor] | None
    compares_both: bool

    @property
    def analytic(self) -> "Criterion":
        """The same with the KL divergence in closed form, for what decodes the mean instead of a sample."""
        return replace(self, objective=self.objective.model_copy(update={"estimator": "analytic"}))

    def __call__(self, x: Tensor, output: Output, warmth: float = 1.0) -> Terms:
        """The loss of each sample and its parts.

        KL = -1/2 Σ (1 + log σ² - μ² - σ²), or log q(z|x) - log p(z) of the decoded z (Kingma and Welling,
        arXiv:1312.6114). Fisher information of q(z|x) under translations: tr J = Σ 1/σ² (Zheng et al., AAAI 2019).
        The negative ELBO has the KL divergence in closed form and with weight 1, and no Fisher term.

        Args:
            x: (B, *shape) samples.
            output: what the network made of them.
            warmth: factor of kl_weight, which grows from 0 to 1 during warm-up.
        """
        o = self.objective
        reconstruction = output.reconstruction.float()
        error = (x - reconstruction).square().flatten(1)
        squared = error
        if self.matrix is not None:
            squared = (self.matrix(x) - self.matrix(reconstruction)).square().flatten(1)
        squared_error = squared.mean(dim=1)
        variance = output.log_variance.exp()
        kl = 0.5 * (output.mean.square() + variance - 1.0 - output.log_variance)  # (B, latent_dim)
        weight = warmth * o.kl_weight
        if o.kind == "reference":
            loss = error.mean(dim=1) + weight * kl.mean(dim=1)
            surprise = _gaussian(error, self._implied_log_sigma(error.shape[1], kl.shape[1]))
            return Terms(loss, squared_error, kl.sum(dim=1), surprise + kl.sum(dim=1))
        if o.likelihood.startswith("gaussian"):
            compared = torch.cat([error, squared], dim=1) if self.compares_both else error
            surprise = _gaussian(compared, output.log_sigma)
        else:
            surprise = _bernoulli(x, reconstruction) if o.likelihood == "bernoulli" else _poisson(x, reconstruction)
        if o.estimator == "monte_carlo":
            noise = (output.z - output.mean).square() / variance
            divergence = 0.5 * (output.z.square() - noise - output.log_variance).sum(dim=1)
        else:
            divergence = kl.sum(dim=1)
        loss = surprise + weight * divergence
        if o.kind == "fisher":
            loss = loss + o.fisher_weight * ((-output.log_variance).exp().sum(dim=1) - o.fisher_target).abs()
        return Terms(loss, squared_error, kl.sum(dim=1), surprise + kl.sum(dim=1))

    def _implied_log_sigma(self, entries: int, latent_dim: int) -> Tensor:
        """Logarithm of σ of the normal likelihood that the reference loss implies.

        With D entries, d latent dimensions and errors e, the negative ELBO is Σ e² / (2 σ²) + D log(2 π σ²) / 2 + KL.
        Times 2 σ² / D and without the constant, this is the mean of e² plus (2 σ² / D) KL. The loss is the mean of e²
        plus (λ / d) KL, so σ² = λ D / (2 d). Where λ is 0, no likelihood follows, and σ is `objective.sigma`.
        """
        o = self.objective
        variance = o.kl_weight * entries / (2 * latent_dim) if o.kl_weight > 0 else o.sigma**2
        return torch.tensor(0.5 * math.log(variance))


def _gaussian(squares: Tensor, log_sigma: Tensor) -> Tensor:
    """-log of a normal density with one standard deviation (learned: Rybkin et al., arXiv:2006.13202)."""
    log_sigma = log_sigma.to(squares.device)
    constant = squares.shape[1] * (log_sigma + 0.5 * math.log(2 * math.pi))
    return 0.5 * squares.sum(dim=1) * torch.exp(-2 * log_sigma) + constant


def _bernoulli(x: Tensor, probability: Tensor) -> Tensor:
    return functional.binary_cross_entropy(probability, x, reduction="none").flatten(1).sum(dim=1)


def _poisson(counts: Tensor, rate: Tensor) -> Tensor:
    each = rate - torch.xlogy(counts, rate.clamp(min=1e-8)) + torch.lgamma(counts + 1.0)
    return each.flatten(1).sum(dim=1)
