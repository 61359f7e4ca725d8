"""What a network loses of configurations, beside principal components with as many dimensions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lj_vae_hpc.config.model import recommended_latent_dim
from lj_vae_hpc.config.run import RunConfig, below_recommended
from lj_vae_hpc.config.training import Training
from lj_vae_hpc.representation.distances import pair_distances
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.network import Network

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

CLEARLY = 1.02  # times the error of principal components is worse than them
KNOWN_OF_LINEAR_PATH = 1.05  # the same beside a linear path: up to 4 % at the recommended dimension, docs/science.md
COUNT = 2000  # configurations that are reconstructed, at most
MOST_COLUMNS = 4096  # principal components of samples with more entries would take minutes
BLOCK_NUMBERS = 1 << 24  # in one block of matrices

Reconstruct = Callable[[Configurations, Tensor], Tensor]
"""Configurations and their samples to what is compared."""


@dataclass(frozen=True)
class Accuracy:
    """What is lost of the same configurations by the network and by principal components.

    Attributes:
        quantity: what is measured.
        unit: of it.
        network: its error, decoding the mean of q(z|x).
        components: that of principal components; None if the samples have too many entries for them.
        dimensions: how many components, which is the latent dimension.
    """

    quantity: str
    unit: str
    network: float
    components: float | None
    dimensions: int

    def __str__(self) -> str:
        text = f"{self.quantity} {shown(self.network, self.unit)}"
        if self.components is not None:
            text += f"; with PCA of as many dimensions ({self.dimensions}) {shown(self.components, self.unit)}"
            if (percent := round(100 * (1 - self.components / self.network)) if self.network else 0) > 0:
                text += f": PCA is {percent} % better"
        return text

    def warning(self, config: RunConfig) -> str | None:
        """What to say if principal components are better by more than is known of such a network, and what helps."""
        known = KNOWN_OF_LINEAR_PATH if config.model.linear_path else CLEARLY
        if self.components is None or self.network <= known * self.components:
            return None
        return (
            f"PCA of as many dimensions reconstructs better than the network ({shown(self.components, self.unit)} "
            f"against {shown(self.network, self.unit)}); {remedy(config)}"
        )


def remedy(config: RunConfig) -> str:
    """What makes a network reconstruct better, by the tables of docs/approaches.md and docs/science.md."""
    if not config.model.linear_path:
        return "the default model, with coordinates and model.linear_path, does not lose to PCA (docs/approaches.md)"
    least = recommended_latent_dim(config.system.n_particles, config.representation.kind)
    if config.model.latent_dim < least:
        return f"set model.latent_dim={least} (docs/science.md)"
    usual = Training().epochs
    if config.training.epochs < usual:
        return f"train longer (training.epochs={usual})"
    return "sample more (sampling.configurations); longer training does not help (docs/science.md)"


def shown(value: float, unit: str) -> str:
    """An error with its unit."""
    return f"{value:.3g} {unit}" if unit else f"{value:.3g}"


class Entries:
    """Error of the entries of a representation without positions: the share of their variance that is lost."""

    quantity, unit = "share of the variance lost", ""

    def __init__(self, network: Network, box_side: float) -> None:
        self._network, self._unit = network, box_side * 2**0.5

    def samples(self, some: Configurations) -> Tensor:
        """(n, D) what principal components are of."""
        return self._network.inputs(some)[0].flatten(1)

    def compared(self, samples: Tensor) -> Tensor:
        """(n, K) what of samples is compared."""
        return samples

    def decoded(self, some: Configurations) -> Tensor:
        """(n, K) the same of the network's reconstructions."""
        return self._network.module.decode(*self._latent(some)).flatten(1)

    def error(self, mean_square: float, variance: float) -> float:
        """The error from the mean square over what is compared, and the variance of that."""
        return mean_square / variance if variance else 0.0

    def _latent(self, some: Configurations) -> tuple[Tensor, Tensor]:
        """The latent means and the conditions."""
        x, condition = self._network.inputs(some)
        return self._network.module.encode(x, condition)[0], condition


class Distances(Entries):
    """Root mean square error in σ of the distances between particles, where absolute positions do not follow."""

    quantity, unit = "error of a distance", "σ"

    def samples(self, some: Configurations) -> Tensor:
        """Coordinates of ordered particles."""
        return self._network.points(some).flatten(1)

    def compared(self, samples: Tensor) -> Tensor:
        """Distances of all pairs."""
        points = samples.view(len(samples), -1, 2)
        return self._pairs(pair_distances(points))

    def decoded(self, some: Configurations) -> Tensor:
        """The distances that the network gives, without those of landmarks."""
        assert self._network.encoding.matrix is not None
        n = some.positions.shape[1]
        return self._pairs(self._network.encoding.matrix(self._network.module.decode(*self._latent(some)))[:, -n:, -n:])

    def error(self, mean_square: float, variance: float) -> float:
        """In σ."""
        return float(self._unit * mean_square**0.5)

    @staticmethod
    def _pairs(matrix: Tensor) -> Tensor:
        upper = torch.triu_indices(matrix.shape[1], matrix.shape[1], 1)
        return matrix[:, upper[0], upper[1]]


class Positions(Entries):
    """Root mean square distance in σ between a particle and its reconstruction."""

    quantity, unit = "position error", "σ"

    def samples(self, some: Configurations) -> Tensor:
        """Coordinates of ordered particles."""
        return self._network.points(some).flatten(1)

    def decoded(self, some: Configurations) -> Tensor:
        """The coordinates that the network gives."""
        module = self._network.module
        latent = self._latent(some)
        return (module.positions(*latent) if module.gives_positions else module.decode(*latent)).flatten(1)

    def error(self, mean_square: float, variance: float) -> float:
        """In σ; two coordinates per particle."""
        return float(self._unit * (2 * mean_square) ** 0.5)


def _quantity(network: Network, config: RunConfig) -> Entries:
    shown = config.representation
    if shown.kind == "coordinates" or (network.module.gives_positions and shown.landmarks):
        return Positions(network, config.system.box_side)
    kind = Distances if network.encoding.matrix is not None else Entries
    return kind(network, config.system.box_side)


@torch.no_grad()
def measure(network: Network, config: RunConfig, training: Configurations, others: Configurations) -> Accuracy:
    """What the network and principal components lose of configurations.

    Args:
        network: trained, in evaluation mode.
        config: the run's configuration.
        training: what principal components are computed from.
        others: what is reconstructed.
    """
    quantity, dimensions = _quantity(network, config), network.module.latent_dim
    linear = Linear.of(quantity, training, dimensions)
    of_network, variance = _mean_squares(quantity, others, [lambda some, _: quantity.decoded(some), linear.mean_of])
    return Accuracy(
        quantity.quantity, quantity.unit, quantity.error(of_network, variance),
        linear.error(others, dimensions), dimensions,
    )  # fmt: skip


@torch.no_grad()
def small_latent_warning(network: Network, config: RunConfig, training: Configurations) -> str | None:
    """What a latent dimension below the recommended one loses at least, by PCA; None if it is not below.

    Args:
        network: of that latent dimension.
        config: the run's configuration.
        training: what principal components are computed from; half of it measures them.
    """
    said = below_recommended(config)
    if said is None:
        return None
    least = recommended_latent_dim(config.system.n_particles, config.representation.kind)
    dimensions = network.module.latent_dim
    quantity, half = _quantity(network, config), len(training.gamma) // 2
    linear = Linear.of(quantity, training.part(slice(half, None)), least)
    if linear.pca is None:
        return said
    errors = [linear.error(training.part(slice(half)), k) for k in (dimensions, least)]
    given, enough = (shown(one, quantity.unit) for one in errors if one is not None)
    return f"{said}: {quantity.quantity} with PCA of {dimensions} dimensions {given}, of {least} dimensions {enough}"


def principal_components(samples: NDArray[np.floating[Any]], dimensions: int) -> "PCA":
    """So many, or as many as there are; no randomised decomposition.

    Args:
        samples: (n, D).
        dimensions: how many.
    """
    from sklearn.decomposition import PCA  # late: it takes a third of the time in which training starts

    solver = "covariance_eigh" if samples.shape[0] >= samples.shape[1] else "full"
    return PCA(min(dimensions, *samples.shape), svd_solver=solver).fit(samples)


@dataclass(frozen=True)
class Linear:
    """The mean sample and principal components.

    Attributes:
        mean: (D,) sample.
        pca: the components; None if the samples have too many entries.
        quantity: what is compared.
    """

    mean: Tensor
    pca: "PCA | None"
    quantity: Entries

    @classmethod
    def of(cls, quantity: Entries, training: Configurations, dimensions: int) -> "Linear":
        """From configurations of the training split."""
        samples = torch.cat([quantity.samples(block) for block in _blocks(training)])
        few = samples.shape[1] <= MOST_COLUMNS
        pca = principal_components(samples.cpu().numpy(), dimensions) if few else None
        return cls(samples.mean(dim=0), pca, quantity)

    @torch.no_grad()
    def error(self, others: Configurations, dimensions: int) -> float | None:
        """What so many components lose of other configurations; None where there are none."""
        if self.pca is None:
            return None
        kept = partial(self._kept, dimensions=dimensions)
        return self.quantity.error(*_mean_squares(self.quantity, others, [kept, self.mean_of]))

    def mean_of(self, _: Configurations, samples: Tensor) -> Tensor:
        """What is compared, of the mean sample instead of each."""
        return self.quantity.compared(self.mean.expand_as(samples))

    def _kept(self, _: Configurations, samples: Tensor, dimensions: int) -> Tensor:
        """What is compared, of what the first components keep of samples."""
        assert self.pca is not None
        axes = torch.from_numpy(self.pca.components_[:dimensions]).to(samples)
        return self.quantity.compared(self.mean + (samples - self.mean) @ axes.T @ axes)


def _mean_squares(quantity: Entries, others: Configurations, found: Sequence[Reconstruct]) -> list[float]:
    """Mean square errors over what is compared, one for each way to reconstruct it."""
    squares, count = np.zeros(len(found)), 0
    for block in _blocks(others):
        samples = quantity.samples(block)
        truth = quantity.compared(samples)
        squares += [float((truth - reconstruct(block, samples)).double().square().sum()) for reconstruct in found]
        count += truth.numel()
    return [float(square) for square in squares / count]


def _blocks(configurations: Configurations) -> Iterator[Configurations]:
    size = max(1, min(256, BLOCK_NUMBERS // configurations.positions.shape[1] ** 2))
    return (configurations.part(slice(s, s + size)) for s in range(0, len(configurations.gamma), size))
