"""What every pair potential is: a frozen class with its parameters, its formula and the limits that follow from it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.physics.arithmetic import select

Formula = Callable[[Any], Any]

REGISTRY: dict[str, tuple[type["Potential"], dict[str, float]]] = {}


@dataclass(frozen=True)
class Potential(ABC):
    """A pair potential u(r) in units of ε, r in σ, truncated (not shifted) at `cutoff`.

    A subclass declares its parameters as fields and its `names`; the configuration and every kernel then know it.

    Attributes:
        cutoff: r_cut in σ; pairs further apart do not interact. None: no truncation. A potential whose definition fixes
            its range declares the field again, with `init=False`.
    """

    names: ClassVar[dict[str, dict[str, float]]] = {}
    """Names in the configuration, and the parameters that each of them fixes."""

    cutoff: float | None = field(default=None, kw_only=True)

    def __init_subclass__(cls) -> None:
        for name, fixed in cls.names.items():
            if name in REGISTRY:
                raise TypeError(f"two pair potentials are called {name}")
            REGISTRY[name] = cls, fixed

    @abstractmethod
    def formula(self) -> Formula:
        """U / prefactor of squared distances in σ², as a function that NumPy, CPU vectors and GPUs all run.

        It may use arithmetic, the functions of `lj_vae_hpc.physics.arithmetic`, and numbers of this method. Factors are
        written with a point (2.0): in the kernels these become single precision. It must vanish far away.
        """

    @property
    def usual_cutoff(self) -> float | None:
        """r_cut in σ where the configuration gives none."""
        return 3.0

    @property
    def prefactor(self) -> float:
        """What the formula is multiplied with, in ε; the kernels do so once for a sum of pairs."""
        return 1.0

    @property
    def smallest_squared(self) -> float:
        """Smallest squared distance in σ² that kernels tell apart: sums over overlapping particles stay finite."""
        return 1e-4

    def truncated_formula(self) -> Formula:
        """The formula with zero beyond the cutoff."""
        formula = self.formula()
        if self.cutoff is None:
            return formula
        cutoff_squared = self.cutoff**2

        def truncated(r_squared: Any) -> Any:
            return select(r_squared < cutoff_squared, formula(r_squared), 0.0)

        return truncated

    def energy(self, r_squared: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pair energies in ε for squared distances in σ², of any shape, in double precision.

        Overlapping particles give +inf, never NaN, where the terms of a formula are infinite.
        """
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            u = self.prefactor * self.truncated_formula()(r_squared)
        return np.where(np.isnan(u) & ~np.isnan(r_squared), np.inf, u)

    def core_diameter(self, temperature: float) -> float:
        """Distance in σ within which u exceeds 8 ε, or 8 times the temperature if that is more; 0 if it never does.

        Particles this close are so rare that discs of this diameter must find room in the box.
        """
        inside, outside = 0.0, 10.0
        for _ in range(50):
            middle = (inside + outside) / 2
            if self.energy(np.array(middle**2)) > 8.0 * max(1.0, temperature):
                inside = middle
            else:
                outside = middle
        return inside
