"""The configuration: typed, frozen sections."""

import math
from typing import Annotated, Literal, Self

import numpy as np
import yaml
from pydantic import Discriminator, Field, StrictBool, Tag, model_validator

from lj_vae_hpc.configbase import Count, Number, Positive, Section
from lj_vae_hpc.configmodel import Model, Objective, Representation, Training, contradiction
from lj_vae_hpc.configtuning import Tuning
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


class GammaRange(Section):
    """A scan over γ."""

    start: Number
    """First γ."""
    stop: Number
    """Last γ, included."""
    num: Count
    """How many values."""
    spacing: Literal["linear", "log"] = "linear"
    """Equal differences, or equal ratios (start and stop must then be positive)."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.num > 1 and not self.start < self.stop:
            raise ValueError(f"start {self.start:g} must be less than stop {self.stop:g}")
        if self.spacing == "log" and self.start <= 0:
            raise ValueError(f"spacing log needs start > 0, not {self.start:g}")
        return self

    def values(self) -> tuple[float, ...]:
        """All values of γ, rounded to 12 digits so that they print as they are meant."""
        space = np.geomspace if self.spacing == "log" else np.linspace
        return tuple(float(f"{g:.12g}") for g in space(self.start, self.stop, self.num))


Gammas = Annotated[
    Annotated[tuple[Number, ...], Tag("list")] | Annotated[GammaRange, Tag("range")],
    Discriminator(lambda value: "range" if isinstance(value, dict | GammaRange) else "list"),
]


class Sampling(Section):
    """How configurations are drawn."""

    protocol: Literal["equilibrated", "reference", "imported"] = "equilibrated"
    """equilibrated: a pilot tunes the step and proves the burn-in of each γ. reference: the published protocol, which
    keeps its step and does not ask whether equilibrium is reached. imported: set by `lj-vae import`; the anomaly suites
    are then sampled as under `equilibrated`."""
    gammas: Gammas = (0.1, 0.4, 0.7, 1.0)
    """γ = m g σ / ε: a list of values, or {start, stop, num, spacing}. One ensemble each."""
    configurations: Annotated[int, Field(ge=10, lt=2**31, strict=True)] = 10_000
    """Configurations per γ."""
    samples_per_chain: Count = 1
    """Configurations taken from each Markov chain, twice the autocorrelation time that the pilot measures apart;
    `configurations` must be a multiple. No segment and no rank divides the chains of a turn through all γ."""
    sweeps: Annotated[int, Field(gt=0, lt=2**31, strict=True)] = 1_000
    """Sweeps of a chain from its uniform random start to its first configuration; one sweep is one trial move per
    particle. Under `equilibrated` the least: it becomes the proved burn-in where that is longer."""
    step: Positive = 0.2
    """Largest trial displacement per component, in σ; under `equilibrated` only where the tuning starts."""
    target_acceptance: Annotated[float, Field(gt=0.05, lt=0.95)] = 0.2
    """Share of accepted trial moves that the pilot tunes the step for; 0.2 relaxes fastest (docs/science.md)."""
    max_pilot_sweeps: Annotated[int, Field(ge=2048, lt=2**31, strict=True)] = 500_000
    """Budget of the pilot: the longest pilot chains, in sweeps. It may be raised until configurations are sampled."""
    allow_unconverged: StrictBool = False
    """Samples also those γ whose equilibrium the pilot could not prove; they are marked everywhere."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the chains run, with the same result to the bit; auto takes a GPU where numba finds one, for less than 600
    particles. One chain per thread: a GPU wants some 10,000 configurations per rank and segment."""
    segment_rows: Count = 8192
    """Configurations per segment file, the unit that is written at once and redone after a kill."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        values = self.gamma_values
        if not values:
            raise ValueError("gammas: the list is empty; at least one value of γ is needed")
        repeated = sorted({g for g in values if values.count(g) > 1})
        if repeated:
            raise ValueError(f"gammas: {', '.join(f'{g:g}' for g in repeated)} given more than once")
        if self.configurations % self.samples_per_chain or self.configurations < 10 * self.samples_per_chain:
            raise ValueError(
                f"samples_per_chain: configurations {self.configurations} is not a multiple of {self.samples_per_chain}"
                ", or makes less than 10 chains"
            )
        if self.samples_per_chain > 1 and self.protocol != "equilibrated":
            raise ValueError(f"samples_per_chain: protocol {self.protocol} has one configuration of each chain")
        return self

    @property
    def gamma_values(self) -> tuple[float, ...]:
        """All values of γ."""
        return self.gammas.values() if isinstance(self.gammas, GammaRange) else self.gammas

    @property
    def turn(self) -> int:
        """Rows in which every γ has one chain."""
        return len(self.gamma_values) * self.samples_per_chain


class Corruption(Section):
    """One severity of the corrupted suite."""

    particles: Count = 4
    """How many randomly chosen particles are moved."""
    amplitude: Positive
    """Largest displacement per component, in σ."""


class Evaluation(Section):
    """The anomaly suites. Normal is the test split; nothing here influences training."""

    configurations: Annotated[int, Field(ge=2, strict=True)] = 4_000
    """Configurations per anomaly suite."""
    unseen_gammas: tuple[Number, ...] = (3.0, 0.55, 0.25, 1.3)
    """Values of γ the network was not trained on, one suite each."""
    soft_gamma: Number = 0.5
    """γ of the suite sampled with the soft potential u = 4 (r^-4 - r^-2), not truncated."""
    corruptions: dict[str, Corruption] = {  # noqa: RUF012, pydantic copies it
        "corrupted": Corruption(amplitude=0.2 * 10 * math.sqrt(2)),
        "corrupted_mild": Corruption(amplitude=0.2),
    }
    """Suites made from the test split by moving particles, by name. Moved particles may leave the box."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [*(f"gamma_{gamma:g}" for gamma in self.unseen_gammas), "soft", "uniform", "normal", *self.corruptions]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"unseen_gammas, corruptions: more than one suite would be named {', '.join(repeated)}")
        if any("/" in name or not name for name in self.corruptions):
            raise ValueError(f"corruptions: the names {list(self.corruptions)} must be without /")
        return self


class RunConfig(Section):
    """A whole run."""

    seed: Annotated[int, Field(ge=0, lt=2**64, strict=True)] = 20230615
    """Seed of every random number of the run."""
    system: System = System()
    sampling: Sampling = Sampling()
    representation: Representation = Representation()
    model: Model = Model()
    objective: Objective = Objective()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    tuning: Tuning = Tuning()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        seen = set(self.sampling.gamma_values) & set(self.evaluation.unseen_gammas)
        if seen:
            raise ValueError(
                f"evaluation.unseen_gammas: {', '.join(f'{g:g}' for g in sorted(seen))} is also in sampling.gammas"
            )
        if self.training.validation_fraction + self.training.test_fraction >= 0.9:
            raise ValueError("training: validation_fraction + test_fraction must leave at least 0.1 for training")
        wrong = contradiction(self.system.box_side, self.representation, self.model, self.objective)
        if wrong:
            raise ValueError(wrong)
        for name, corruption in self.evaluation.corruptions.items():
            if corruption.particles > self.system.n_particles:
                raise ValueError(
                    f"evaluation.corruptions.{name}.particles: {corruption.particles} exceeds system.n_particles"
                )
        return self

    def to_yaml(self) -> str:
        """The resolved configuration, every key present."""
        text: str = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        return text
