"""The reference variational auto-encoder of distance matrices."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lj_vae_hpc.config import Model
from lj_vae_hpc.model.convolution import ConvReLU, FlattenPixels, TransposedConvReLU, UnflattenPixels


class Output(NamedTuple):
    """What one pass gives."""

    reconstruction: Tensor  # (B, 1, M, M) in [0, 1]
    mean: Tensor  # (B, latent_dim) of q(z|x)
    log_variance: Tensor  # (B, latent_dim) of q(z|x)


class VAE(nn.Module):
    """Two 3x3 convolutions, a dense layer to q(z|x), and the mirror image with transposed convolutions.

    All strides are 1 and all paddings keep the matrix's side. With side 30, 60 and 50 channels and 40 latent
    dimensions it has 3.63 M parameters in the encoder and 1.90 M in the decoder.

    Args:
        side: rows M of the distance matrix.
        config: latent dimension and channels.
    """

    def __init__(self, side: int, config: Model) -> None:
        super().__init__()
        first, second = config.channels
        self.latent_dim = config.latent_dim
        self.encoder = nn.Sequential(
            ConvReLU(1, first),
            ConvReLU(first, second),
            FlattenPixels(),
            nn.Linear(second * side * side, 2 * config.latent_dim),
        )
        self.decoder = nn.Sequential(
            nn.Linear(config.latent_dim, second * side * side),
            nn.ReLU(inplace=True),
            UnflattenPixels(second, side),
            TransposedConvReLU(second, second),
            TransposedConvReLU(second, first),
            nn.ConvTranspose2d(first, 1, 3, padding=1),
            nn.Sigmoid(),
        )
        for module in self.modules():  # as in the published network (Glorot and Bengio, AISTATS 2010)
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and module.bias is not None:
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, log variance) of q(z|x), each (B, latent_dim), for x (B, 1, M, M)."""
        mean, log_variance = self.encoder(x).float().chunk(2, dim=1)
        return mean, log_variance

    def decode(self, z: Tensor) -> Tensor:
        """(B, 1, M, M) mean of p(x|z) for z (B, latent_dim)."""
        reconstruction: Tensor = self.decoder(z)
        return reconstruction

    def forward(self, x: Tensor, noise: Tensor) -> Output:
        """Encodes, draws z = mean + σ · noise, decodes (Kingma and Welling, arXiv:1312.6114).

        Args:
            x: (B, 1, M, M) distance matrices in [0, 1].
            noise: (B, latent_dim) standard normal; zeros decode the mean.
        """
        mean, log_variance = self.encode(x)
        return Output(self.decode(mean + torch.exp(0.5 * log_variance) * noise), mean, log_variance)
