"""The loss, one value per configuration."""

from typing import NamedTuple

from torch import Tensor

from lj_vae_hpc.config import Objective
from lj_vae_hpc.model.vae import Output


class Terms(NamedTuple):
    """Each (B,), float32."""

    loss: Tensor  # squared_error + kl_weight * kl
    squared_error: Tensor  # mean over matrix entries
    kl: Tensor  # KL(q(z|x) || N(0, 1)) in nats, mean over latent dimensions


def terms(x: Tensor, output: Output, objective: Objective) -> Terms:
    """The reference loss: both terms averaged, over entries and over latent dimensions, as it was published.

    KL = -1/2 Σ (1 + log σ² - μ² - σ²) (Kingma and Welling, arXiv:1312.6114, appendix B).
    """
    squared_error = (x - output.reconstruction.float()).square().flatten(1).mean(dim=1)
    kl = 0.5 * (output.mean.square() + output.log_variance.exp() - 1.0 - output.log_variance).mean(dim=1)
    return Terms(squared_error + objective.kl_weight * kl, squared_error, kl)
