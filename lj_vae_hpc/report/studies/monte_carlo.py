"""Panels that put a model's configurations beside those of Monte Carlo."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import SymmetricalLogLocator

from lj_vae_hpc.evaluation.structure import PAIR_DISTANCES, heights
from lj_vae_hpc.report.panels import BLUE, ORANGE, Panel, panel
from lj_vae_hpc.report.results import Results


def structure(results: Results, name: str, gamma: str, curves: dict[str, Any], other: str) -> list[Panel]:
    """g(r) and ρ(y) beside those of a Monte Carlo sample."""
    side = results.config.system.box_side
    axes_of = {
        "pair_distribution": ("r (σ)", "g(r)", PAIR_DISTANCES),
        "density_profile": ("y (σ)", "ρ(y) (σ⁻²)", heights(side)),
    }
    panels = []
    for key, (xlabel, ylabel, x) in axes_of.items():
        both = {"Monte Carlo": curves["monte_carlo"][key], other: curves[other][key]}
        panels.append(_comparison(f"{name}_{key}", f"{ylabel.split(' ')[0]}, γ = {gamma}", xlabel, ylabel, x, both))
    return panels


def _comparison(name: str, title: str, xlabel: str, ylabel: str, x: Any, both: dict[str, Any]) -> Panel:
    def draw(axes: Axes) -> None:
        for (label, y), style, colour in zip(both.items(), ("-", "--"), (BLUE, ORANGE), strict=True):
            axes.plot(x, y, style, lw=1.5, color=colour, label=label)
        axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
        axes.legend()

    return panel(name, {xlabel: x, **both}, draw)


def tame(axes: Axes, middle: list[float]) -> None:
    """Logarithmic far above the middle, where overlapping particles have any energy."""
    if axes.get_ylim()[1] > max(middle) + 300:
        axes.set_yscale("symlog", linthresh=100)
        axes.yaxis.set_major_locator(SymmetricalLogLocator(base=1000, linthresh=100))
        axes.set_ylim(top=1e3 * axes.get_ylim()[1])  # room for the legend
