"""The Mie potential, of which Lennard-Jones and the soft potential are settings."""

from dataclasses import dataclass
from typing import Any, ClassVar

from lj_vae_hpc.physics.arithmetic import fma
from lj_vae_hpc.physics.potentials.base import Formula, Potential


@dataclass(frozen=True)
class Mie(Potential):
    """u(r) = C (r^-n - r^-m) with C = n/(n-m) (n/m)^(m/(n-m)), which puts the minimum at -1 ε.

    Mie, Ann. Phys. 316, 657 (1903). (n, m) = (12, 6) is Lennard-Jones and (4, 2) the soft potential; both have C = 4.

    Attributes:
        repulsive: n, even, at most 48.
        attractive: m, even, smaller than n.
    """

    names: ClassVar = {
        "lennard_jones": {"repulsive": 12, "attractive": 6},
        "soft": {"repulsive": 4, "attractive": 2},
        "mie": {},
    }

    repulsive: int
    attractive: int

    def __post_init__(self) -> None:
        n, m = self.repulsive, self.attractive
        if not all(isinstance(k, int) and k % 2 == 0 for k in (n, m)) or not 0 < m < n <= 48:
            raise ValueError(f"the exponents [{n}, {m}] must be even, the first larger, at most 48")

    @property
    def usual_cutoff(self) -> float | None:
        """3 σ, but none for m = 2: in two dimensions r^-2 has no finite integral, so no distance is far enough."""
        return super().usual_cutoff if self.attractive > 2 else None

    @property
    def prefactor(self) -> float:
        """C, in ε."""
        n, m = self.repulsive, self.attractive
        return float(n / (n - m) * (n / m) ** (m / (n - m)))

    @property
    def smallest_squared(self) -> float:
        """Such that r^-n stays below 1e34."""
        return float(max(1e-4, 10.0 ** (-68 / self.repulsive)))

    def formula(self) -> Formula:
        """r^-n - r^-m."""
        half_m, half_difference = self.attractive // 2, (self.repulsive - self.attractive) // 2

        def energy(r_squared: Any) -> Any:
            q = 1.0 / r_squared
            s = t = q
            for _ in range(half_m - 1):
                s = s * q
            for _ in range(half_difference - 1):
                t = t * q
            return fma(s, t, -s)

        return energy
