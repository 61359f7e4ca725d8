"""Reads YAML that anybody may have written: bounded in size and depth, without aliases and repeated keys."""

import re
from pathlib import Path
from typing import Any

import yaml

from lj_vae_hpc.errors import UserError

MOST_BYTES = 4 << 20
MOST_LEVELS = 16  # the deepest key of the configuration has five


class _Loader(yaml.SafeLoader):
    """Plain values, lists and maps. An alias could stand for billions of values; a deep list would fill the stack.

    1e3 is the whole number 1000 and 2.5e-4 a number; PyYAML by itself takes them for texts.
    """

    _level = 0

    yaml_implicit_resolvers = {  # noqa: RUF012, as there; without dates, which are texts here
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        value = float(super().construct_yaml_float(node))  # type: ignore[no-untyped-call]
        return int(value) if "e" in node.value.lower() and value.is_integer() and abs(value) < 2**53 else value

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _fault("aliases (*name) are not accepted", event.start_mark)
        if event.tag is not None:
            raise _fault(f"tags ({event.tag!r:.40}) are not accepted", event.start_mark)
        if self._level == MOST_LEVELS:
            raise _fault(f"nested more than {MOST_LEVELS} levels deep", event.start_mark)
        self._level += 1
        node = super().compose_node(parent, index)
        self._level -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _fault(f"{key.value!r:.60} is given twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)  # type: ignore[no-untyped-call]


def _fault(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def read_document(path: Path) -> Any:
    """The YAML of a file: dictionaries, lists, texts, numbers; None if there is nothing in it.

    Raises:
        UserError: it cannot be read, is too large, or is not YAML of this kind.
    """
    try:
        with path.open("rb") as file:  # /dev/zero has no end
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the configuration {path}: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > MOST_BYTES:
        raise UserError(f"the configuration {path} is larger than {MOST_BYTES >> 20} MB; is it the right file?")
    try:
        return parse(content.decode("utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None


def parse(text: str) -> Any:
    """The YAML of a text.

    Raises:
        ValueError: it is not YAML of this kind; says where.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(_said(error)) from None
    except ValueError:  # more digits than Python converts
        raise ValueError("it has a number of thousands of digits") from None


def _said(error: yaml.YAMLError) -> str:
    """What is wrong and where."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    problem = error.problem if isinstance(error, yaml.MarkedYAMLError) and error.problem else "it cannot be read"
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})"
