"""The section `evaluation`: the anomaly suites."""

import math
from typing import Annotated, Self

from pydantic import Field, StrictBool, model_validator

from lj_vae_hpc.config.base import Count, Number, Positive, Section


class Corruption(Section):
    """One severity of the corrupted suite."""

    particles: Count = 4
    """How many randomly chosen particles are moved."""
    amplitude: Positive
    """Largest displacement per component, in σ."""
    keep_in_box: StrictBool = True
    """Moves each particle uniformly within what of its square lies in the box; false lets it leave the box, as in the
    published work."""


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
    """Suites made from the test split by moving particles, by name. Particles are sorted anew."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [*(f"gamma_{gamma:g}" for gamma in self.unseen_gammas), "soft", "uniform", "normal", *self.corruptions]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"unseen_gammas, corruptions: more than one suite would be named {', '.join(repeated)}")
        if any("/" in name or not name for name in self.corruptions):
            raise ValueError(f"corruptions: the names {list(self.corruptions)} must be without /")
        return self
