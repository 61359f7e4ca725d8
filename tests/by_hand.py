"""A tiny network and its particles, written out with NumPy in double precision."""

import numpy as np
from sklearn.covariance import ledoit_wolf
from torch import nn

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.learned import Learned
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.network import Network

SIDE, SIGMA, N = 5.0, 0.07, 3
CONFIG = RunConfig.model_validate({
    "system": {"n_particles": N, "box_side": SIDE},
    "model": {"encoder": "mlp", "decoder": "positions", "width": 4, "depth": 1, "latent_dim": 2, "linear_path": False},
    "objective": {"kind": "fisher", "likelihood": "gaussian", "sigma": SIGMA, "kl_weight": 3.0},
    "evaluation": {"corruptions": {}},
})  # fmt: skip


def some(n: int, seed: int = 0) -> Configurations:
    random = np.random.default_rng(seed)
    return Configurations(random.uniform(0, SIDE, (n, N, 2)).astype(np.float32), np.full(n, 0.1))


class ByHand:
    """The same network in double precision."""

    def __init__(self, network: Network, positions: np.ndarray) -> None:
        module = network.module
        order = positions[..., 1].argsort(axis=1)
        self.x = np.take_along_axis(positions.astype(float), order[..., None], axis=1) / (SIDE * np.sqrt(2))
        (hidden,), posterior = self.layers(module.encoder), module.posterior
        both = self.linear(posterior, self.silu(self.linear(hidden, self.x.reshape(len(positions), -1))))
        self.mean, self.log_variance = both[:, :2], both[:, 2:]
        self._first, self._last = self.layers(module.decoder)
        self.reconstruction = self.decode(self.mean)

    @staticmethod
    def layers(module: nn.Module) -> list[nn.Linear]:
        return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]

    @staticmethod
    def linear(layer: nn.Linear, x: np.ndarray) -> np.ndarray:
        return x @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()

    @staticmethod
    def silu(x: np.ndarray) -> np.ndarray:
        return x / (1 + np.exp(-x))

    def decode(self, z: np.ndarray) -> np.ndarray:
        y = self.linear(self._last, self.silu(self.linear(self._first, z))).reshape(-1, N, 2)
        return np.sqrt(0.5) / (1 + np.exp(-4 * y / np.sqrt(0.5)))

    def distance_errors(self, reconstruction: np.ndarray) -> np.ndarray:
        a, b = (np.linalg.norm(x[:, :, None] - x[:, None], axis=-1) for x in (self.x, reconstruction))
        return ((a - b) ** 2).reshape(len(a), -1)

    def log_likelihood(self, z: np.ndarray) -> np.ndarray:
        """log p(x|z), of coordinates and distances."""
        found = self.decode(z)
        errors = np.concatenate([((self.x - found) ** 2).reshape(len(z), -1), self.distance_errors(found)], axis=1)
        return -0.5 * (errors / SIGMA**2 + np.log(2 * np.pi * SIGMA**2)).sum(axis=1)

    @property
    def kl(self) -> np.ndarray:
        return 0.5 * (self.mean**2 + np.exp(self.log_variance) - 1 - self.log_variance).sum(axis=1)


def by_brute_force(learned: Learned, configurations: Configurations, slope: np.ndarray) -> tuple[np.ndarray, ...]:
    """Pair energies, surprises and log ratios of displacement by sums over a fine grid and the model's own moves."""
    model = learned.conditional
    w = lambda r: np.interp(r, 0.05 * np.arange(81), model.pair)  # noqa: E731
    centres = (np.arange(400) + 0.5) * SIDE / 400
    grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
    moves = np.stack(model._offsets, axis=1)
    pair, surprise, displaced = (np.empty(configurations.positions.shape[:2]) for _ in range(3))
    for a, one in enumerate(configurations.positions.astype(float)):
        for i in range(N):
            others = np.delete(one, i, axis=0)
            energy = lambda at: w(np.linalg.norm(at[:, None] - others, axis=-1)).sum(axis=1) + slope[a] * at[:, 1]  # noqa: E731, B023
            own = energy(one[i : i + 1])[0]
            pair[a, i] = own - slope[a] * one[i, 1]
            surprise[a, i] = own + np.log(np.exp(-energy(grid)).mean())
            there = one[i] + moves
            inside = ((there >= 0) & (there <= SIDE)).all(axis=1)
            displaced[a, i] = np.log((np.exp(own - energy(there)) * inside).mean())
    return pair, surprise, displaced


def shrunk(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    covariance = ledoit_wolf(features)[0]
    return features.mean(axis=0), np.linalg.inv(covariance)


def squared(offset: np.ndarray, precision: np.ndarray) -> np.ndarray:
    return np.einsum("ni,ij,nj->n", offset, precision, offset)


def nearest(features: np.ndarray, gamma: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Squared distance from the nearest of two classes, features scaled to unit variance within each."""
    each = []
    for one in (0.1, 1.0):
        own = features[gamma == one]
        mean, scale = own.mean(axis=0), own.std(axis=0)
        centre, precision = shrunk((own - mean) / scale)
        each.append(squared((values - mean) / scale - centre, precision))
    return np.min(each, axis=0)
