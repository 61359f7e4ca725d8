"""What a trained network makes of configurations; each encoded and decoded at most once, whatever asks for it."""

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lj_vae_hpc.model.vae import Output
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.network import Network
from lj_vae_hpc.training.objective import Terms

Floats = NDArray[np.float64]


class Pass:
    """One pass of the network over n configurations, decoding the mean of q(z|x), so that nothing is random.

    Where a configuration gives several samples, nats are summed and everything else is averaged over them. What nobody
    asks for is not computed.
    """

    def __init__(self, network: Network, configurations: Configurations) -> None:
        self._network = network
        self._x, self._condition = network.inputs(configurations)

    @cached_property
    def latent_mean(self) -> Floats:
        """(n, d) means of q(z|x)."""
        return self._average(self._posterior[0])

    @cached_property
    def squared_error(self) -> Floats:
        """(n,) mean squared error of the distance matrix in units of L√2, or of the entries where there is none."""
        return self._average(self._terms.squared_error)

    @cached_property
    def kl(self) -> Floats:
        """(n,) KL(q(z|x) || N(0, 1)) in nats."""
        return self._total(self._terms.kl) * self._posterior[0].shape[1]

    @cached_property
    def negative_elbo(self) -> Floats:
        """(n,) negative ELBO in nats."""
        return self._total(self._terms.negative_elbo)

    @cached_property
    def _posterior(self) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            mean, log_variance = self._network.module.encode(self._x, self._condition)
            return mean, log_variance

    @cached_property
    def _terms(self) -> Terms:
        mean, log_variance = self._posterior
        module = self._network.module
        with torch.no_grad():
            output = Output(module.decode(mean, self._condition), mean, log_variance, mean, module.log_sigma)
            return self._network.criterion.analytic(self._x, output)

    def _average(self, values: Tensor) -> Floats:
        """(samples, ...) to (n, ...), in double precision."""
        averages: Floats = self._network.per_configuration(values.double()).cpu().numpy()
        return averages

    def _total(self, values: Tensor) -> Floats:
        return self._average(values) * self._network.encoding.samples
