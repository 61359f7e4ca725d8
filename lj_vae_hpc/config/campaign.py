"""The configuration of every model of a campaign."""

from typing import Any, NamedTuple

from pydantic import ValidationError

from lj_vae_hpc.config.explain import explain
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.scan import Scan, Values
from lj_vae_hpc.config.tuning import Tuning
from lj_vae_hpc.errors import UserError


class ModelEntry(NamedTuple):
    """One model of a campaign."""

    label: str
    """What distinguishes it, for people."""
    config: RunConfig
    """All of its configuration, with its own γ and configurations."""


def model_entries(config: RunConfig) -> list[ModelEntry]:
    """The models that a configuration asks for.

    Raises:
        UserError: naming the model and the key that is wrong, and what is accepted.
    """
    return [_entry(config, number, values) for number, values in enumerate(config.scan.entries())]


def _entry(config: RunConfig, number: int, values: Values) -> ModelEntry:
    # Sections that do not change stay what they are, and are not validated again: a list of γ may be long.
    tree: dict[str, Any] = dict(config) | {"scan": Scan(), "tuning": Tuning()}
    label = ", ".join(f"{key.rpartition('.')[2]}={_brief(key, value)}" for key, value in values.items()) or "default"
    place = f"scan: model {number + 1} ({label})"
    approach = values.get("approach") or {"values": {}}
    gammas, count = values.get("gammas"), values.get("configurations")
    for key, value in (approach["values"] | values).items():
        section, dot, name = key.partition(".")
        if dot:
            _part(tree, section)[name] = value
    if values.get("seed") is not None:
        tree["seed"] = values["seed"]
    if gammas is not None:
        sampled = set(config.sampling.gamma_values)
        missing = [gamma for gamma in gammas if gamma not in sampled]
        if missing:
            raise UserError(
                f"{place}: gammas {', '.join(f'{g:g}' for g in missing[:5])}{' ...' * (len(missing) > 5)} are not "
                "sampled; add them to sampling.gammas or leave them out"
            )
        _part(tree, "sampling")["gammas"] = gammas
    if count is not None:
        if count > config.sampling.configurations:
            raise UserError(
                f"{place}: configurations is {count}, and sampling.configurations only {config.sampling.configurations}"
            )
        _part(tree, "sampling")["configurations"] = count
    try:
        return ModelEntry(label, RunConfig.model_validate(tree))
    except ValidationError as error:
        raise UserError(f"{place}: " + explain(error, RunConfig)) from None


def _part(tree: dict[str, Any], section: str) -> dict[str, Any]:
    """A section that is about to change, as a dictionary."""
    if not isinstance(tree[section], dict):
        tree[section] = tree[section].model_dump()
    part: dict[str, Any] = tree[section]
    return part


def _brief(key: str, value: Any) -> str:
    if key == "approach":
        return str(value["name"]) if value else "none"
    if key == "gammas" and value and len(value) > 3:
        return f"{value[0]:g}..{value[-1]:g} ({len(value)})"
    return str(list(value)) if isinstance(value, tuple) else str(value)
