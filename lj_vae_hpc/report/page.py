"""The page: one self-contained HTML file."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from bokeh.resources import Resources
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from lj_vae_hpc.report.panels import Panel


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what it says.
        value: what it is sorted by; None for text, NaN for a number that there is not, which comes last.
        note: below it, smaller.
        shade: of its background, from -1 (below chance) over 0 to 1.
        best: whether it is the best of its row.
        link: what its text leads to, from the page's folder.
    """

    text: str
    value: float | None = None
    note: str = ""
    shade: float = 0.0
    best: bool = False
    link: str = ""

    @property
    def style(self) -> str:
        """The background, legible on light and dark."""
        return f"background: hsl({150 if self.shade > 0 else 8} 60% 50% / {0.4 * abs(self.shade):.2f})" * bool(
            self.shade
        )


Entry = Cell | str | float | None
"""Of a table."""

MISSING = Cell("–", math.nan)


def measured(mean: float, error: float) -> Cell:
    """A mean with its standard error."""
    return Cell(f"{mean:.3f} ± {error:.3f}", float(mean))


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by every column.

    Attributes:
        head: titles of the columns.
        rows: the first cell of each is its title.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    @classmethod
    def of(cls, head: Sequence[str], rows: Sequence[Sequence[Entry]], form: str = ".3g") -> "Table":
        """Of texts, numbers and cells; None is a number that there is not."""
        return cls(head, [[_cell(value, form) for value in row] for row in rows])


@dataclass(frozen=True)
class Card:
    """A fact at the top."""

    name: str
    value: str
    note: str = ""
    warning: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: its heading.
        text: what is shown.
        conclusion: what to conclude, from this run's numbers.
        panels: figures.
        table: below them.
        kind: `explorer` or `distributions` for what the page draws by itself.
        missing: what to do to get it, if it is not there.
    """

    title: str
    text: str
    conclusion: str = ""
    panels: Sequence[Panel] = ()
    table: Table | None = None
    kind: str = ""
    missing: str = ""

    @property
    def key(self) -> str:
        """For links to it."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())

    @property
    def figures(self) -> list[Markup]:
        """The figures, trusted: this program drew them, and matplotlib escapes what is written in them."""
        return [Markup(one.svg) for one in self.panels]


@dataclass(frozen=True)
class Page:
    """Everything on a page.

    Attributes:
        title: name of the run.
        subtitle: what it is.
        cards: facts.
        sections: its parts.
        warnings: above everything else.
        config: the resolved configuration as YAML, or several by name.
        data: what the page's program draws, by name.
        bokeh: the document of interactive figures, or None.
    """

    title: str
    subtitle: str
    cards: Sequence[Card]
    sections: Sequence[Section]
    warnings: Sequence[str] = ()
    config: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    bokeh: Mapping[str, Any] | None = None

    @property
    def panels(self) -> list[Panel]:
        """All figures."""
        return [panel for section in self.sections for panel in section.panels]

    def render(self) -> str:
        """The whole page as text. Nothing in it is loaded from anywhere, and no text of the run becomes markup."""
        environment = Environment(
            loader=PackageLoader("lj_vae_hpc.report", "assets"), undefined=StrictUndefined,
            autoescape=select_autoescape(default=True),
        )  # fmt: skip
        environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False}
        library = Resources(mode="inline", components=["bokeh"]).js_raw[0] if self.bokeh else ""
        return environment.get_template("page.html").render(
            page=self, style=_asset("page.css"), program=_asset("page.js"), library=Markup(library)
        )


def command(path: Path, *overrides: str, name: str = "run") -> str:
    """The command, as a shell reads it, that makes what a page misses.

    Args:
        path: the folder of the run.
        overrides: `section.key=value` each.
        name: of the command.
    """
    settings = [word for override in overrides for word in ("-s", override)]
    return shlex.join(["lj-vae", *name.split(), "-o", str(path), *settings])


def _asset(name: str) -> Markup:
    return Markup(files("lj_vae_hpc.report").joinpath("assets", name).read_text(encoding="utf-8"))


def _cell(value: Entry, form: str) -> Cell:
    if isinstance(value, Cell):
        return value
    if isinstance(value, str):
        return Cell(value)
    if value is None:
        return MISSING
    return Cell(f"{value:,.0f}" if value >= 1000 and float(value).is_integer() else format(value, form), float(value))
