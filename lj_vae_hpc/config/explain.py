"""What pydantic finds wrong, as a user reads it: the key, what is wrong, and what is accepted."""

from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError

from lj_vae_hpc.config.base import Section

MOST = 5  # faults that one message lists
TAGS = ("list", "range", "span")


def explain(error: ValidationError, root: type[Section]) -> str:
    """The first faults, one after the other.

    Args:
        error: of validating a tree.
        root: the section at its top.
    """
    faults = [
        fault for fault in error.errors(include_url=False, include_context=False)
        if fault["type"] != "default_factory_not_called"  # a default that follows from another key, which is a fault
    ]  # fmt: skip
    more = f"; and {len(faults) - MOST:,} more" if len(faults) > MOST else ""
    return "; ".join(_explain(fault, root) for fault in faults[:MOST]) + more


def _explain(fault: Any, root: type[Section]) -> str:
    """One fault as `key: what is wrong (what is accepted)`."""
    location = [str(part) for part in fault["loc"] if not _is_tag(part)]
    key = ".".join(map(plain, location))
    kind, given = fault["type"], fault["input"]
    if kind == "extra_forbidden":
        meant = _meant(location, root)
        said = f"unknown key {key}, did you mean {meant}?" if meant else f"unknown key {key};"
        return f"{said} valid keys {_valid_keys(location[:-1], root)}"
    message: str = fault["msg"].removeprefix("Value error, ")
    if not key:
        return message
    if kind == "value_error":
        return f"{key}.{message}" if len(location) == 1 else f"{key}: {message}"
    if kind in ("tuple_type", "list_type"):
        example = (
            f" such as [{plain(str(given))}]" if isinstance(given, int | float | str) and len(str(given)) < 40 else ""
        )
        return f"{key}: expected a list{example}, not {shown(given)}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        section = _section_at(location, root)
        keys = f" with the keys {', '.join(section.model_fields)}" if kind != "dict_type" and section else ""
        return f"{key}: expected a map {{key: value}}{keys}, not {shown(given)}"
    return f"{key}: {message[0].lower()}{message[1:]}, not {shown(given)}"


def shown(given: Any) -> str:
    """What was given, shortened."""
    text = repr(given)
    return text if len(text) < 60 else text[:57] + "..."


def plain(text: str) -> str:
    """A text as it was given, shortened and in one line."""
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) < 60 else text[:57] + "..."


def _is_tag(part: str | int) -> bool:
    """Whether a part of a location names an alternative of pydantic's, not a key."""
    return isinstance(part, str) and (part.startswith(("tuple[", "literal[", "function-", "[key]")) or part in TAGS)


def _valid_keys(path: list[str], root: type[Section]) -> str:
    section = _section_at(path, root)
    keys = ", ".join(section.model_fields) if section else "none"
    return f"{'of ' + '.'.join(map(plain, path)) if path else 'at the top'}: {keys}"


def _meant(location: list[str], root: type[Section]) -> str:
    """The keys that may have been meant: one that is spelled nearly so, or those of this name in a section."""
    *path, name = location
    section = _section_at(path, root)
    close = get_close_matches(name, section.model_fields, 1) if section else []
    if close or path:
        return ".".join([*path, *close]) if close else ""
    places = [(key, _section_at([key], root)) for key in root.model_fields]
    return " or ".join(f"{key}.{name}" for key, place in places if place and name in place.model_fields)


def _section_at(path: list[str], root: type[Section]) -> type[Section] | None:
    """The section at a place of the configuration; None if there is none."""
    kind: Any = root
    for part in path:
        kind = _plain(kind)
        if isinstance(kind, type) and issubclass(kind, Section):
            field = kind.model_fields.get(part)
            kind = field.annotation if field else None
        elif get_origin(kind) is dict:
            kind = get_args(kind)[1]
        elif get_origin(kind) is tuple:
            kind = get_args(kind)[0]
        else:
            return None
    kind = _plain(kind)
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _plain(kind: Any) -> Any:
    """A type without what is around it; of alternatives the section."""
    while get_origin(kind) in (Annotated, Union, UnionType):
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
            continue
        choices = [_plain(choice) for choice in get_args(kind)]
        sections = [choice for choice in choices if isinstance(choice, type) and issubclass(choice, Section)]
        kind = (sections or choices)[0]
    return kind
