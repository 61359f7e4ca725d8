"""The figure of a search of hyperparameters, an SVG file by itself."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from lj_vae_hpc.report.figures import COLOURS, _svg

DARK, RED = "#1b2a41", "#e45756"


@dataclass(frozen=True)
class Axis:
    """What was searched.

    Attributes:
        name: `section.key`.
        values: one of each trial; None where it has none.
        spacing: linear or log, or choices.
        share: of the variance of the trials' value; None if it is not known.
    """

    name: str
    values: list[Any]
    spacing: str
    share: float | None


def search(values: NDArray[np.float64], complete: NDArray[np.bool_], axes: list[Axis]) -> str:
    """How the best value came down, which key mattered how much, and the value over each key.

    Values far above most are drawn at the upper edge.

    Args:
        values: (n,) of each trial in the order in which they ended, in nats; NaN where there is none.
        complete: (n,) whether a trial was not pruned.
        axes: what was searched, of the same trials.
    """
    low, high = np.min(values[complete]), np.nanquantile(values, 0.85)
    top = high + 0.25 * max(high - low, 1.0)
    shown = np.where(np.isnan(values), top, np.minimum(values, top))
    columns = min(4, len(axes))
    rows = -(-len(axes) // columns)
    figure = Figure(figsize=(max(7.2, 2.6 * columns), 2.6 + 2.3 * rows))
    parts: Any = figure.subfigures(2, 1, height_ratios=(2.6, 2.3 * rows))
    upper, lower = parts
    history, bars = upper.subplots(1, 2, width_ratios=(1.6, 1))
    order = np.arange(1, len(values) + 1)
    _points(history, order, shown, complete, order)
    so_far = np.minimum.accumulate(np.where(complete, values, np.inf))
    known = np.isfinite(so_far)
    history.step(order[known], so_far[known], where="post", color=DARK, lw=1.2, label="best so far")
    history.set(title="optimisation history", xlabel="trial, as they ended", ylabel="description length (nats)")
    history.xaxis.get_major_locator().set_params(integer=True)
    history.legend(fontsize=7, loc="upper right", edgecolor="none")
    _importances(bars, axes)
    panels = list(np.atleast_1d(lower.subplots(rows, columns, sharey=True, squeeze=False)).ravel())
    best = int(np.argmin(np.where(complete, values, np.inf)))
    for panel, axis in zip(panels, axes, strict=False):
        _slice(panel, axis, shown, complete, best)
    for panel in panels[::columns]:
        panel.set_ylabel("description length (nats)")
    for panel in panels[len(axes) :]:
        panel.set_visible(False)
    margin = 0.06 * (top - low)
    for panel in (history, *panels):
        panel.set_ylim(low - margin, top + margin)
    return _svg(figure)


def _points(panel: Any, x: NDArray[Any], y: NDArray[Any], complete: NDArray[np.bool_], order: NDArray[Any]) -> None:
    panel.scatter(x[~complete], y[~complete], s=14, marker="x", lw=0.9, color="grey", label="pruned")
    panel.scatter(
        x[complete],
        y[complete],
        s=16,
        c=order[complete],
        cmap="viridis",
        lw=0,
        vmin=0,
        vmax=len(order),
        label="complete (colour: order)",
    )


def _importances(panel: Any, axes: list[Axis]) -> None:
    known = sorted((axis.share, axis.name) for axis in axes if axis.share is not None)
    panel.set_title("importance")
    if not known:
        panel.text(0.5, 0.5, "too few trials", ha="center", va="center", transform=panel.transAxes, color="grey")
        panel.set(xticks=[], yticks=[])
        return
    drawn = panel.barh([name for _, name in known], [share for share, _ in known], color=COLOURS[0], height=0.6)
    panel.bar_label(drawn, [f"{100 * share:.0f} %" for share, _ in known], padding=3, fontsize=8)
    panel.set(xlabel="share of the variance", xlim=(0, 1.18 * max(share for share, _ in known)))
    panel.grid(axis="y", visible=False)


def _slice(panel: Any, axis: Axis, y: NDArray[Any], complete: NDArray[np.bool_], best: int) -> None:
    has = np.array([value is not None for value in axis.values])
    given = [value for value in axis.values if value is not None]
    if axis.spacing == "choices":
        labels = sorted({str(value) for value in given})
        spread = np.random.default_rng(0).uniform(-0.15, 0.15, len(given))
        x = np.array([labels.index(str(value)) for value in given]) + spread
        panel.set_xticks(range(len(labels)), labels, rotation=30 if max(map(len, labels)) > 6 else 0)
        panel.set_xlim(-0.5, len(labels) - 0.5)
    else:
        x = np.array(given, dtype=float)
        panel.set_xscale(axis.spacing)
        if axis.spacing == "log" and x.max() < 30 * x.min():
            panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.xaxis.set_major_formatter("{x:g}")
            panel.xaxis.set_minor_formatter(NullFormatter())
    _points(panel, x, y[has], complete[has], 1 + np.flatnonzero(has))
    at = int(has[:best].sum())
    panel.scatter(x[at], y[best], s=60, facecolors="none", edgecolors=RED, lw=1.4, zorder=3)
    panel.set(xlabel=axis.name)
