"""The auto-encoder of a configuration, with what it needs around it: encoding, condition and objective."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.model.vae import VAE, Output, identity
from lj_vae_hpc.representation.encoding import Encoding, make_encoding
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.objective import Criterion

NARROWEST = 1e-4  # of the widest component: narrower is rounding, as n configurations span n - 1 directions
LINEAR_ROWS = 8192  # configurations that the linear path starts from
LINEAR_NUMBERS = 1 << 26  # or fewer, where they would be more numbers than these


@dataclass(frozen=True)
class Network:
    """An auto-encoder of configurations.

    Attributes:
        module: the network, on its device.
        encoding: from positions to its input.
        criterion: the loss.
        gammas: those it is trained on, which conditions are scaled by; empty where the network is not conditional.
    """

    module: VAE
    encoding: Encoding
    criterion: Criterion
    gammas: tuple[float, ...]

    @classmethod
    def of(cls, config: RunConfig, gammas: Sequence[float] | None = None) -> "Network":
        """A new network, initialised with torch's generator; on the CPU.

        Args:
            config: the run's configuration.
            gammas: those that the weights to be loaded were trained on, from the facts of their file; None for a
                network that will be trained on the γ of the configuration.
        """
        encoding = make_encoding(config.system, config.representation)
        kind, objective, model = config.representation.kind, config.objective, config.model
        if objective.likelihood == "poisson":
            activation: Callable[[Tensor], Tensor] = functional.softplus
        else:
            bounded = objective.likelihood == "bernoulli" or config.representation.has_positions
            activation = torch.sigmoid if bounded else identity
        module = VAE(
            model,
            encoding.shape,
            conditions=int(model.conditional),
            form=encoding.form,
            n_particles=config.system.n_particles,
            activation=activation,
            sigma=None if objective.likelihood == "gaussian_learned" else objective.sigma,
        )
        coordinates = kind == "coordinates"
        criterion = Criterion(
            objective, encoding.matrix if coordinates else None, compares_both=coordinates and objective.distances
        )
        trained = sorted(config.sampling.gamma_values if gammas is None else gammas)
        return cls(module, encoding, criterion, tuple(trained) if model.conditional else ())

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.module.parameters()).device

    def inputs(self, configurations: Configurations) -> tuple[Tensor, Tensor]:
        """Samples (n * encoding.samples, *shape) and their conditions (n * encoding.samples, c), on the device."""
        x = self.encoding.encode(torch.from_numpy(configurations.positions).to(self.device))
        return x, self.condition(configurations.gamma).to(x)

    def condition(self, gamma: NDArray[np.float64]) -> Tensor:
        """(n * encoding.samples, c) conditions of n configurations of given γ, on the device."""
        if not self.gammas:
            return torch.empty(len(gamma) * self.encoding.samples, 0, device=self.device)
        centre, scale = np.mean(self.gammas), np.std(self.gammas) or 1.0
        condition = torch.from_numpy((gamma - centre) / scale).float().to(self.device)
        return condition.repeat_interleave(self.encoding.samples).unsqueeze(1)

    def per_configuration(self, values: Tensor) -> Tensor:
        """Mean over the samples of each configuration: (n * samples, ...) to (n, ...)."""
        return values.view(-1, self.encoding.samples, *values.shape[1:]).mean(dim=1)

    def sum_of_samples(self, values: Tensor) -> Tensor:
        """Sum over the samples of each configuration, for what is in nats: (n * samples, ...) to (n, ...)."""
        return values.view(-1, self.encoding.samples, *values.shape[1:]).sum(dim=1)

    def constant_error(self, configurations: Configurations) -> float:
        """Mean squared error of a network that has learned nothing: it always gives the mean sample of these.

        Where positions are decoded whose distances are compared, it may put all particles at one place instead.
        """
        x, _ = self.inputs(configurations)
        constant = x.mean(dim=0, keepdim=True)
        if self.module.gives_positions and x.dim() == 4:  # of distances
            assert self.encoding.form is not None
            points = self.points(configurations)
            constant = self.encoding.form(points.mean(dim=(0, 1), keepdim=True).expand(1, *points.shape[1:]))
        zeros = x.new_zeros(len(x), self.module.latent_dim)
        output = Output(constant.expand_as(x), zeros, zeros, zeros, self.module.log_sigma)
        return float(self.criterion(x, output).squared_error.mean())

    @property
    def rows_for_components(self) -> int:
        """How many configurations of the training split principal components should be computed from."""
        numbers = math.prod(self.encoding.shape) * self.encoding.samples
        return min(LINEAR_ROWS, max(64, LINEAR_NUMBERS // numbers))

    def start(self, configurations: Configurations, reference: Configurations | None) -> None:
        """Sets what depends on data: the linear path, and the configuration that the decoder is written about.

        Args:
            configurations: some of the training split, for principal components.
            reference: one configuration, where there is to be one.
        """
        if self.module.linear_in is not None:
            samples = self.inputs(configurations)[0].flatten(1)
            n, k = len(samples), min(self.module.latent_dim, *samples.shape)
            mean = samples.mean(dim=0)
            with torch.random.fork_rng([]):  # what comes after draws the same random numbers with and without
                # Of some more than k directions, so that the k are exact (Halko, Martinsson and Tropp, SIAM Review 53).
                _, lengths, axes = torch.svd_lowrank(samples, min(2 * k, *samples.shape), niter=4, M=mean)
            k = int((lengths[:k] > NARROWEST * lengths[0]).sum())
            components, deviations = axes[:, :k].T, lengths[:k] / max(1, n - 1) ** 0.5
            rest = (samples - mean) - (samples - mean) @ components.T @ components
            self.module.start_linear(mean, components, deviations, max(1e-3, float(rest.square().mean().sqrt())))
        if reference is not None:
            x, condition = self.inputs(reference)
            self.module.set_reference(x, condition, self.points(reference) if self.module.gives_positions else x)

    def points(self, configurations: Configurations) -> Tensor:
        """(n, N, 2) coordinates of ordered particles, in units of L√2, on the device."""
        return self.encoding.points(torch.from_numpy(configurations.positions).to(self.device))
