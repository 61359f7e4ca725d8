"""The page: one self-contained HTML file."""

from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup


@dataclass(frozen=True)
class Section:
    """A heading, a sentence that says what to look for, a figure as HTML, and rows of a table, the first its head."""

    title: str
    text: str
    figure: str
    table: tuple[tuple[str, ...], ...] = ()

    @property
    def markup(self) -> Markup:
        """The figure, trusted: this program drew it."""
        return Markup(self.figure)


def render(
    title: str, facts: dict[str, str], summary: dict[str, Any], scores: list[str], sections: list[Section],
    config: str, warning: str | None = None,
) -> str:  # fmt: skip
    """The whole page as text.

    Args:
        title: name of the run.
        facts: short lines at the top.
        summary: the content of summary.json.
        scores: those that the table shows.
        sections: the figures.
        config: the resolved configuration as YAML.
        warning: shown above everything else, if there is one.
    """
    environment = Environment(
        loader=PackageLoader("lj_vae_hpc.report", "."), undefined=StrictUndefined,
        autoescape=select_autoescape(default=True),
    )  # fmt: skip
    return environment.get_template("page.html").render(
        title=title,
        facts=facts,
        summary=summary,
        scores=scores,
        sections=sections,
        config=config,
        shade=_shade,
        warning=warning,
    )


def _shade(auroc: float) -> str:
    """Background of a cell: red below chance, green above."""
    hue = 140 if auroc >= 0.5 else 8
    return f"hsl({hue} 55% 50% / {abs(auroc - 0.5):.2f})"
