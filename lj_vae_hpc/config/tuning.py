"""The section `tuning` of the configuration: the search of hyperparameters."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Tag, TypeAdapter, ValidationError, field_validator, model_validator

from lj_vae_hpc.config.base import Count, Number, Section, between
from lj_vae_hpc.config.model import Model
from lj_vae_hpc.config.objective import Objective
from lj_vae_hpc.config.training import Training

SECTIONS: dict[str, type[Section]] = {"model": Model, "objective": Objective, "training": Training}
LATENT_DIM = "model.latent_dim"
# Keys of `training` that no search covers: they would make trials incomparable, or change no result.
EXCLUDED = (
    "epochs",
    "validation_fraction",
    "calibration_fraction",
    "test_fraction",
    "device",
    "precision",
    "checkpoint_minutes",
)


class Span(Section):
    """A range of numbers to search: of integers if the key is an integer."""

    low: Number
    """Smallest value."""
    high: Number
    """Largest value."""
    spacing: Literal["linear", "log"] = "linear"
    """Whether values are at first uniform in the number (linear) or in its logarithm (log, which needs low > 0)."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} must be less than high {self.high:g}")
        if self.spacing == "log" and self.low <= 0:
            raise ValueError(f"spacing log needs low > 0, not {self.low:g}")
        return self


Searched = Annotated[
    Annotated[tuple[Any, ...], Tag("list")] | Annotated[Span, Tag("span")],
    Discriminator(lambda value: "span" if isinstance(value, dict | Span) else "list"),
]


class Tuning(Section):
    """The search of hyperparameters. Everything outside `space` is the same for all trials."""

    trials: Annotated[Count, between(1, 100_000, "no search is that long")] = 50
    """Trials of the whole study, over all ranks and jobs; may be increased later."""
    epochs: Annotated[Count, between(1, 1_000_000, "no training is that long")] = 10
    """Epochs of each trial, in place of `training.epochs`."""
    space: dict[str, Searched] = {  # noqa: RUF012, pydantic copies it
        LATENT_DIM: Span(low=4, high=80, spacing="log"),
        "model.width": (128, 256, 512),
        "model.depth": (1, 2, 3),
        "objective.kl_weight": Span(low=0.1, high=10, spacing="log"),
        "training.learning_rate": Span(low=1e-4, high=1e-2, spacing="log"),
    }
    """The keys that the search covers: maps `section.key` of model, objective or training to a list of choices or to
    {low, high, spacing}; null removes a key. By default the search of model.latent_dim ends at the number of
    coordinates."""

    @field_validator("space", mode="before")
    @classmethod
    def _flatten(cls, space: Any) -> Any:
        """`-s tuning.space.model.latent_dim=[2,4]` gives {model: {latent_dim: [2, 4]}}."""
        if not isinstance(space, dict):
            return space
        flat: dict[str, Any] = {}
        for name, entry in space.items():
            nested = isinstance(entry, dict) and "." not in name
            flat |= {f"{name}.{key}": value for key, value in entry.items()} if nested else {name: entry}
        return {key: value for key, value in flat.items() if value is not None}

    @field_validator("space")
    @classmethod
    def _check_values(cls, space: dict[str, Any]) -> dict[str, Any]:
        if not space:
            raise ValueError("is empty; give at least one section.key to search")
        return {key: _check_entry(key, entry) for key, entry in space.items()}


def _check_entry(key: str, entry: Any) -> Any:
    """The range or the choices, if the key takes every value of them."""
    fields = {
        f"{section}.{name}": field
        for section, kind in SECTIONS.items()
        for name, field in kind.model_fields.items()
        if name not in EXCLUDED
    }
    if key not in fields:
        raise ValueError(f"{key} cannot be searched; the keys that can are {', '.join(fields)}")
    kind = fields[key].annotation
    take = TypeAdapter[Any](Annotated[kind, fields[key]]).validate_python  # type: ignore[arg-type]
    try:
        if isinstance(entry, tuple):
            choices = tuple(take(choice) for choice in entry)
            if not choices or len(set(map(repr, choices))) < len(choices):
                raise ValueError(f"{key}: give at least one choice and none of them twice, not {list(entry)!r:.80}")
            return choices
        if kind not in (int, float):
            raise ValueError(f"{key}: is not a number; give a list of choices instead of a range")
        for value in (entry.low, entry.high):
            take(int(value) if kind is int and value.is_integer() else value)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{key}: {first['msg'][0].lower()}{first['msg'][1:]}, not {first['input']!r:.60}") from None
    return entry
