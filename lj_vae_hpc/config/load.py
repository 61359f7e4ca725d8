"""Reads a configuration: YAML and overrides, with every fault explained by its key."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lj_vae_hpc.config.evaluation import Corruption
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.sampling import GammaRange
from lj_vae_hpc.config.tuning import Span
from lj_vae_hpc.errors import UserError


def load(path: Path | None = None, overrides: tuple[str, ...] = ()) -> RunConfig:
    """Reads a YAML file (None: the defaults) and applies `section.key=value` overrides.

    Raises:
        UserError: naming every key that is wrong and what is accepted.
    """
    return validated(read_tree(path, overrides), str(path) if path else "the defaults")


def read_tree(path: Path | None, overrides: tuple[str, ...]) -> dict[str, Any]:
    """The sections and keys that are given, before they are validated.

    Raises:
        UserError: the file cannot be read or is not YAML; an override is not section.key=value.
    """
    tree: Any = {}
    if path:
        try:
            tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except OSError as error:
            raise UserError(f"cannot read the configuration {path}: {error.strerror}") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
        if not isinstance(tree, dict):
            raise UserError(f"{path}: expected sections ({', '.join(RunConfig.model_fields)}), found {tree!r:.60}")
    for override in overrides:
        _apply(tree, override)
    return dict(tree)


def validated(tree: dict[str, Any], source: str) -> RunConfig:
    """The configuration of a tree of sections and keys.

    Raises:
        UserError: naming every key that is wrong and what is accepted.
    """
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"configuration ({source}): " + "; ".join(explain(e) for e in error.errors())) from None


def changed(config: RunConfig, values: dict[str, Any]) -> RunConfig:
    """The configuration with other values of some `section.key`.

    Raises:
        UserError: they do not go together.
    """
    tree = config.model_dump()
    for key, value in values.items():
        section, name = key.split(".")
        tree[section][name] = value
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise UserError("; ".join(explain(e) for e in error.errors())) from None


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"-s {override}: expected section.key=value, for example -s sampling.configurations=500")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"-s {override}: {text!r} is not a YAML value") from None
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise UserError(f"-s {override}: {parent} is not a section")
    tree[last] = value


def explain(error: Any) -> str:
    """One pydantic error as `key: what is wrong (what is accepted)`."""
    location = [str(part) for part in error["loc"]]
    key = ".".join(
        part for part in location
        if not part.startswith(("tuple[", "literal[")) and part not in ("list", "range", "span")
    )  # fmt: skip
    if error["type"] == "extra_forbidden":
        return f"unknown key {key}; valid keys {_valid_keys(location[:-1])}"
    message: str = error["msg"].removeprefix("Value error, ")
    if not key:
        return message
    if error["type"] == "value_error":
        return f"{key}.{message}" if len(location) == 1 else f"{key}: {message}"
    given = repr(error["input"])
    return f"{key}: {message[0].lower()}{message[1:]}, not {given if len(given) < 60 else given[:57] + '...'}"


def _valid_keys(path: list[str]) -> str:
    """The keys accepted at a place of the configuration."""
    section: Any = RunConfig
    for part in path:
        if part == "range":
            section = GammaRange
        elif part == "space":
            section = Span
            break
        elif "corruptions" in path and part != "evaluation":
            section = Corruption
        else:
            section = section.model_fields[part].annotation
    name = ".".join(part for part in path if part not in ("range", "span"))
    return f"{'of ' + name if name else 'at the top'}: {', '.join(section.model_fields)}"
