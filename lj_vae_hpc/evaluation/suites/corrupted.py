"""Configurations of the test split with some particles moved."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.evaluation import Corruption
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.sources import AnySource
from lj_vae_hpc.evaluation.suites.base import Suite
from lj_vae_hpc.training.batches import Configurations


@dataclass(frozen=True, eq=False)
class Corrupted(Suite):
    """One severity of evaluation.corruptions; every representation sorts the particles anew.

    Attributes:
        label: its key there.
        corruption: its values.
    """

    label: str
    corruption: Corruption

    paired: ClassVar[bool] = True

    @classmethod
    def of(cls, config: RunConfig) -> list[Self]:
        """One for each severity."""
        return [cls(config, label, corruption) for label, corruption in config.evaluation.corruptions.items()]

    @property
    def name(self) -> str:
        """The key."""
        return self.label

    @property
    def meaning(self) -> str:
        """How many particles are moved, and how far."""
        c = self.corruption
        particles = "1 particle" if c.particles == 1 else f"{c.particles} particles"
        return f"{particles} " + ("put anywhere" if c.amplitude is None else f"moved by up to {c.amplitude:g} σ")

    @property
    def identity(self) -> dict[str, Any]:
        """The values of the corruption; not its key."""
        c = self.corruption
        return {
            "seed": self.config.seed, "particles": c.particles, "amplitude": c.amplitude,
            "keep_in_box": c.keep_in_box, "configurations": self.config.evaluation.configurations,
        }  # fmt: skip

    def why_left_out(self, trained: Sequence[float]) -> str | None:
        """It cannot move more particles than there are."""
        count = self.config.system.n_particles
        return f"there are only {count} particles" if self.corruption.particles > count else None

    def count(self, source: AnySource) -> int:
        """At most evaluation.configurations, each from another configuration of the test split."""
        return min(len(source), self.config.evaluation.configurations)

    def read(self, source: AnySource, part: range) -> Configurations:
        """The corrupted configurations."""
        positions, gamma = source.read(part)
        side = self.config.system.box_side
        return Configurations(corrupt(positions, source.origins(part), self.corruption, self.config.seed, side), gamma)

    def culprits(self, source: AnySource, part: range, own: Configurations) -> NDArray[np.bool_]:
        """The particles that were moved."""
        return np.asarray((own.positions != source.read(part).positions).any(axis=2))


def corrupt(
    positions: NDArray[np.float32], origins: NDArray[np.int64], corruption: Corruption, seed: int, box_side: float
) -> NDArray[np.float32]:
    """Moves some particles of each configuration by U(-amplitude, amplitude) per component.

    Those that have to stay in the box are moved uniformly within what of the square around them lies in it.

    Args:
        positions: (n, N, 2), in σ.
        origins: (n, 3) what each configuration is (Source.origins); determines its moves, whatever else is made.
        corruption: how many particles, how far, whether they stay in the box.
        seed: the run's.
        box_side: L, in σ.
    """
    amplitude = box_side if corruption.amplitude is None else corruption.amplitude
    bits = int(np.float64(amplitude).view(np.uint64))
    moved = positions.copy()
    for k, origin in enumerate(origins):
        random = np.random.default_rng([seed, corruption.particles, bits, *map(int, origin)])
        chosen = random.choice(positions.shape[1], corruption.particles, replace=False)
        low, high = moved[k, chosen] - amplitude, moved[k, chosen] + amplitude
        if corruption.keep_in_box:
            low, high = np.maximum(low, 0.0), np.minimum(high, box_side)
        moved[k, chosen] = random.uniform(low, high)
    return moved
