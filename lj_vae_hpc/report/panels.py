"""A small figure with its data: the page shows it, and the run keeps it as SVG and CSV."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lj_vae_hpc.run.files import write_text

INK = "#010203"
"""Of text and axes; the page writes it in the colour of its own text, light or dark."""
BLUE, ORANGE, GREEN, RED, GREY = "#3f7fc4", "#e8832a", "#2f9e6e", "#d9534f", "#8a93a3"
COLOURS = (BLUE, ORANGE, GREEN, RED, "#8f6fc0", "#b07d3c", "#d76fa6", GREY)
MOST_PANELS = 8

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.2,
    "svg.fonttype": "none",
    "svg.hashsalt": "lj-vae",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.titlesize": 9.5,
    "font.family": "sans-serif",
}


@dataclass(frozen=True)
class Panel:
    """A figure.

    Attributes:
        name: of its files.
        svg: an SVG element.
        columns: the data that it shows, by name with unit; they may have different lengths.
    """

    name: str
    svg: str
    columns: Mapping[str, Sequence[Any]]

    @property
    def csv(self) -> str:
        """The columns as text."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(zip_longest(*self.columns.values(), fillvalue=""))
        return text.getvalue()


def panel(
    name: str,
    columns: Mapping[str, Iterable[Any]],
    draw: Callable[[Axes], None],
    size: tuple[float, float] = (3.5, 2.7),
) -> Panel:
    """Draws a figure with one pair of axes.

    Args:
        name: of its files; any character.
        columns: its data.
        draw: fills the axes.
        size: in inches.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size)  # fixed margins: a layout engine would take most of the time
        width, height = size
        figure.subplots_adjust(left=0.7 / width, right=1 - 0.12 / width, top=1 - 0.28 / height, bottom=0.45 / height)
        draw(figure.subplots())
        return Panel(name, svg(figure), {key: _plain(values) for key, values in columns.items()})


def svg(figure: Figure) -> str:
    """A figure as the text of an SVG element."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    element = text.getvalue()[text.getvalue().index("<svg") :]
    element = re.sub(r'<g id="[^"]*"', "<g", element).replace(INK, "currentColor")
    return re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)


def literal(name: str) -> str:
    """A name that matplotlib draws as it is, and not as a formula."""
    return name.replace("$", r"\$")


def spread(values: NDArray[Any], most: int = MOST_PANELS) -> NDArray[Any]:
    """At most so many of the values, evenly chosen."""
    chosen = np.linspace(0, len(values) - 1, min(len(values), most)).round().astype(int)
    return np.asarray(values[chosen])


def shades(count: int) -> list[Any]:
    """So many colours from one end of a scale to the other, legible on light and dark."""
    return [mpl.colormaps["plasma"](x) for x in np.linspace(0.15, 0.8, max(count, 2))][:count]


def write_panels(folder: Path, panels: Sequence[Panel]) -> None:
    """Writes every figure as NAME.svg and NAME.csv; removes those of earlier pages.

    Args:
        folder: of the figures.
        panels: the figures; characters of their names that do not belong in a file's name become underscores.
    """
    written: set[str] = set()
    for one in panels:
        stem = base = re.sub(r"[^\w.+-]+|(?<!\d)\.|\.(?!\d)", "_", one.name)[:100]
        number = 1
        while f"{stem}.svg" in written:
            number += 1
            stem = f"{base}-{number}"
        for suffix, text in ((".svg", one.svg), (".csv", one.csv)):
            write_text(folder / (stem + suffix), text, shared=True)
            written.add(stem + suffix)
    for path in folder.glob("*"):
        if path.suffix in (".svg", ".csv") and path.name not in written:
            path.unlink()


def _plain(values: Iterable[Any]) -> list[Any]:
    return [v.item() if isinstance(v, np.generic) else v for v in values]
