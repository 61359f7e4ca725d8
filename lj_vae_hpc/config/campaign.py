"""The configuration of every model of a campaign."""

from typing import Any, NamedTuple

from pydantic import ValidationError

from lj_vae_hpc.config.load import explain
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
    base = config.model_dump() | {"scan": Scan().model_dump(), "tuning": Tuning().model_dump()}
    return [_entry(base, config, number, values) for number, values in enumerate(config.scan.entries())]


def _entry(base: dict[str, Any], config: RunConfig, number: int, values: Values) -> ModelEntry:
    tree = {name: dict(part) if isinstance(part, dict) else part for name, part in base.items()}
    label = ", ".join(f"{key.rpartition('.')[2]}={_brief(key, value)}" for key, value in values.items()) or "default"
    place = f"scan: model {number + 1} ({label})"
    approach = values.get("approach") or {"values": {}}
    gammas, count = values.get("gammas"), values.get("configurations")
    for key, value in (approach["values"] | values).items():
        section, dot, name = key.partition(".")
        if dot:
            tree[section][name] = value
    if values.get("seed") is not None:
        tree["seed"] = values["seed"]
    if gammas is not None:
        missing = [g for g in gammas if g not in config.sampling.gamma_values]
        if missing:
            raise UserError(
                f"{place}: gammas {', '.join(f'{g:g}' for g in missing[:5])}{' ...' * (len(missing) > 5)} are not "
                "sampled; add them to sampling.gammas or leave them out"
            )
        tree["sampling"]["gammas"] = gammas
    if count is not None:
        if count > config.sampling.configurations:
            raise UserError(
                f"{place}: configurations is {count}, and sampling.configurations only {config.sampling.configurations}"
            )
        tree["sampling"]["configurations"] = count
    try:
        return ModelEntry(label, RunConfig.model_validate(tree))
    except ValidationError as error:
        raise UserError(f"{place}: " + "; ".join(explain(one) for one in error.errors())) from None


def _brief(key: str, value: Any) -> str:
    if key == "approach":
        return str(value["name"]) if value else "none"
    if key == "gammas" and value and len(value) > 3:
        return f"{value[0]:g}..{value[-1]:g} ({len(value)})"
    return str(list(value)) if isinstance(value, tuple) else str(value)
