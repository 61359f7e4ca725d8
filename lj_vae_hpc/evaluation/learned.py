"""What the training split teaches the scores, besides the network itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from lj_vae_hpc.evaluation.conditional.fit import fit_conditional
from lj_vae_hpc.evaluation.conditional.model import ConditionalModel
from lj_vae_hpc.evaluation.kept import Kept
from lj_vae_hpc.evaluation.order import OrderParameter
from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.sources import Source, batches
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.network import Network

if TYPE_CHECKING:
    from lj_vae_hpc.parallel.world import World

Floats = NDArray[np.float64]

ROWS = 16_384  # of the training split that scores learn from, at most
VERSION = 1  # of the conditional model


@dataclass(frozen=True)
class Learned:
    """Shared by all scores.

    Attributes:
        order: the order parameter in the latent space.
        conditional: one particle given the others.
    """

    order: OrderParameter
    conditional: ConditionalModel


def collect(
    world: "World", training: Source, size: int, function: Callable[[Configurations], Floats], label: str
) -> Floats:
    """(n, k) a function of the first rows of the training split, on every rank; each rank computes its share.

    Args:
        world: the ranks.
        training: the training split, of which every beginning is a fair mixture of γ.
        size: configurations at once.
        function: of n configurations, (n, k).
        label: what this learns.
    """
    rows, mine = min(len(training), ROWS), []
    own = batches(world, rows, size)
    with Progress(label, sum(map(len, own)), "configurations", world.is_root) as progress:
        for part in own:
            mine.append(function(training.read(part)))
            progress.advance(len(part))
    return np.concatenate([part for rank in world.gather(mine) for part in rank])


def training_codes(world: "World", network: Network, training: Source, size: int) -> Floats:
    """(n, d + 1) latent mean and γ of the first rows of the training split, on every rank.

    Args:
        world: the ranks.
        network: with its weights.
        training: the training split.
        size: configurations at once.
    """
    return collect(world, training, size, lambda part: np.c_[Pass(network, part).latent_mean, part.gamma], "encoding")


def learn(codes: Floats, conditional: ConditionalModel) -> tuple[Learned, Floats]:
    """What the first rows of the training split teach, and their γ; the same on any number of ranks.

    Args:
        codes: as of training_codes.
        conditional: the conditional model of the split.
    """
    latent_mean, gamma = codes[:, :-1], codes[:, -1]
    with threadpool_limits(1):  # sums are rounded the same whatever the number of cores
        return Learned(OrderParameter(latent_mean, gamma), conditional), gamma


def learn_conditional(
    world: "World", folder: Path, training: Source, gammas: Sequence[float], facts: dict[str, Any], box_side: float
) -> ConditionalModel:
    """The conditional model of a training split; fitted once and kept, as it depends on no network.

    Args:
        world: the ranks.
        folder: where it is kept.
        training: the training split.
        gammas: its values of γ, ascending.
        facts: what the split follows from, by value.
        box_side: L, in σ.
    """
    kept = Kept(folder, "conditional", {"splits": facts, "version": VERSION})
    columns = world.on_root(lambda: kept.read() if kept.path.exists() else None)
    if columns is None:
        model = fit_conditional(world, training, gammas, box_side)
        columns = {
            "pair": model.pair, "pair_error": model.pair_error, "slope": model.slope,
            "slope_error": model.slope_error,
        }  # fmt: skip
        world.on_root(lambda: kept.write(columns))
    return ConditionalModel(
        columns["pair"], columns["pair_error"], gammas, columns["slope"], columns["slope_error"], box_side
    )
