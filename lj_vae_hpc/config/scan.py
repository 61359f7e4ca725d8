"""The section `scan`: the models of a campaign."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, field_validator

from lj_vae_hpc.config.base import Section
from lj_vae_hpc.config.document import read_document
from lj_vae_hpc.config.sampling import GammaRange, Gammas, repeated_gammas
from lj_vae_hpc.errors import UserError

SECTIONS = ("representation", "model", "objective", "training", "evaluation")
OWN_KEYS = ("seed", "gammas", "configurations", "approach")
ACCEPTED = f"section.key of {', '.join(SECTIONS)}, or one of {', '.join(OWN_KEYS)}"
APPROACHES = Path(__file__).parents[2] / "configs" / "approaches"

Values = dict[str, Any]
"""Values of some keys of one model, by `section.key` or one of OWN_KEYS."""


class Scan(Section):
    """The models of a campaign (`lj-vae scan`). Each is trained on the campaign's data and evaluated.

    Keys of a model are `section.key` of representation, model, objective, training and evaluation, and four of its
    own: `seed`; `gammas`, a list or range out of `sampling.gammas` (null: all); `configurations` of each, the first so
    many (null: all); and `approach`, the name of a file in configs/approaches or the path of one. What a model does not
    give is as in the other sections.
    """

    grid: dict[str, tuple[Any, ...]] = {}  # noqa: RUF012, pydantic copies it
    """A list of values for each key: every combination is a model."""
    models: tuple[Values, ...] = ()
    """Further models, each a map from keys to values; `{}` is the model of the other sections."""

    @field_validator("grid", mode="before")
    @classmethod
    def _read_grid(cls, grid: Any) -> Any:
        if not isinstance(grid, dict):
            return grid
        flat = flatten(grid)
        for key, values in flat.items():
            if not isinstance(values, list | tuple) or not values:
                raise ValueError(f"{key}: expected a list of values, not {values!r:.60}")
        return {key: tuple(resolved(key, value) for value in values) for key, values in flat.items()}

    @field_validator("models", mode="before")
    @classmethod
    def _read_models(cls, models: Any) -> Any:
        if not isinstance(models, list | tuple) or not all(isinstance(model, dict) for model in models):
            return models
        return tuple({key: resolved(key, value) for key, value in flatten(model).items()} for model in models)

    def entries(self) -> list[Values]:
        """The values of every model: the combinations of the grid, then the further ones."""
        combinations = product(*self.grid.values()) if self.grid else ()
        return [*(dict(zip(self.grid, values, strict=True)) for values in combinations), *self.models]


def flatten(values: dict[str, Any]) -> Values:
    """`{model: {latent_dim: 2}}` as `{model.latent_dim: 2}`, so that both may be given.

    Raises:
        ValueError: a key that no model has.
    """
    flat: Values = {}
    for name, entry in values.items():
        nested = name in SECTIONS and isinstance(entry, dict)
        flat |= {f"{name}.{key}": value for key, value in entry.items()} if nested else {name: entry}
    for key in flat:
        section, dot, _ = key.partition(".")
        if key not in OWN_KEYS and not (dot and section in SECTIONS):
            raise ValueError(f"unknown key {key}; a model accepts {ACCEPTED}")
    return flat


def resolved(key: str, value: Any) -> Any:
    """A value that says by itself what it is: γ as a list, an approach as the values that its file gives.

    Raises:
        ValueError: no γ, or no file of an approach.
    """
    reads: dict[str, Callable[[Any], Any]] = {"gammas": _gammas, "approach": _approach}
    return reads[key](value) if key in reads and value is not None else value


def _gammas(value: Any) -> tuple[float, ...]:
    found = TypeAdapter[Any](Gammas).validate_python(value)
    values: tuple[float, ...] = found.values() if isinstance(found, GammaRange) else found
    if not values or repeated_gammas(values):
        raise ValueError(f"gammas: {list(values)} is empty or has a value twice")
    return tuple(sorted(values))


def _approach(value: Any) -> Values:
    """The name of an approach and the values that its file gives."""
    if isinstance(value, dict):  # as it is stored
        return {"name": value.get("name", ""), "values": flatten(value.get("values", {}))}
    path = Path(str(value))
    path = path if path.suffix else APPROACHES / f"{value}.yaml"
    try:
        tree = read_document(path)
    except UserError:
        known = ", ".join(sorted(file.stem for file in APPROACHES.glob("*.yaml")))
        raise ValueError(f"approach: cannot read {path}; give the path of a YAML file or one of {known}") from None
    given = {name: section for name, section in (tree or {}).items() if name in SECTIONS}
    return {"name": path.stem, "values": flatten(given)}
