"""Anomaly scores of configurations: the larger, the more anomalous."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lj_vae_hpc.model.vae import Output
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.network import Network

SCORES = ("rmse", "kl", "negative_elbo", "mahalanobis")
BATCH = 256

Arrays = dict[str, NDArray[np.float32]]


class Scorer:
    """Scores configurations with a trained network; z is the mean of q(z|x), so scores are not random.

    Args:
        network: the network, on its device.
        latent_mean, latent_covariance: (d,) and (d, d) of the latent means of the training split; needed by scores.
    """

    def __init__(
        self,
        network: Network,
        latent_mean: NDArray[np.float64] | None = None,
        latent_covariance: NDArray[np.float64] | None = None,
    ) -> None:
        self._network, self._module = network, network.module.eval()
        self._criterion = network.criterion.analytic
        if latent_mean is not None and latent_covariance is not None:
            self._mean = latent_mean
            # A collapsed dimension has next to no variance; the floor keeps it from dominating.
            d = len(latent_covariance)
            self._precision = np.linalg.inv(latent_covariance + 1e-6 * np.trace(latent_covariance) / d * np.eye(d))

    @torch.no_grad()
    def latent_means(self, configurations: Configurations) -> NDArray[np.float64]:
        """(n, d) means of q(z|x); averaged over particles where each is a sample of its own."""
        parts = [self._latent(self._module.encode(*inputs)[0]) for inputs in self._inputs(configurations)]
        return np.concatenate(parts) if parts else np.empty((0, self._module.latent_dim))

    @torch.no_grad()
    def __call__(self, configurations: Configurations) -> Arrays:
        """Scores of n configurations.

        Returns:
            rmse (n,): root mean squared error of the distance matrix, in units of L√2, or of the representation's
                entries where it fixes no distances;
            kl (n,): KL(q(z|x) || N(0, 1)) in nats, summed over latent dimensions;
            negative_elbo (n,): the training loss;
            mahalanobis (n,): distance of the latent mean from those of the training split;
            latent_mean (n, d).
        """
        parts = []
        for x, condition in self._inputs(configurations):
            mean, log_variance = self._module.encode(x, condition)
            output = Output(self._module.decode(mean, condition), mean, log_variance, mean, self._module.log_sigma)
            loss, squared_error, kl, _ = map(self._network.per_configuration, self._criterion(x, output))
            z = self._latent(mean)
            offset = z - self._mean
            parts.append({
                "rmse": squared_error.sqrt().cpu().numpy(),
                "kl": (kl * self._module.latent_dim).cpu().numpy(),
                "negative_elbo": loss.cpu().numpy(),
                "mahalanobis": np.sqrt(np.einsum("ni,ij,nj->n", offset, self._precision, offset)).astype(np.float32),
                "latent_mean": z.astype(np.float32),
            })  # fmt: skip
        if not parts:
            return {name: np.empty(0, np.float32) for name in SCORES} | {
                "latent_mean": np.empty((0, self._module.latent_dim), np.float32)
            }
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    @torch.no_grad()
    def reconstruct(self, configurations: Configurations) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Configurations as images (n, ., .), and their reconstructions.

        Distance matrices in units of L√2, occupancy grids, or a row per particle of what it sees.
        """
        encoding = self._network.encoding
        image = encoding.matrix or (lambda x: x.view(len(x) // encoding.samples, -1, encoding.shape[-1]))
        pairs = [
            [image(values).cpu().numpy() for values in (x, self._module.decode(self._module.encode(x, c)[0], c))]
            for x, c in self._inputs(configurations)
        ]
        original, reconstruction = (np.concatenate(images) for images in zip(*pairs, strict=True))
        return original, reconstruction

    @torch.no_grad()
    def place(self, configurations: Configurations) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Coordinates (n, N, 2) of ordered particles and of their reconstructions, in units of L√2.

        None where the decoder does not give coordinates.
        """
        if not self._module.gives_positions:
            return None
        x, condition = self._network.inputs(configurations)
        found = self._module.positions(self._module.encode(x, condition)[0], condition)
        return self._network.points(configurations).cpu().numpy(), found.cpu().numpy()

    def _latent(self, mean: Tensor) -> NDArray[np.float64]:
        return self._network.per_configuration(mean).cpu().double().numpy()

    def _inputs(self, configurations: Configurations) -> Iterator[tuple[Tensor, Tensor]]:
        starts = range(0, len(configurations.gamma), BATCH)
        return (self._network.inputs(configurations.part(slice(s, s + BATCH))) for s in starts)
