"""The section `system`: the fluid."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from lj_vae_hpc.config.base import Length, Section, Temperature
from lj_vae_hpc.physics.potentials import make_potential
from lj_vae_hpc.physics.potentials.base import REGISTRY, Potential


class ChosenPotential(Section):
    """A pair potential by name, with parameters beside it."""

    model_config = ConfigDict(extra="allow")

    kind: str


PotentialKey = str | tuple[int, int] | ChosenPotential


def _make(key: PotentialKey, cutoff: float | None) -> Potential:
    if isinstance(key, str):
        return make_potential(key, cutoff)
    if isinstance(key, ChosenPotential):
        return make_potential(key.kind, cutoff, **(key.model_extra or {}))
    return make_potential("mie", cutoff, repulsive=key[0], attractive=key[1])


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e6:
        raise ValueError(f"{name} must be a number below a million, not {value!r:.60}")
    return value


def check_potential(value: Any) -> PotentialKey:
    """What was given, if it describes a pair potential."""
    key: PotentialKey
    name = value.get("kind") if isinstance(value, Mapping) else value
    if isinstance(value, ChosenPotential):
        key = value
    elif isinstance(value, list | tuple) and len(value) == 2:
        key = value[0], value[1]
    elif not isinstance(name, str) or name not in REGISTRY:
        raise ValueError(
            f"{value!r:.60} is no pair potential; accepted are {', '.join(sorted(REGISTRY))}, the two exponents "
            "[n, m] of a Mie potential, or {kind: NAME, PARAMETER: NUMBER, ...}"
        )
    elif isinstance(value, Mapping) and len(value) > 1:
        key = ChosenPotential(kind=name, **{k: _number(k, v) for k, v in value.items() if k != "kind"})
    else:
        key = name
    _make(key, None)
    return key


def _usual_cutoff(given: dict[str, Any]) -> float | None:
    key = given.get("potential")  # none if it was refused
    return _make(key, None).usual_cutoff if key else None


class System(Section):
    """The fluid: reduced units, lengths in σ, energies in ε, k_B = 1."""

    n_particles: Annotated[int, Field(ge=2, le=100_000, strict=True)] = 30
    """Number of particles N."""
    box_side: Length = 10.0
    """Side L of the hard-walled square box, in σ."""
    temperature: Temperature = 0.75
    """Temperature T, in ε/k_B."""
    potential: Annotated[PotentialKey, BeforeValidator(check_potential)] = "lennard_jones"
    """Pair potential: one of the names below; a name with parameters, {kind: NAME, PARAMETER: NUMBER}; or the two
    exponents [n, m] of a Mie potential."""
    cutoff: Length | None = Field(default_factory=_usual_cutoff, validate_default=True)
    """Distance r_cut in σ beyond which pairs do not interact (truncated, not shifted); null for none, which is the
    default of soft and other potentials with r^-2. If the potential's definition fixes its range, as that of wca does,
    3 and null become that range, and any other value is refused."""

    @field_validator("cutoff")
    @classmethod
    def _own_cutoff(cls, cutoff: float | None, info: ValidationInfo) -> float | None:
        """The cutoff that the potential's definition fixes, if it does."""
        key = info.data.get("potential")
        if key is None or (own := _make(key, None)).cutoff is None:
            return cutoff
        if cutoff not in (None, own.usual_cutoff, own.cutoff):
            raise ValueError(
                f"the potential ends at {own.cutoff:.6g} σ by definition, not at {cutoff:g}; leave the key out"
            )
        return own.cutoff

    @model_validator(mode="after")
    def _fits(self) -> Self:
        # One disc per particle; more than the densest packing of discs cannot fit.
        diameter = self.pair_potential.core_diameter(self.temperature)
        fraction = self.n_particles * math.pi / 4 * diameter**2 / (self.box_side + diameter) ** 2
        if fraction > math.pi / math.sqrt(12):
            raise ValueError(
                f"n_particles: {self.n_particles} particles cannot fit in a box of side {self.box_side:g} σ; "
                f"at most {int(self.n_particles * math.pi / math.sqrt(12) / fraction)} can"
            )
        return self

    @property
    def pair_potential(self) -> Potential:
        """The pair potential."""
        return _make(self.potential, self.cutoff)
