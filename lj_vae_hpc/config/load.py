"""Reads a configuration: YAML and overrides, with every fault explained by its key."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lj_vae_hpc.config.document import MOST_LEVELS, parse, read_document
from lj_vae_hpc.config.explain import explain, plain, shown
from lj_vae_hpc.config.run import RunConfig
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
        tree = read_document(path)
        if not isinstance(tree, dict) or not tree:
            found = "nothing" if tree is None or tree == {} else shown(tree)
            raise UserError(f"{path}: expected sections ({', '.join(RunConfig.model_fields)}), found {found}")
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
        raise UserError(f"configuration ({source}): " + explain(error, RunConfig)) from None


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
        raise UserError(explain(error, RunConfig)) from None


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")) or key.count(".") >= MOST_LEVELS:
        raise UserError(f"-s {plain(override)}: expected section.key=value, for example -s sampling.configurations=500")
    try:
        value = parse(text)
    except ValueError as error:
        raise UserError(f"-s {plain(override)}: {shown(text)} is not a YAML value: {error}") from None
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise UserError(f"-s {plain(override)}: {plain(parent)} is not a section")
    tree[last] = value
