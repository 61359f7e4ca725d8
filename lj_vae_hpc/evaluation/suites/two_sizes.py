"""A mixture of particles of two sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numba
import numpy as np

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.sources import AnySource
from lj_vae_hpc.evaluation.suites.base import Suite
from lj_vae_hpc.training.batches import Configurations

SWEEPS, STEP = 100, 0.3  # after the change of sizes; the step is in σ


@dataclass(frozen=True, eq=False)
class TwoSizes(Suite):
    """Configurations of the test split after every other particle shrank, the others grew, and all relaxed.

    Pairs interact by the Lennard-Jones potential with the mean of their diameters for σ, truncated at 3 of these. Which
    particle is of which size is not told to any score.
    """

    ratio: float

    paired: ClassVar[bool] = True

    @classmethod
    def of(cls, config: RunConfig) -> list[Self]:
        """The one, unless it is switched off."""
        ratio = config.evaluation.size_ratio
        return [cls(config, ratio)] if ratio is not None else []

    @property
    def name(self) -> str:
        """As in summary.json."""
        return "two_sizes"

    @property
    def meaning(self) -> str:
        """The ratio."""
        return f"particles of two sizes, one {self.ratio:g} times the other"

    @property
    def identity(self) -> dict[str, Any]:
        """Seed, ratio and number."""
        return {
            "seed": self.config.seed, "ratio": self.ratio, "sweeps": SWEEPS, "step": STEP,
            "configurations": self.config.evaluation.configurations,
        }  # fmt: skip

    def why_left_out(self, trained: Sequence[float]) -> str | None:
        """It is only for Lennard-Jones particles of one size, and two sizes."""
        if self.config.system.potential != "lennard_jones":
            return "two sizes are only for system.potential lennard_jones"
        return "both sizes are the same" if self.ratio == 1.0 else None

    def count(self, source: AnySource) -> int:
        """At most evaluation.configurations, each from another configuration of the test split."""
        return min(len(source), self.config.evaluation.configurations)

    def read(self, source: AnySource, part: range) -> Configurations:
        """The relaxed configurations."""
        positions, gamma = source.read(part)
        small = 2.0 / (1.0 + self.ratio)
        diameters = np.where(np.arange(positions.shape[1]) % 2, self.ratio * small, small)
        system = self.config.system
        relaxed = positions.astype(np.float64)
        for one, its_gamma, origin in zip(relaxed, gamma, source.origins(part).tolist(), strict=True):
            numbers = np.random.default_rng([self.config.seed, *origin]).random((SWEEPS, len(one), 3))
            _relax(one, diameters, its_gamma, 1.0 / system.temperature, system.box_side, STEP, numbers)
        return Configurations(np.minimum(relaxed, system.box_side).astype(np.float32), gamma)


@numba.njit(cache=True, error_model="numpy")
def _relax(positions, diameters, gamma, beta, side, step, numbers):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Metropolis sweeps of one configuration (N, 2), in place, with the given random numbers (sweeps, N, 3)."""
    for sweep in range(len(numbers)):
        for i in range(len(positions)):
            x, y = positions[i, 0], positions[i, 1]
            x_new = x + step * (2.0 * numbers[sweep, i, 0] - 1.0)
            y_new = y + step * (2.0 * numbers[sweep, i, 1] - 1.0)
            x_new = x_new if 0.0 <= x_new <= side else x
            y_new = y_new if 0.0 <= y_new <= side else y
            change = gamma * (y_new - y)
            for j in range(len(positions)):
                if j != i:
                    d2 = (0.5 * (diameters[i] + diameters[j])) ** 2
                    q = d2 / max(1e-2, (x_new - positions[j, 0]) ** 2 + (y_new - positions[j, 1]) ** 2)
                    p = d2 / max(1e-2, (x - positions[j, 0]) ** 2 + (y - positions[j, 1]) ** 2)
                    if q > 1.0 / 9.0:
                        q = q * q * q
                        change += 4.0 * (q * q - q)
                    if p > 1.0 / 9.0:
                        p = p * p * p
                        change -= 4.0 * (p * p - p)
            if numbers[sweep, i, 2] < np.exp(-beta * max(change, 0.0)):
                positions[i, 0], positions[i, 1] = x_new, y_new
