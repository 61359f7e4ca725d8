"""New configurations from the latent space."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp

from lj_vae_hpc.config.system import System
from lj_vae_hpc.evaluation.conditional.model import ConditionalModel
from lj_vae_hpc.evaluation.order import OrderParameter
from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.sources import Source
from lj_vae_hpc.sampling.chains import Chains, chains_at_once
from lj_vae_hpc.sampling.streams import stream
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.network import Network

Floats = NDArray[np.float64]

CODES = 16_384  # of the training split, at most
AT_ONCE = 1024  # configurations
STEP = 0.2  # of the Monte Carlo sweeps, in σ
MOBILITY, LONGEST = 1e-3, 0.05  # of a step of descent: σ² per k_B T, and its length in σ at most


@torch.no_grad()
def decode_positions(
    network: Network, codes: NDArray[np.floating[Any]], gamma: Floats, box_side: float
) -> NDArray[np.float32]:
    """(n, N, 2) positions in σ, inside the box, of ordered particles.

    Args:
        network: with a decoder that gives coordinates.
        codes: (n, d).
        gamma: (n,) γ, which only a conditional network uses.
        box_side: L, in σ.
    """
    scale = np.float32(box_side * np.sqrt(2.0))
    found = []
    for start in range(0, len(codes), AT_ONCE):
        z = torch.from_numpy(codes[start : start + AT_ONCE].astype(np.float32)).to(network.device)
        points = network.module.positions(z, network.condition(gamma[start : start + AT_ONCE]))
        found.append(points.cpu().numpy() * scale)
    return np.asarray(np.clip(np.concatenate(found), 0.0, np.float32(box_side)))


def sweep(
    positions: NDArray[np.float32], gamma: float, system: System, sweeps: Sequence[int], identity: str
) -> list[NDArray[np.float32]]:
    """Configurations after each number of Metropolis sweeps under the fluid's own energy, (n, N, 2) in σ.

    Generated particles that overlap come apart within some ten sweeps.

    Args:
        positions: (n, N, 2), in σ, in the box; each starts a chain of its own.
        gamma: γ.
        system: the fluid.
        sweeps: their numbers, ascending.
        identity: what the random numbers follow from.
    """
    found = [np.empty_like(positions) for _ in sweeps]
    at_once = chains_at_once(system.n_particles, len(positions))
    for start in range(0, len(positions), at_once):
        part = slice(start, start + at_once)
        some = positions[part]
        chains = Chains(stream(identity), system, gamma, STEP, np.arange(start, start + len(some)))
        chains.positions = some
        for after, more in zip(found, np.diff(sweeps, prepend=0), strict=True):
            chains.run(more)
            after[part] = chains.positions
    return found


@dataclass(frozen=True, eq=False)
class Generator:
    """Draws latent codes for any γ and decodes them.

    The prior of a γ is the aggregate posterior: the mean of q(z|x) over the training split, each configuration with the
    weight that it has under that γ. The weights follow from the order parameter, of trained γ and of others between
    them (multistate reweighting; Shirts and Chodera, J. Chem. Phys. 129, 124105, 2008).

    Attributes:
        network: with a decoder that gives coordinates.
        order: the order parameter.
        conditional: whose pair function the step of descent follows.
        mean, deviation: (n, d) of q(z|x) of training configurations.
    """

    network: Network
    order: OrderParameter
    conditional: ConditionalModel
    mean: Floats
    deviation: Floats

    @classmethod
    def of(
        cls, network: Network, order: OrderParameter, conditional: ConditionalModel, training: Source
    ) -> "Generator":
        """The generator of a training split."""
        parts = []
        rows = min(len(training), CODES)
        for start in range(0, rows, AT_ONCE):
            one = Pass(network, training.read(range(start, min(start + AT_ONCE, rows))))
            parts.append((one.latent_mean, one.latent_deviation))
        mean, deviation = (np.concatenate(values) for values in zip(*parts, strict=True))
        return cls(network, order, conditional, mean, deviation)

    def weights(self, gamma: float) -> Floats:
        """(n,) probabilities of the training configurations under γ."""
        log_weight = self.order.log_weight(gamma, self.mean)
        return np.asarray(np.exp(log_weight - logsumexp(log_weight)))

    def effective_configurations(self, gamma: float) -> float:
        """How many training configurations of equal weight would tell as much of γ (Kish)."""
        return 1.0 / float((self.weights(gamma) ** 2).sum())

    def codes(self, gamma: float, count: int, random: np.random.Generator) -> Floats:
        """(count, d) draws from the aggregate posterior of a γ.

        Training configurations are chosen by systematic resampling in order of their order parameter, which scatters
        less than independent draws (Kitagawa, J. Comput. Graph. Stat. 5, 1, 1996).
        """
        ordered = np.argsort(self.order(self.mean), kind="stable")
        places = (np.arange(count) + random.random()) / count
        cumulative = np.cumsum(self.weights(gamma)[ordered])
        chosen = ordered[np.minimum(np.searchsorted(cumulative, places), len(ordered) - 1)]
        random.shuffle(chosen)
        return self.mean[chosen] + self.deviation[chosen] * random.normal(size=(count, self.mean.shape[1]))

    def normal_codes(self, gamma: float, count: int, random: np.random.Generator) -> Floats:
        """The same from a normal distribution with the mean and covariance of the aggregate posterior."""
        weights = self.weights(gamma)
        centre = weights @ self.mean
        offset = self.mean - centre
        covariance = (offset * weights[:, None]).T @ offset + np.diag(weights @ self.deviation**2)
        return centre + random.normal(size=(count, len(centre))) @ np.linalg.cholesky(covariance).T

    def decode(self, codes: Floats, gamma: float) -> NDArray[np.float32]:
        """(n, N, 2) positions in σ of codes (n, d)."""
        return decode_positions(self.network, codes, np.full(len(codes), gamma), self.conditional.box_side)

    def descend(self, positions: NDArray[np.float32], gamma: float) -> NDArray[np.float32]:
        """One step along the forces of the learned pair function and slope, which moves apart what overlaps."""
        model = self.conditional
        force = model.forces(positions, float(np.interp(gamma, model.gammas, model.slope)))
        step = MOBILITY * force
        length = np.linalg.norm(step, axis=2, keepdims=True)
        moved = positions + step * np.minimum(1.0, LONGEST / np.maximum(length, 1e-30))
        return np.asarray(np.clip(moved, 0.0, model.box_side), np.float32)

    def nearest_training(self, positions: NDArray[np.float32], training: Source) -> Floats:
        """(n,) root mean square distance in σ of ordered particles to those of the nearest training configuration."""
        scale = self.conditional.box_side * np.sqrt(2.0)
        own = self._flat(self.network.points(Configurations(positions, np.zeros(len(positions)))).cpu().numpy() * scale)
        best = np.full(len(own), np.inf)
        for start in range(0, min(len(training), CODES), AT_ONCE):
            part = training.read(range(start, min(start + AT_ONCE, len(training), CODES)))
            other = self._flat(self.network.points(part).cpu().numpy() * scale)
            squared = (own**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * own @ other.T
            best = np.minimum(best, squared.min(axis=1))
        return np.asarray(np.sqrt(np.maximum(best, 0.0) / positions.shape[1]))

    @staticmethod
    def _flat(points: NDArray[np.float32]) -> Floats:
        return points.reshape(len(points), -1).astype(np.float64)
