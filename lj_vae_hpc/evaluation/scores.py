"""Anomaly scores of configurations: the larger, the more anomalous."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lj_vae_hpc.config import Objective
from lj_vae_hpc.model.vae import VAE, Output
from lj_vae_hpc.training.objective import terms

SCORES = ("rmse", "kl", "negative_elbo", "mahalanobis")
BATCH = 256

Encode = Callable[[Tensor], Tensor]
Arrays = dict[str, NDArray[np.float32]]


class Scorer:
    """Scores configurations with a trained network; z is the mean of q(z|x), so scores are not random.

    Args:
        module: the network, on its device.
        encode: positions (b, N, 2) in σ to the network's input.
        objective: the loss it was trained with.
        latent_mean, latent_covariance: (d,) and (d, d) of the latent means of the training split; needed by scores.
    """

    def __init__(
        self,
        module: VAE,
        encode: Encode,
        objective: Objective,
        latent_mean: NDArray[np.float64] | None = None,
        latent_covariance: NDArray[np.float64] | None = None,
    ) -> None:
        self._module, self._encode, self._objective = module.eval(), encode, objective
        if latent_covariance is not None:
            self._mean = latent_mean
            # A collapsed dimension has next to no variance; the floor keeps it from dominating.
            d = len(latent_covariance)
            self._precision = np.linalg.inv(latent_covariance + 1e-6 * np.trace(latent_covariance) / d * np.eye(d))

    @torch.no_grad()
    def latent_means(self, positions: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, d) means of q(z|x)."""
        parts = [self._module.encode(x)[0].cpu().double().numpy() for x in self._inputs(positions)]
        return np.concatenate(parts) if parts else np.empty((0, self._module.latent_dim))

    @torch.no_grad()
    def __call__(self, positions: NDArray[np.float32]) -> Arrays:
        """Scores of configurations.

        Args:
            positions: (n, N, 2), in σ.

        Returns:
            rmse (n,): root mean squared error of the matrix, in units of L√2;
            kl (n,): KL(q(z|x) || N(0, 1)) in nats, summed over latent dimensions;
            negative_elbo (n,): the training loss;
            mahalanobis (n,): distance of the latent mean from those of the training split;
            latent_mean (n, d).
        """
        parts = []
        for x in self._inputs(positions):
            mean, log_variance = self._module.encode(x)
            each = terms(x, Output(self._module.decode(mean), mean, log_variance), self._objective)
            z = mean.cpu().double().numpy()
            offset = z - self._mean
            parts.append({
                "rmse": each.squared_error.sqrt().cpu().numpy(),
                "kl": (each.kl * self._module.latent_dim).cpu().numpy(),
                "negative_elbo": each.loss.cpu().numpy(),
                "mahalanobis": np.sqrt(np.einsum("ni,ij,nj->n", offset, self._precision, offset)).astype(np.float32),
                "latent_mean": z.astype(np.float32),
            })  # fmt: skip
        if not parts:
            return {name: np.empty(0, np.float32) for name in SCORES} | {
                "latent_mean": np.empty((0, self._module.latent_dim), np.float32)
            }
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    @torch.no_grad()
    def reconstruct(self, positions: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(n, M, M) distance matrices in units of L√2, and their reconstructions."""
        pairs = [(x[:, 0].cpu().numpy(), self._module.decode(self._module.encode(x)[0])[:, 0].cpu().numpy())
                 for x in self._inputs(positions)]  # fmt: skip
        return np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])

    def _inputs(self, positions: NDArray[np.float32]) -> Iterator[Tensor]:
        device = next(self._module.parameters()).device
        starts = range(0, len(positions), BATCH)
        return (self._encode(torch.from_numpy(positions[s : s + BATCH]).to(device)) for s in starts)
