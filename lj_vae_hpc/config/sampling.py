"""The section `sampling`: how configurations are drawn."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Discriminator, Field, StrictBool, Tag, model_validator

from lj_vae_hpc.config.base import Count, Displacement, Gamma, Section, between

MOST_GAMMAS = 100_000


class GammaRange(Section):
    """A scan over γ."""

    start: Gamma
    """First γ."""
    stop: Gamma
    """Last γ, included."""
    num: Annotated[Count, between(1, MOST_GAMMAS, "each value has an ensemble of its own")]
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
    Annotated[tuple[Gamma, ...], Tag("list")] | Annotated[GammaRange, Tag("range")],
    Discriminator(lambda value: "range" if isinstance(value, dict | GammaRange) else "list"),
]


def repeated_gammas(values: Sequence[float]) -> list[float]:
    """Those that are in the list twice, but for rounding."""
    ordered = np.sort(np.asarray(values, np.float64))
    same = np.diff(ordered) <= 1e-9 * np.maximum(1e-3, np.abs(ordered[1:]))
    return [float(gamma) for gamma in np.unique(ordered[1:][same])]


def listed(values: Sequence[float]) -> str:
    """The first few of them."""
    return ", ".join(f"{value:g}" for value in values[:5]) + ", ..." * (len(values) > 5)


def _usual_sweeps(given: dict[str, Any]) -> int:
    return 2500 if given.get("protocol") == "reference" else 500


class Sampling(Section):
    """How configurations are drawn."""

    FREE: ClassVar = frozenset({
        "gammas", "configurations", "max_pilot_sweeps", "check_equilibrium", "allow_unconverged", "device",
        "segment_rows",
    })  # fmt: skip
    """Keys that may change at any time: they change no configuration that is there."""

    protocol: Literal["equilibrated", "reference", "imported"] = "equilibrated"
    """equilibrated: the first 256 chains of each γ, its pilot, prove the burn-in with a tuned step. reference: the
    published protocol, which keeps its step and does not ask whether equilibrium is reached. imported: set by
    `lj-vae import`; the anomaly suites are then sampled as under `equilibrated`."""
    gammas: Gammas = (0.1, 0.4, 0.7, 1.0)
    """γ = m g σ / ε: a list of values, or {start, stop, num, spacing}. One ensemble each."""
    configurations: Annotated[int, Field(ge=10, lt=2**31, strict=True)] = 10_000
    """Configurations per γ."""
    samples_per_chain: Annotated[Count, between(1, 1_000_000, "the chains would never end")] = 1
    """Configurations taken from each Markov chain, twice the autocorrelation time that the pilot measures apart;
    `configurations` must be a multiple."""
    sweeps: Annotated[int, Field(gt=0, lt=2**31, strict=True)] = Field(default_factory=_usual_sweeps)
    """Sweeps of a chain from its uniform random start to its first configuration; one sweep is one trial move per
    particle. 2,500 unless given under `reference`. Under `equilibrated` the least: it becomes the proved burn-in where
    that is longer."""
    step: Displacement = 0.2
    """Largest trial displacement per component, in σ; under `equilibrated` only where the tuning starts."""
    target_acceptance: Annotated[float, Field(gt=0.05, lt=0.95)] = 0.2
    """Share of accepted trial moves that the step is tuned for; 0.2 relaxes fastest (docs/science.md)."""
    long_every: Annotated[int, Field(ge=0, le=1_000, strict=True)] = 4
    """Each sweep of that number makes long moves: by up to half the box sideways, and upwards by as much, but at most
    3 T / γ. 0: none. Only under `equilibrated`."""
    max_pilot_sweeps: Annotated[int, Field(ge=2048, lt=2**31, strict=True)] = 524_288
    """Budget of the pilot: its chains grow, by at most a factor of two at a time, as long as they stay within it. It
    may be raised until configurations are sampled."""
    check_equilibrium: StrictBool = False
    """Under `reference`, runs the pilots too, so that `inspect` can tell whether the data are equilibrated."""
    allow_unconverged: StrictBool = False
    """Samples also those γ whose equilibrium the pilot could not prove; they are marked everywhere."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the chains run, with the same result to the bit; auto takes a GPU where numba finds one, for less than 600
    particles and at least 2,048 chains of a segment on every rank: with fewer, the CPU is faster. Pilots are always on
    the CPU."""
    segment_rows: Annotated[Count, between(1, 1 << 22, "a segment is held in memory")] = 8192
    """Configurations per segment file, the unit that is written at once and redone after a kill."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        values = self.gamma_values
        if not values:
            raise ValueError("gammas: the list is empty; at least one value of γ is needed")
        if len(values) > MOST_GAMMAS:
            raise ValueError(
                f"gammas: {len(values):,} values; at most {MOST_GAMMAS:,}, each has an ensemble of its own"
            )
        repeated = repeated_gammas(values)
        if repeated:
            raise ValueError(f"gammas: {listed(repeated)} given more than once, exactly or but for rounding")
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
