"""The latent plane to explore: what the page's program draws, and the empty figures that it fills."""

import base64
from dataclasses import dataclass
from typing import Any, Self

import h5py
import numpy as np
from bokeh.embed import json_item
from bokeh.models import (
    BoxZoomTool,
    ColumnDataSource,
    HoverTool,
    Model,
    PanTool,
    Range1d,
    ResetTool,
    TapTool,
    WheelZoomTool,
)
from bokeh.palettes import Plasma256
from bokeh.plotting import figure
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lj_vae_hpc.evaluation.summary import score_title
from lj_vae_hpc.report.panels import Panel, panel
from lj_vae_hpc.report.results import Results

Floats = NDArray[np.float64]

RESIDUALS, DIMENSIONS = 3, 5  # axes of the plane: principal components without the order parameter, and dimensions
STEPS = 65535  # of a coordinate, from -L/2 to 3 L/2
GRID_STEPS = 255


def explorer(results: Results) -> tuple[dict[str, Any], Panel]:
    """The latent plane, to explore and as a file.

    Returns:
        Configurations of every suite with their codes, scores and reconstructions, for page.js; and a figure.
        suites: names and counts, in the order of the points; axes, fields: name and one number per point, base64 of
        float32; positions, reconstruction: base64 of uint16 (k, N, 2); grid: base64 of uint8; moved: base64 of bits.
    """
    with h5py.File(results.run.evaluation / "scores.h5", "r") as file:
        names = [name for name in ("normal", *results.summary["suites"]) if name in file["examples"]]
        chosen = {name: {key: values[:] for key, values in file[f"examples/{name}"].items()} for name in names}
        wanted = ["latent_mean", "order", "gamma", "height_sum", "pair_energy", "smallest_distance", "p_value",
                  *results.shown_scores]  # fmt: skip
        columns = {
            key: np.concatenate([_rows(file[name], key, chosen[name]["row"]) for name in names]) for key in wanted
        }
        normal = {key: file[f"normal/{key}"][:] for key in ("latent_mean", "order", "gamma", "height_sum",
                                                            "smallest_distance")}  # fmt: skip
    plane = Plane.of(normal["latent_mean"].astype(float), normal["order"].astype(float))
    side, n = results.config.system.box_side, results.config.system.n_particles
    found: dict[str, Any] = {
        "suites": [{"name": name, "count": len(chosen[name]["row"])} for name in names],
        "rows": np.concatenate([chosen[name]["row"] for name in names]).tolist(),
        "axes": [{"title": name, "values": _floats(values)} for name, values in plane.axes(columns).items()],
        "fields": [{"title": name, "values": _floats(values)}
                   for name, values in _fields(columns, results.shown_scores).items()],
        "side": side, "particles": n, "palette": Plasma256[40:232:6],
        "aligned": "original" in chosen[names[0]],
        "positions": _quantised([one["positions"] for one in chosen.values()], side),
        "moved": _moved(list(chosen.values()), n), "reconstruction": None, "grid": None, "cells": 0,
    }  # fmt: skip
    if all("reconstruction" in one for one in chosen.values()):
        found["reconstruction"] = _quantised([one["reconstruction"] for one in chosen.values()], side)
    if all("grid" in one for one in chosen.values()):
        grids = np.nan_to_num(np.concatenate([one["grid"] for one in chosen.values()]))
        found["cells"] = grids.shape[-1]
        found["grid"] = _encoded((GRID_STEPS * np.clip(grids / max(1.0, grids.max()), 0, 1)).round().astype(np.uint8))
    return found, _panel(plane.axes(normal), normal["gamma"])


def figures() -> dict[str, Any]:
    """The plane and the picture beside it, empty, as BokehJS wants them."""
    points = ColumnDataSource({"x": [], "y": [], "color": [], "marker": [], "index": []}, name="points")
    plane = _figure("plane", height=540)
    dots = plane.scatter("x", "y", source=points, size=7, marker={"field": "marker"}, fill_color={"field": "color"},
                         line_color=None, fill_alpha=0.8)  # fmt: skip
    dots.nonselection_glyph = dots.glyph
    chosen = ColumnDataSource({"x": [], "y": []}, name="chosen")
    plane.scatter("x", "y", source=chosen, size=14, fill_color=None, line_color="#d9534f", line_width=2.5)
    plane.add_tools(HoverTool(renderers=[dots], tooltips=None), TapTool(renderers=[dots]))
    picture = _figure(
        "picture", width=400, aspect_ratio=1, x_range=Range1d(start=0, end=1), y_range=Range1d(start=0, end=1)
    )
    image = ColumnDataSource({"image": [], "x": [], "y": [], "side": []}, name="image")
    picture.image("image", "x", "y", "side", "side", source=image, palette="Greys256", alpha=0.6)
    box = ColumnDataSource({"x": [], "y": [], "side": []}, name="box")
    picture.rect("x", "y", "side", "side", source=box, fill_color=None, line_color="#8a93a3", line_width=1.5)
    lines = ColumnDataSource({"x0": [], "y0": [], "x1": [], "y1": []}, name="lines")
    picture.segment("x0", "y0", "x1", "y1", source=lines, line_color="#8a93a3", line_width=1)
    for name, style in (
        ("true", {"fill_color": {"field": "color"}, "fill_alpha": 0.45, "line_color": {"field": "color"}}),
        ("made", {"fill_color": None, "line_color": "#e8832a", "line_width": 1.6}),
    ):
        source = ColumnDataSource({key: [] for key in ("x", "y", *(["color"] if name == "true" else []))}, name=name)
        picture.circle("x", "y", radius=0.5, source=source, **style)
    return {"plane": json_item(plane), "picture": json_item(picture)}


def distribution_figures() -> dict[str, Any]:
    """A histogram and ROC curves, empty."""
    histogram = _figure("histogram", height=330)
    for name, colour in (("normal", "#8a93a3"), ("own", "#e8832a")):
        bars = ColumnDataSource({"left": [], "right": [], "top": []}, name=f"bars_{name}")
        histogram.quad("left", "right", "top", 0, source=bars, fill_color=colour, fill_alpha=0.5, line_color=None)
    histogram.xaxis.axis_label, histogram.yaxis.axis_label = "score", "share of the configurations"
    roc = _figure("roc", height=330, x_range=Range1d(start=-0.02, end=1.02), y_range=Range1d(start=-0.02, end=1.02))
    roc.line([0, 1], [0, 1], line_color="#8a93a3", line_dash="dotted")
    curves = ColumnDataSource({"xs": [], "ys": [], "color": [], "width": []}, name="curves")
    roc.multi_line("xs", "ys", source=curves, line_color={"field": "color"}, line_width={"field": "width"})
    roc.xaxis.axis_label, roc.yaxis.axis_label = "false alarms", "anomalies found"
    return {"histogram": json_item(histogram), "roc": json_item(roc)}


def _panel(axes_of: dict[str, Floats], gamma: NDArray[Any]) -> Panel:
    """The first two axes for the files: normal configurations of the test split, coloured by γ."""
    (xlabel, x), (ylabel, y) = list(axes_of.items())[:2]
    order = np.random.default_rng(0).permutation(len(x))[:4000]

    def draw(axes: Axes) -> None:
        dots = axes.scatter(x[order], y[order], c=gamma[order], s=5, cmap="viridis", alpha=0.7, linewidths=0,
                            rasterized=True)  # fmt: skip
        axes.get_figure().colorbar(dots, label="γ")  # type: ignore[union-attr]
        axes.set(title="Latent plane", xlabel=xlabel, ylabel=ylabel)

    return panel("latent_plane", {xlabel: x, ylabel: y, "gamma": gamma}, draw, (4.8, 3.6))


def _figure(name: str, **settings: Any) -> figure:  # type: ignore[valid-type]
    tools: list[Model] = [PanTool(), BoxZoomTool(), WheelZoomTool(), ResetTool()]
    made = figure(
        tools=tools, active_drag=tools[1], active_scroll=None, toolbar_location="above",  # type: ignore[arg-type]
        sizing_mode="stretch_width", name=name, output_backend="canvas", **settings,
    )  # fmt: skip
    made.toolbar.logo = None
    return made


def _rows(group: h5py.Group, key: str, rows: NDArray[np.int64]) -> NDArray[Any]:
    return np.asarray(group[key][:][rows])


@dataclass(frozen=True, eq=False)
class Plane:
    """What may be an axis, from all normal configurations.

    Attributes:
        centre: (d,) mean of their latent means.
        direction: (d,) unit vector along which the order parameter grows, which is linear in the latent mean.
        components: (k, d) principal components of what is left without it.
        share: (k,) theirs of the variance.
        dimensions: latent dimensions of the largest variance.
    """

    centre: Floats
    direction: Floats
    components: Floats
    share: Floats
    dimensions: NDArray[np.int64]

    @classmethod
    def of(cls, latent: Floats, order: Floats) -> Self:
        """From their latent means (n, d) and order parameters (n,)."""
        centre = latent.mean(axis=0)
        offset = latent - centre
        direction, *_ = np.linalg.lstsq(offset, order - order.mean(), rcond=None)
        unit = direction / max(np.linalg.norm(direction), 1e-300)
        _, lengths, components = np.linalg.svd(offset - np.outer(offset @ unit, unit), full_matrices=False)
        share = lengths**2 / max(float((offset**2).sum()), 1e-300)
        k = min(RESIDUALS, latent.shape[1] - 1, len(lengths))
        return cls(centre, unit, components[:k], share[:k], np.sort(np.argsort(-latent.var(axis=0))[:DIMENSIONS]))

    def axes(self, columns: dict[str, NDArray[Any]]) -> dict[str, Floats]:
        """By name the axes, of the configurations that have these columns."""
        own = columns["latent_mean"].astype(float)
        rest = own - self.centre - np.outer((own - self.centre) @ self.direction, self.direction)
        axes = {"order parameter (γ axis)": columns["order"].astype(float)}
        for k, (share, component) in enumerate(zip(self.share, self.components, strict=True)):
            axes[f"residual axis {k + 1} ({100 * share:.1f} % of the variance)"] = rest @ component
        axes |= {f"latent dimension {k}": own[:, k] for k in self.dimensions}
        axes["Σy (σ)"] = columns["height_sum"].astype(float)
        axes["smallest distance (σ)"] = columns["smallest_distance"].astype(float)
        return axes


def _fields(columns: dict[str, NDArray[Any]], scores: list[str]) -> dict[str, Floats]:
    """By name what points may be coloured by."""
    gamma = columns["gamma"].astype(float)
    energy = columns["pair_energy"].astype(float) + np.nan_to_num(gamma) * columns["height_sum"]
    fields = {
        "γ": gamma,
        "U (ε)": energy,
        "−log₁₀ p": -np.log10(np.maximum(columns["p_value"].astype(float), 1e-12)),
    }
    return fields | {f"score: {score_title(name)}": columns[name].astype(float) for name in scores}


def _floats(values: Floats) -> str:
    largest = float(np.finfo(np.float32).max)
    return _encoded(np.clip(values, -largest, largest).astype("<f4"))


def _quantised(positions: list[NDArray[np.float32]], side: float) -> str:
    """Coordinates from -L/2 to 3 L/2 as uint16; 0 is what is not finite."""
    every = np.concatenate(positions).astype(float)
    steps = np.clip((every / side + 0.5) / 2 * STEPS, 1, STEPS).round()
    return _encoded(np.where(np.isfinite(every), steps, 0).astype("<u2"))


def _moved(chosen: list[dict[str, NDArray[Any]]], n: int) -> str:
    """A bit for every particle that makes a configuration odd, where that is known."""
    every = [one.get("moved", np.zeros((len(one["row"]), n), bool)) for one in chosen]
    return _encoded(np.packbits(np.concatenate(every).astype(bool).ravel(), bitorder="little"))


def _encoded(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
