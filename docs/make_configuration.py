"""Prints docs/configuration.md from the configuration's own documentation: python docs/make_configuration.py > ..."""

from dataclasses import MISSING, fields
from inspect import cleandoc

from pydantic import BaseModel

from lj_vae_hpc.config.evaluation import Claim, Corruption, Fluid
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.sampling import GammaRange
from lj_vae_hpc.config.tuning import Span
from lj_vae_hpc.physics.potentials.base import REGISTRY


def table(title: str, section: type[BaseModel]) -> str:
    """One section as a table."""
    lines = [f"## {title}", "", cleandoc(section.__doc__ or ""), "", "| key | default | meaning |", "|---|---|---|"]
    defaults: dict[str, object] = {}
    for name, field in section.model_fields.items():
        default = defaults[name] = field.get_default(call_default_factory=True, validated_data=defaults)
        shown = "required" if field.is_required() else f"`{default}`"
        if isinstance(default, dict):
            shown = ", ".join(f"`{k}`: {_brief(v)}" for k, v in default.items()) or "none"
        elif isinstance(default, tuple) and default and isinstance(default[0], BaseModel):
            shown = ", ".join(map(_brief, default))
        lines.append(
            f"| `{name}` | {shown} | {' '.join((field.description or '').split()).replace('|', chr(92) + '|')} |"
        )
    return "\n".join(lines)


def _brief(value: object) -> str:
    """A default that is a section, as it would be given."""
    if not isinstance(value, BaseModel):
        return f"{{{value}}}"
    given = value.model_dump(exclude_defaults=True)
    return "{" + ", ".join(f"{k}: {'null' if v is None else v}" for k, v in given.items()) + "}"


def potentials() -> str:
    """The pair potentials, their parameters and their definitions."""
    lines = [
        "## system.potential",
        "",
        "Reduced units: u in ε, r in σ.",
        "",
        "| name | parameters | definition |",
        "|---|---|---|",
    ]
    for name, (kind, fixed) in sorted(REGISTRY.items()):
        free = [f for f in fields(kind) if f.init and f.name != "cutoff" and f.name not in fixed]
        shown = ", ".join(f"`{f.name}`" + ("" if f.default is MISSING else f" = {f.default:g}") for f in free) or "none"
        given = "".join(f"; {key} = {value:g}" for key, value in fixed.items())
        lines.append(f"| `{name}` | {shown} | {(kind.__doc__ or '').splitlines()[0].rstrip('.')}{given} |")
    return "\n".join(lines)


def main() -> str:
    """The whole page."""
    parts = ["# Configuration", "Every key, its default and its unit. An unknown key is an error."]
    parts.append("`seed` (default `20230615`): " + str(RunConfig.model_fields["seed"].description))
    for name, field in RunConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            parts.append(table(name, field.annotation))
            if name == "system":
                parts.append(potentials())
    parts.append(table("sampling.gammas as a range", GammaRange))
    parts.append(table("evaluation.corruptions.NAME", Corruption))
    parts.append(table("evaluation.fluids.NAME", Fluid))
    parts.append(table("an element of evaluation.claims", Claim))
    parts.append(table("tuning.space.SECTION.KEY as a range", Span))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(main(), end="")
