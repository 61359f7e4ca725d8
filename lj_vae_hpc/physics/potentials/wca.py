"""The repulsive part of Lennard-Jones (Weeks, Chandler and Andersen)."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from lj_vae_hpc.physics.potentials.base import Formula, Potential


@dataclass(frozen=True)
class WCA(Potential):
    """u(r) = 4 (r^-12 - r^-6) + 1 for r < 2^(1/6) σ, 0 beyond: Lennard-Jones, cut at its minimum and shifted.

    Weeks, Chandler and Andersen, J. Chem. Phys. 54, 5237 (1971). Energy and force are continuous at the cutoff.
    """

    names: ClassVar = {"wca": {}}

    cutoff: float | None = field(default=2.0 ** (1 / 6), init=False)

    @property
    def prefactor(self) -> float:
        """4 ε."""
        return 4.0

    def formula(self) -> Formula:
        """(r^-6 - 1/2)^2, the same without differences of large numbers."""

        def energy(r_squared: Any) -> Any:
            q = 1.0 / r_squared
            s = q * q * q - 0.5
            return s * s

        return energy
