"""What a trained network and the conditional model make of configurations, computed once, whatever asks for it."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lj_vae_hpc.evaluation.conditional.model import LocalEnergies
from lj_vae_hpc.model.vae import Output
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.network import Network
from lj_vae_hpc.training.objective import Terms

if TYPE_CHECKING:
    from lj_vae_hpc.evaluation.learned import Learned

Floats = NDArray[np.float64]

SAMPLES = 16  # of q(z|x), for the importance-weighted bound
STEPS, RATE = 20, 0.05  # of the search for a better code


class Pass:
    """One pass over n configurations, decoding the mean of q(z|x), so that nothing is random.

    Where a configuration gives several samples, nats are summed and everything else is averaged over them. What nobody
    asks for is not computed.

    Args:
        network: with its weights.
        configurations: n of them.
        learned: what the training split has taught; None while that is being learned.
    """

    def __init__(self, network: Network, configurations: Configurations, learned: "Learned | None" = None) -> None:
        self._network, self._learned = network, learned
        self._x, self._condition = network.inputs(configurations)
        self.positions, self.gamma = configurations

    @property
    def learned(self) -> "Learned":
        """What the training split has taught."""
        assert self._learned is not None
        return self._learned

    @cached_property
    def latent_mean(self) -> Floats:
        """(n, d) means of q(z|x)."""
        return self._average(self._posterior[0])

    @cached_property
    def latent_deviation(self) -> Floats:
        """(n, d) standard deviations of q(z|x)."""
        return self._average(torch.exp(0.5 * self._posterior[1]))

    @cached_property
    def kl_by_dimension(self) -> Floats:
        """(d,) KL(q(z|x) || N(0, 1)) of each dimension in nats, averaged over the samples."""
        mean, log_variance = (part.double() for part in self._posterior)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance)
        return np.asarray(divergence.mean(dim=0).cpu().numpy())

    @cached_property
    def order(self) -> Floats:
        """(n,) order parameter."""
        return self.learned.order(self.latent_mean)

    @cached_property
    def _gamma_probability(self) -> Floats:
        return self.learned.order.probability(self.latent_mean)

    @cached_property
    def slope(self) -> Floats:
        """(n,) slope of the energy in y that the latent mean tells of, in k_B T / σ."""
        return np.asarray(self._gamma_probability @ self.learned.conditional.slope)

    @property
    def height(self) -> Floats:
        """(n, N) y, in σ."""
        return self.positions[..., 1].astype(np.float64)

    @cached_property
    def local(self) -> LocalEnergies:
        """What the conditional model makes of each particle."""
        return self.learned.conditional.local(self.positions, self._gamma_probability)

    @cached_property
    def squared_error(self) -> Floats:
        """(n,) mean squared error of the distance matrix in units of L√2, or of the entries where there is none."""
        return self._average(self._terms.squared_error)

    @cached_property
    def kl(self) -> Floats:
        """(n,) KL(q(z|x) || N(0, 1)) in nats."""
        return self._total(self._terms.kl)

    @cached_property
    def negative_elbo(self) -> Floats:
        """(n,) negative ELBO in nats."""
        return self._total(self._terms.negative_elbo)

    @cached_property
    def importance_weighted(self) -> Floats:
        """(n,) -log of the mean of p(x|z) p(z) / q(z|x) over SAMPLES z of q(z|x), the same noise for all, in nats."""
        mean, log_variance = self._posterior
        noise = torch.randn(SAMPLES, mean.shape[1], generator=torch.Generator().manual_seed(0)).to(mean)
        logs = []
        with torch.no_grad():
            for one in noise:
                z = mean + torch.exp(0.5 * log_variance) * one
                prior = -0.5 * z.square().sum(dim=1)
                posterior = -0.5 * (one.square().sum() + log_variance.sum(dim=1))
                logs.append(self._total(prior - posterior - self._surprise(z)))
        return np.asarray(np.log(SAMPLES) - np.logaddexp.reduce(logs, axis=0))

    @cached_property
    def likelihood_regret(self) -> Floats:
        """(n,) negative ELBO at the mean of q(z|x), minus that at the best mean that gradient steps find, in nats."""
        start = self._posterior[0]
        with torch.enable_grad():
            mean = start.clone().requires_grad_(True)
            search = torch.optim.Adam([mean], lr=RATE)
            losses = []
            for _ in range(STEPS + 1):
                loss = self._surprise(mean) + 0.5 * mean.square().sum(dim=1)
                losses.append(loss.detach())
                search.zero_grad()
                loss.sum().backward()  # type: ignore[no-untyped-call]
                search.step()
        return self._total(losses[0] - torch.stack(losses).amin(dim=0))

    @cached_property
    def gradient_norms(self) -> Floats:
        """(n, layers) norm of the gradient of each sample's loss in the weights of each fully connected layer."""
        gradients: dict[nn.Module, list[Tensor]] = {}

        def watch(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            # The weights' gradient is the sum over places of (gradient of the output) x (input).
            def norm(gradient: Tensor) -> None:
                a, b = (t.detach().float().reshape(len(t), -1, t.shape[-1]) for t in (inputs[0], gradient))
                product = (a @ a.transpose(1, 2)) * (b @ b.transpose(1, 2))
                gradients.setdefault(layer, []).append(product.sum(dim=(1, 2)).clamp(min=0.0).sqrt())

            output.register_hook(norm)  # type: ignore[no-untyped-call]

        layers = [layer for layer in self._network.module.modules() if isinstance(layer, nn.Linear)]
        hooks = [layer.register_forward_hook(watch) for layer in layers]
        try:
            with torch.enable_grad():
                mean, log_variance = self._network.module.encode(self._x, self._condition)
                self._evaluate(mean, mean, log_variance).loss.sum().backward()  # type: ignore[no-untyped-call]
        finally:
            for hook in hooks:
                hook.remove()
        self._network.module.zero_grad(set_to_none=True)
        return np.stack([self._average(sum(gradients[layer])) for layer in layers if layer in gradients], axis=1)  # type: ignore[arg-type]

    @cached_property
    def _posterior(self) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            mean, log_variance = self._network.module.encode(self._x, self._condition)
            return mean, log_variance

    @cached_property
    def _terms(self) -> Terms:
        with torch.no_grad():
            return self._evaluate(self._posterior[0], *self._posterior)

    def _evaluate(self, z: Tensor, mean: Tensor, log_variance: Tensor) -> Terms:
        module = self._network.module
        output = Output(module.decode(z, self._condition), mean, log_variance, z, module.log_sigma)
        return self._network.criterion.analytic(self._x, output)

    def _surprise(self, z: Tensor) -> Tensor:
        """-log p(x|z) of each sample, in nats."""
        zeros = torch.zeros_like(z)
        return self._evaluate(z, zeros, zeros).negative_elbo  # the divergence of N(0, 1) from itself is 0

    def _average(self, values: Any) -> Floats:
        """(samples, ...) to (n, ...), in double precision."""
        averages: Floats = self._network.per_configuration(values.detach().double()).cpu().numpy()
        return averages

    def _total(self, values: Tensor) -> Floats:
        return self._average(values) * self._network.encoding.samples
