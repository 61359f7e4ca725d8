"""Learns the conditional model by telling true positions from random ones.

Of some particles of each training configuration, the true position is put among others drawn uniformly from a window
around a point that is itself uniform around the true one, so that nothing but the neighbours and the height tells which
is true. The probability that the model gives to the true one is a softmax of minus the energies (noise-contrastive
estimation by ranking; Ma and Collins, EMNLP 2018; a conditional logit, McFadden 1974). It is convex in the pair
function at the knots and the slopes, and Newton's method finds the maximum.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.evaluation.conditional.kernels import hat_functions
from lj_vae_hpc.evaluation.conditional.model import RANGE, SPACING, ConditionalModel
from lj_vae_hpc.evaluation.sources import Source, batches, pieces
from lj_vae_hpc.progress import Progress

if TYPE_CHECKING:
    from lj_vae_hpc.parallel.world import World

Floats = NDArray[np.float64]

CONFIGURATIONS = 16_384  # of the training split that are used, at most
BATCH = 1024  # configurations whose random places are drawn together; more ranks than there are batches do not help
GROUPS = 512  # places and others at once, whose pair features are in memory
PARTICLES = 2  # of each configuration, for each window
OTHERS = 8  # random positions beside the true one
WINDOW = 0.6  # half width of the small window, in σ; the other window is the box
KNOTS = round(RANGE / SPACING) + 1
SMOOTHNESS = 1e-2  # prior precision of the second differences of the pair function, in (k_B T)^-2
STEPS = 60  # of Newton's method, at most
TOLERANCE = 1e-8  # relative change of the loss that ends it


def fit_conditional(world: "World", training: Source, gammas: Sequence[float], box_side: float) -> ConditionalModel:
    """The conditional model of the training split; all ranks call this, and its bits do not depend on their number.

    Args:
        world: the ranks.
        training: the training split.
        gammas: its values of γ, ascending.
        box_side: L, in σ.
    """
    rows = min(len(training), CONFIGURATIONS)
    parts = batches(world, rows, BATCH)
    examples = [_Examples.of(training, part, gammas, box_side) for part in parts]
    size = KNOTS + len(gammas)
    differences = np.diff(np.eye(KNOTS), 2, axis=0)
    prior = np.zeros((size, size))
    prior[:KNOTS, :KNOTS] = SMOOTHNESS * differences.T @ differences
    prior[KNOTS - 1, KNOTS - 1] += 1e6  # the pair function ends at 0
    prior += 1e-6 * np.eye(size)
    found = np.zeros(size)
    with Progress("learning the pair potential", None, "Newton steps", world.is_root) as progress:
        loss, gradient, hessian = _sums(world, examples, found, prior)
        for _ in range(STEPS):
            step = -np.linalg.solve(hessian, gradient)
            before = loss
            for shortening in range(12):
                trial = found + step * 0.5**shortening
                loss, gradient, hessian = _sums(world, examples, trial, prior)
                if loss <= before:
                    break
            found = trial
            progress.advance(1)
            if before - loss <= TOLERANCE * abs(before):
                break
    errors = np.sqrt(np.diag(np.linalg.inv(hessian)))
    return ConditionalModel(found[:KNOTS], errors[:KNOTS], gammas, found[KNOTS:], errors[KNOTS:], box_side)


class _Examples:
    """Some true positions among others. Their pair features, which are many, are computed where they are used.

    Attributes:
        positions: (n, N, 2) of the configurations, in σ.
        number: (n,) which γ.
        windows: of each window, which particles (n, p) and their places (n, p, c, 2) in σ, the true one first.
        size: number of parameters.
    """

    def __init__(
        self, positions: NDArray[np.float32], number: NDArray[np.int64],
        windows: list[tuple[NDArray[np.int64], Floats]], size: int,
    ) -> None:  # fmt: skip
        self.positions, self.number, self.windows, self.size = positions, number, windows, size

    @classmethod
    def of(cls, source: Source, part: range, gammas: Sequence[float], box_side: float) -> "_Examples":
        """The examples of some training configurations."""
        positions, gamma = source.read(part)
        random = np.random.default_rng(part.start)
        n, count = positions.shape[:2]
        windows = []
        for window in (WINDOW, box_side):
            which = random.permuted(np.tile(np.arange(count), (n, 1)), axis=1)[:, :PARTICLES]
            true = np.take_along_axis(positions.astype(np.float64), which[:, :, None], axis=1)
            around = true + random.uniform(-window, window, true.shape)
            low, high = np.maximum(around - window, 0.0), np.minimum(around + window, box_side)
            others = random.uniform(low[:, :, None], high[:, :, None], (n, PARTICLES, OTHERS, 2))
            windows.append((which.copy(), np.concatenate([true[:, :, None], others], axis=2)))
        return cls(positions, np.searchsorted(gammas, gamma), windows, KNOTS + len(gammas))

    def sums(self, parameters: Floats) -> tuple[float, Floats, Floats]:
        """Minus the log-likelihood of the true places, its gradient and its Hessian."""
        loss, gradient, hessian = 0.0, np.zeros(self.size), np.zeros((self.size, self.size))
        for window in self.windows:
            for some in pieces(len(self.number), max(1, GROUPS // window[0].shape[1])):
                part = self._sums(*window, slice(some.start, some.stop), parameters)
                loss, gradient, hessian = loss + part[0], gradient + part[1], hessian + part[2]
        return loss, gradient, hessian

    def _sums(
        self, which: NDArray[np.int64], places: Floats, some: slice, parameters: Floats
    ) -> tuple[float, Floats, Floats]:
        """The same of some configurations and one window."""
        which, places = which[some], places[some]
        counts = np.zeros((*places.shape[:3], KNOTS), np.float32)
        hat_functions(self.positions[some], which, places, SPACING, counts)
        gamma = np.repeat(self.number[some], which.shape[1])
        design = np.zeros((len(gamma), places.shape[2], self.size))
        design[..., :KNOTS] = counts.reshape(len(gamma), -1, KNOTS)
        design[np.arange(len(gamma)), :, KNOTS + gamma] = places[..., 1].reshape(len(gamma), -1)
        energy = design @ parameters
        weights = np.exp(energy.min(axis=1, keepdims=True) - energy)
        total = weights.sum(axis=1, keepdims=True)
        probability = weights / total
        loss = float((energy[:, 0] - energy.min(axis=1) + np.log(total[:, 0])).sum())
        mean = np.einsum("gc,gcp->gp", probability, design)
        scaled = (design * np.sqrt(probability)[..., None]).reshape(-1, self.size)
        return loss, (design[:, 0] - mean).sum(axis=0), scaled.T @ scaled - mean.T @ mean


def _sums(world: "World", examples: list[_Examples], at: Floats, prior: Floats) -> tuple[float, Floats, Floats]:
    """The sums over all ranks' examples, in an order that does not depend on their number, and the prior's."""
    loss, gradient, hessian = 0.5 * float(at @ prior @ at), prior @ at, prior.copy()
    for rank in world.gather([one.sums(at) for one in examples]):
        for sums in rank:
            loss += sums[0]
            gradient = gradient + sums[1]
            hessian += sums[2]
    return loss, gradient, hessian
