"""The Mie pair potential, of which Lennard-Jones is one setting."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Mie:
    """u(r) = C (r^-n - r^-m) in units of the well depth ε, r in σ, truncated (not shifted) at `cutoff`.

    C = n/(n-m) (n/m)^(m/(n-m)) puts the minimum at -1 (Mie, Ann. Phys. 316, 657, 1903).
    (n, m) = (12, 6) is Lennard-Jones and (4, 2) the soft potential; both have C = 4.

    Attributes:
        repulsive: n, even.
        attractive: m, even, smaller than n.
        cutoff: r_cut in σ; pairs further apart do not interact. None: no truncation.
    """

    repulsive: int
    attractive: int
    cutoff: float | None

    @property
    def prefactor(self) -> float:
        """C, dimensionless."""
        n, m = self.repulsive, self.attractive
        return float(n / (n - m) * (n / m) ** (m / (n - m)))

    def energy(self, r_squared: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pair energies in ε for squared distances in σ², of any shape.

        Overlapping particles (r = 0) give +inf, never NaN: a (b - 1) where a - b would be inf - inf.
        """
        with np.errstate(divide="ignore", over="ignore"):
            q = 1.0 / r_squared
            s = _power(q, self.attractive // 2)
            u = self.prefactor * s * (_power(q, (self.repulsive - self.attractive) // 2) - 1.0)
        if self.cutoff is None:
            return u
        return np.where(r_squared < self.cutoff**2, u, 0.0)


def _power(q: NDArray[np.float64], exponent: int) -> NDArray[np.float64]:
    """q^exponent by multiplications: NumPy's power differs in the last bits from one processor to another."""
    result = q
    for _ in range(exponent - 1):
        result = result * q
    return result
