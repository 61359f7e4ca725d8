"""The section `system`: the fluid."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lj_vae_hpc.config.base import Count, Positive, Section
from lj_vae_hpc.physics.potentials import Mie

EXPONENTS = {"lennard_jones": (12, 6), "soft": (4, 2)}


class System(Section):
    """The fluid: reduced units, lengths in σ, energies in ε, k_B = 1."""

    n_particles: Annotated[int, Field(ge=2, le=100_000, strict=True)] = 30
    """Number of particles N."""
    box_side: Positive = 10.0
    """Side L of the hard-walled square box, in σ."""
    temperature: Positive = 0.75
    """Temperature T, in ε/k_B."""
    potential: Literal["lennard_jones", "soft"] | tuple[Count, Count] = "lennard_jones"
    """Pair potential: lennard_jones (12-6), soft (4-2), or the two exponents [n, m] of a Mie potential, both even."""
    cutoff: Positive | None = 3.0
    """Distance r_cut in σ beyond which pairs do not interact (truncated, not shifted); null for none."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        n, m = self.exponents
        if n % 2 or m % 2 or not 0 < m < n <= 48:
            raise ValueError(f"potential: the exponents [{n}, {m}] must be even, the first larger, at most 48")
        # One disc of diameter 0.9 σ (u = 8 ε) per particle; more than the densest packing of discs cannot fit.
        fraction = self.n_particles * math.pi * 0.45**2 / (self.box_side + 0.9) ** 2
        if fraction > math.pi / math.sqrt(12):
            raise ValueError(
                f"n_particles: {self.n_particles} particles cannot fit in a box of side {self.box_side:g} σ; "
                f"at most {int(self.n_particles * math.pi / math.sqrt(12) / fraction)} can"
            )
        return self

    @property
    def exponents(self) -> tuple[int, int]:
        """(n, m) of the Mie potential."""
        return EXPONENTS[self.potential] if isinstance(self.potential, str) else self.potential

    @property
    def mie(self) -> Mie:
        """The pair potential."""
        return Mie(*self.exponents, self.cutoff)
