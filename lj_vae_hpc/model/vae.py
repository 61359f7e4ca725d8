"""The variational auto-encoder."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lj_vae_hpc.config.model import Model
from lj_vae_hpc.model.registry import decoder_class, encoder_class

SIDE = math.sqrt(0.5)  # of the box, in units of L√2
FIRST_SIGMA = 0.1  # of a learned likelihood without a linear path, in the units of the entries
FIRST_POSTERIOR = -5.0  # log variance of q(z|x) where training starts from principal components


class Output(NamedTuple):
    """What one pass gives."""

    reconstruction: Tensor  # (B, *shape), mean of p(x|z)
    mean: Tensor  # (B, latent_dim) of q(z|x)
    log_variance: Tensor  # (B, latent_dim) of q(z|x)
    z: Tensor  # (B, latent_dim), the sample that was decoded
    log_sigma: Tensor  # scalar: logarithm of the standard deviation of a gaussian likelihood


def identity(x: Tensor) -> Tensor:
    """For entries of any sign."""
    return x


class Inside(torch.autograd.Function):
    """Coordinates in units of L√2 with those outside the box moved to its walls.

    Gradients pass unchanged, but for those that would drive what is outside farther out, where it would be lost.
    """

    @staticmethod
    def forward(context: Any, points: Tensor) -> Tensor:
        """The coordinates."""
        context.save_for_backward(points)
        return points.clamp(0.0, SIDE)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        """The gradient; a step goes against it."""
        (points,) = context.saved_tensors
        outward = ((points < 0) & (gradient > 0)) | ((points > SIDE) & (gradient < 0))
        return gradient.masked_fill(outward, 0.0)


class VAE(nn.Module):
    """Encoder, normal posterior, decoder; conditioned on c numbers per sample, maybe none.

    Encoder and decoder `conv` with 30 x 30 entries, 60 and 50 channels and 40 latent dimensions are the published
    network: 3.63 M parameters in the encoder and 1.90 M in the decoder.

    Args:
        config: the networks.
        shape: of one sample.
        conditions: c.
        form: where the decoder gives coordinates (N, 2) in units of L√2, makes of them what is compared with x.
        n_particles: N.
        activation: otherwise what the decoder's last layer goes through, such as a sigmoid.
        sigma: standard deviation of a gaussian likelihood; None where it is learned.
    """

    def __init__(
        self,
        config: Model,
        shape: tuple[int, ...],
        *,
        conditions: int = 0,
        form: Callable[[Tensor], Tensor] | None = None,
        n_particles: int = 0,
        activation: Callable[[Tensor], Tensor] = torch.sigmoid,
        sigma: float | None = 1.0,
    ) -> None:
        super().__init__()
        self.latent_dim = config.latent_dim
        self._form, self._activation = form, activation
        self.encoder = encoder_class(config.encoder)(shape, config)
        self.posterior = nn.Linear(self.encoder.features + conditions, 2 * config.latent_dim)
        self.decoder = decoder_class(config.decoder)(config.latent_dim + conditions, shape, config, n_particles)
        self.gives_positions = self.decoder.gives_positions
        for module in self.modules():  # as in the published network (Glorot and Bengio, AISTATS 2010)
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and module.bias is not None:
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        self.linear_in = self.linear_out = None
        if config.linear_path:
            self.linear_in = nn.Linear(math.prod(shape), config.latent_dim)
            self.linear_out = nn.Linear(config.latent_dim, math.prod(shape))
        log_sigma = torch.tensor(math.log(FIRST_SIGMA if sigma is None else sigma))
        # A given one is no buffer: DistributedDataParallel sends those to all ranks before every pass.
        self.log_sigma = nn.Parameter(log_sigma) if sigma is None else log_sigma
        self.has_reference = config.reference_state is not None
        self.reference: Tensor
        self.reference_condition: Tensor
        self.reference_output: Tensor
        if self.has_reference:
            output = (n_particles, 2) if self.gives_positions else shape
            self.register_buffer("reference", torch.zeros(1, *shape))
            self.register_buffer("reference_condition", torch.zeros(1, conditions))
            self.register_buffer("reference_output", torch.zeros(1, *output))

    @torch.no_grad()
    def start_linear(self, mean: Tensor, components: Tensor, deviations: Tensor, sigma: float) -> None:
        """Makes the linear path that of principal components, and what is beside it vanish.

        Args:
            mean: (D,) of the flattened samples.
            components: (k, D) orthonormal, k <= latent_dim.
            deviations: (k,) standard deviations along them.
            sigma: root mean square of what they leave, where the likelihood learns its own.
        """
        assert self.linear_in is not None and self.linear_out is not None
        k = len(components)
        scaled = components / deviations[:, None]
        for tensor in (*self.linear_in.parameters(), *self.linear_out.parameters()):
            tensor.zero_()
        self.linear_in.weight[:k] = scaled
        self.linear_in.bias[:k] = -scaled @ mean
        self.linear_out.weight[:, :k] = (components * deviations[:, None]).T
        self.linear_out.bias.copy_(mean)
        for tensor in (*self.posterior.parameters(), *self.decoder.last.parameters()):
            tensor.zero_()
        self.posterior.bias[self.latent_dim :] = FIRST_POSTERIOR
        if isinstance(self.log_sigma, nn.Parameter):
            self.log_sigma.fill_(math.log(sigma))

    @torch.no_grad()
    def set_reference(self, x: Tensor, condition: Tensor, output: Tensor) -> None:
        """Sets what the decoder is written about.

        Args:
            x: (1, *shape), the sample.
            condition: (1, c), its condition.
            output: what the decoder should give for it: coordinates (1, N, 2) where it gives them, else x.
        """
        self.reference.copy_(x)
        self.reference_condition.copy_(condition)
        self.reference_output.copy_(output)

    def encode(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, log variance) of q(z|x), each (B, latent_dim), for x (B, *shape) and condition (B, c)."""
        mean, log_variance = self.posterior(torch.cat([self.encoder(x), condition], dim=1)).float().chunk(2, dim=1)
        if self.linear_in is not None:
            mean = mean + self._exactly(self.linear_in, x.flatten(1))
        return mean, log_variance

    def positions(self, z: Tensor, condition: Tensor) -> Tensor:
        """(B, N, 2) coordinates in units of L√2, in the box, of a decoder that gives them, for z (B, latent_dim)."""
        points: Tensor = Inside.apply(self._decode(z, condition))  # type: ignore[no-untyped-call]
        return points

    def decode(self, z: Tensor, condition: Tensor) -> Tensor:
        """(B, *shape) mean of p(x|z) for z (B, latent_dim) and condition (B, c)."""
        if self.gives_positions:
            assert self._form is not None
            return self._form(self.positions(z, condition))
        return self._decode(z, condition)

    def _decode(self, z: Tensor, condition: Tensor) -> Tensor:
        y = self._generate(z, condition)
        if self.has_reference:
            z0 = self.encode(self.reference, self.reference_condition)[0]
            y = y + (self.reference_output - self._generate(z0, self.reference_condition))
        return y

    def _generate(self, z: Tensor, condition: Tensor) -> Tensor:
        y: Tensor = self.decoder(torch.cat([z, condition], dim=1)).float()
        if self.linear_out is not None:
            y = y + self._exactly(self.linear_out, z).view_as(y)
        if not self.gives_positions:
            return self._activation(y)
        # Started from principal components nearly all points are inside; otherwise many would stick to the walls.
        return y if self.linear_out is not None else SIDE * torch.sigmoid(4 * y / SIDE)

    @staticmethod
    def _exactly(linear: nn.Linear, x: Tensor) -> Tensor:
        """A small linear map in single precision, also where the networks run in bfloat16."""
        with torch.autocast(x.device.type, enabled=False):
            return functional.linear(x.float(), linear.weight, linear.bias)

    def forward(self, x: Tensor, condition: Tensor, noise: Tensor) -> Output:
        """Encodes, draws z = mean + σ · noise, decodes (Kingma and Welling, arXiv:1312.6114).

        Args:
            x: (B, *shape) samples.
            condition: (B, c).
            noise: (B, latent_dim) standard normal; zeros decode the mean.
        """
        mean, log_variance = self.encode(x, condition)
        z = mean + torch.exp(0.5 * log_variance) * noise
        return Output(self.decode(z, condition), mean, log_variance, z, self.log_sigma)
