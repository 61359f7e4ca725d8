"""Prints docs/interface.md from the docstrings of the Python interface: python docs/make_interface.py > ..."""

import inspect
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from lj_vae_hpc import open_run
from lj_vae_hpc.api.model import Model
from lj_vae_hpc.api.run import Run
from lj_vae_hpc.api.suite import SuiteConfigurations
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.structure import density_profile, hexatic_order, pair_distribution

TITLES = {"Args": "Arguments", "Attributes": "Attributes", "Returns": "Returns", "Raises": "Raises"}
ITEM = re.compile(r"    (\w+(?:, \w+)*): (.*)")


def markdown(docstring: str) -> str:
    """A docstring whose sections have become lists."""
    lines, section = list[str](), ""
    for line in inspect.cleandoc(docstring).splitlines():
        if line.endswith(":") and line[:-1] in TITLES:
            section = line[:-1]
            lines += [f"**{TITLES[section]}**", ""]
        elif not section or not line:
            section = section if line else ""
            lines.append(line)
        elif section != "Returns" and (item := ITEM.fullmatch(line)):
            lines.append(f"- `{item[1]}`: {item[2]}")
        else:
            lines.append(f"  {line.strip()}" if section != "Returns" else line.strip())
    return "\n".join(lines)


def function(title: str, value: Any, level: int = 3) -> str:
    """A function, without the types of its arguments, which the text gives."""
    signature = inspect.signature(value)
    plain = [one.replace(annotation=one.empty) for name, one in signature.parameters.items() if name != "self"]
    shown = signature.replace(parameters=plain, return_annotation=signature.empty)
    return f"{'#' * level} {title}{shown}\n\n{markdown(value.__doc__)}"


def members(kind: type) -> Iterator[str]:
    """What a class has, in order of its source."""
    name = kind.__name__.lower()
    for own, value in vars(kind).items():
        if own.startswith("_"):
            continue
        if isinstance(value, property | cached_property):
            yield f"### {name}.{own}\n\n{markdown(value.__doc__ or '')}"
        elif inspect.isfunction(value):
            yield function(f"{name}.{own}", value)


def main() -> str:
    """The whole page."""
    parts = ["# The Python interface", "What `help` prints, as a page. [python.md](python.md) shows how to use it."]
    parts.append(function("lj_vae_hpc.open_run", open_run, 2))
    for kind in (Run, Model):
        parts += [f"## {kind.__name__}", markdown(kind.__doc__ or ""), *members(kind)]
    for kind in (SuiteConfigurations, UserError):
        parts += [f"## {kind.__name__}", markdown(kind.__doc__ or "")]
    parts.append("## lj_vae_hpc.evaluation.structure")
    parts += [function(one.__name__, one) for one in (pair_distribution, density_profile, hexatic_order)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(main(), end="")
