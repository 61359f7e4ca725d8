"""The section `evaluation`: the anomaly suites."""

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, model_validator

from lj_vae_hpc.config.base import (
    AUTO,
    OR_AUTO,
    Count,
    Displacement,
    Gamma,
    Length,
    Positive,
    Section,
    Temperature,
    between,
)
from lj_vae_hpc.config.system import PotentialKey, check_potential

RESERVED = ("normal", "validation", "calibration", "scores", "uniform", "early", "two_sizes")
"""Names that no suite of the user's may have."""


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")


def _suite_name(name: str) -> str:
    if not NAME.fullmatch(name) or ".partial" in name:
        raise ValueError(
            f"{name!r:.80} cannot name a suite, which has a file of that name; accepted are 1 to 64 letters, digits "
            "and _ . + -, the first a letter or a digit, without `.partial`, which marks unfinished files"
        )
    return name


def _found_anywhere(path: Path) -> Path:
    if not str(path).isprintable():
        raise ValueError(f"{str(path)!r:.80} has characters that no path should have")
    return path.absolute()  # the command that reads it later may be called elsewhere


SuiteName = Annotated[str, AfterValidator(_suite_name)]
FilePath = Annotated[Path, AfterValidator(_found_anywhere)]


class Corruption(Section):
    """One severity of the corrupted suite."""

    particles: Annotated[Count, between(1, 100_000, "system.n_particles is at most that")] = 4
    """How many randomly chosen particles are moved."""
    amplitude: Displacement | None
    """Largest displacement per component, in σ; null: to anywhere in the box."""
    keep_in_box: StrictBool = True
    """Moves each particle uniformly within what of its square lies in the box; false lets it leave the box, as in the
    published work."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.amplitude is None and not self.keep_in_box:
            raise ValueError("keep_in_box: false needs an amplitude")
        return self


class Fluid(Section):
    """Another fluid: what is not given is as in the section `system`."""

    gamma: Gamma = 0.5
    """γ."""
    temperature: Temperature | None = None
    """Temperature T, in ε/k_B."""
    potential: Annotated[PotentialKey, BeforeValidator(check_potential)] | None = None
    """Pair potential, as in `system`."""
    cutoff: Length | None = None
    """r_cut in σ; null is as in `system` where the potential is not given, and none where it is."""


class Claim(Section):
    """Configurations of one γ that claim to be of another."""

    claimed: Gamma
    """A trained γ."""
    true: Gamma
    """The γ that they are of."""

    @model_validator(mode="before")
    @classmethod
    def _key(cls, given: Any) -> Any:
        """YAML reads the key `true` as a truth value."""
        if not isinstance(given, dict):
            return given
        return {"true" if key is True else key: value for key, value in given.items()}


def _ladder() -> dict[str, Corruption]:
    named = {
        "corrupted": Corruption(amplitude=2.83),
        "corrupted_mild": Corruption(amplitude=0.2),
        "replaced": Corruption(particles=1, amplitude=None),
    }
    by_amplitude = {f"corrupted_4_{a:g}": Corruption(amplitude=a) for a in (0.1, 0.5, 1.0)}
    by_particles = {
        f"corrupted_{n}_{a:g}": Corruption(particles=n, amplitude=a) for a in (0.2, 2.83) for n in (1, 2, 8)
    }
    return named | by_amplitude | by_particles


class Evaluation(Section):
    """The anomaly suites. Normal is the test split; nothing here influences training or any score."""

    configurations: Annotated[int, Field(ge=2, lt=2**31, strict=True), OR_AUTO] = AUTO
    """Configurations per anomaly suite; auto, which a run resolves to a number, is about as many as the test split has,
    at most 4000, but one of each γ at least."""
    unseen_gammas: tuple[Gamma, ...] = (3.0, 0.55, 0.25, 1.3)
    """Values of γ the network was not trained on, one suite each."""
    claims: tuple[Claim, ...] = (
        Claim(claimed=0.4, true=0.55), Claim(claimed=0.7, true=0.55), Claim(claimed=0.1, true=0.25),
        Claim(claimed=0.4, true=0.25), Claim(claimed=1.0, true=1.3),
    )  # fmt: skip
    """Suites of configurations that claim a wrong γ. Normal for each are the test configurations of the claimed γ."""
    fluids: dict[SuiteName, Fluid] = {  # noqa: RUF012, pydantic copies it
        "soft": Fluid(potential="soft"),
        "wca": Fluid(potential="wca"),
        "hot": Fluid(temperature=1.5),
    }
    """Suites of other fluids in the same box, by name."""
    size_ratio: Annotated[Positive, between(0.01, 100, "the box holds only one of the sizes")] | None = 1.5
    """Suite `two_sizes`: every other particle of a test configuration shrinks and the others grow, to diameters of this
    ratio and of mean σ, and the fluid relaxes; null: no such suite."""
    early_sweeps: Annotated[Count, Field(lt=2**31)] | None = 100
    """Suite `early`: so many sweeps of the `reference` protocol from a random start, at every trained γ; null: none."""
    corruptions: dict[SuiteName, Corruption] = _ladder()
    """Suites made from the test split by moving particles, by name. Particles are sorted anew."""
    files: dict[SuiteName, FilePath] = {}  # noqa: RUF012
    """Suites of your own, by name: files of configurations of N particles each, of any kind that `score` reads."""
    extra_scores: tuple[str, ...] = ()
    """Slow scores to compute besides the others: importance_weighted, likelihood_regret, gradient_norms."""
    studies: tuple[str, ...] = ("reconstruction", "generation", "completion", "latent")
    """What else is computed of the model, in evaluation/studies.json."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        given = (*self.corruptions, *self.fluids, *self.files)
        names = [
            *RESERVED, *given, *(f"gamma_{gamma:g}" for gamma in self.unseen_gammas),
            *(f"claimed_{claim.claimed:g}_true_{claim.true:g}" for claim in self.claims),
        ]  # fmt: skip
        repeated = sorted(name for name, count in Counter(names).items() if count > 1)
        if repeated:
            raise ValueError(f"more than one suite would be named {', '.join(repeated[:5])}; rename it")
        return self
