"""The screened Coulomb repulsion of Debye and Hückel, also called Yukawa's potential."""

from dataclasses import dataclass
from typing import Any, ClassVar

from lj_vae_hpc.physics.arithmetic import exponential, square_root
from lj_vae_hpc.physics.potentials.base import Formula, Potential


@dataclass(frozen=True)
class Yukawa(Potential):
    """u(r) = exp(-κ (r - 1)) / r in ε: repulsive everywhere, 1 ε at r = σ, truncated (not shifted) at the cutoff.

    Yukawa, Proc. Phys.-Math. Soc. Japan 17, 48 (1935). The effective interaction of charged colloids: Robbins, Kremer
    and Grest, J. Chem. Phys. 88, 3286 (1988).

    Attributes:
        kappa: κ in 1/σ, the inverse screening length; from 0.1 to 10.
    """

    names: ClassVar = {"yukawa": {}}

    kappa: float = 2.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.kappa <= 10.0:
            raise ValueError(f"kappa {self.kappa:g} is not between 0.1 and 10")

    def formula(self) -> Formula:
        """The whole of it."""
        kappa = float(self.kappa)

        def energy(r_squared: Any) -> Any:
            r = square_root(r_squared)
            return exponential(kappa * (1.0 - r)) / r

        return energy
