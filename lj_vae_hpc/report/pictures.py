"""Configurations as pictures, and representations without positions as images."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from lj_vae_hpc.report.panels import BLUE, INK, STYLE, Panel, literal, svg

STEPS = 5  # pictures of a traversal


def traversal(codes: NDArray[np.float64], dimension: int, box_side: float) -> Panel:
    """Decoded configurations along a latent dimension.

    Args:
        codes: (k, 2 N) coordinates in units of L√2.
        dimension: which it is.
        box_side: L, in σ.
    """
    chosen = np.linspace(0, len(codes) - 1, STEPS).round().astype(int)
    points = codes.reshape(len(codes), -1, 2) * box_side * 2**0.5
    deviations = np.linspace(-2, 2, len(codes))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.3 * STEPS, 1.55))
        figure.subplots_adjust(left=0.01, right=0.99, top=0.88, bottom=0.01, wspace=0.05)
        for axes, k in zip(figure.subplots(1, STEPS), chosen, strict=True):
            draw_particles(axes, points[k], box_side)
            axes.set_title(f"z{dimension}: {deviations[k]:+.0f}" + " s.d." * int(k == chosen[0]), fontsize=8)
        columns = {
            f"{name}_sigma_at_{deviations[k]:+.1f}_sd": points[k, :, c].tolist()
            for k in chosen for c, name in enumerate("xy")
        }  # fmt: skip
        return Panel(f"traversal_z{dimension}", svg(figure), columns)


def draw_particles(axes: Axes, points: NDArray[np.float64], box_side: float) -> None:
    """Circles of diameter σ in the box."""
    axes.add_collection(EllipseCollection(
        np.ones(len(points)), np.ones(len(points)), np.zeros(len(points)), units="xy", offsets=points,
        offset_transform=axes.transData, facecolors=BLUE, edgecolors=BLUE, alpha=0.55, linewidths=0.4,
    ))  # fmt: skip
    axes.add_patch(Rectangle((0, 0), box_side, box_side, fill=False, lw=0.8, edgecolor=INK))
    axes.set(xlim=(-0.6, box_side + 0.6), ylim=(-0.6, box_side + 0.6), aspect="equal")
    axes.set_axis_off()


def images(name: str, original: NDArray[np.float32], reconstruction: NDArray[np.float32]) -> Panel:
    """An image, its reconstruction and their difference."""
    low, high = min(0.0, float(original.min())), max(1.0, float(original.max()))
    difference = reconstruction - original
    most = max(0.02, float(np.abs(difference).max()))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 2.3))
        shown: list[tuple[Any, str, str, float, float]] = [
            (original, f"{literal(name)}: original", "magma", low, high),
            (reconstruction, "reconstruction", "magma", low, high),
            (difference, "difference", "RdBu_r", -most, most),
        ]
        for axes, (image, title, colours, least, largest) in zip(figure.subplots(1, 3), shown, strict=True):
            drawn = axes.imshow(image, cmap=colours, vmin=least, vmax=largest, interpolation="nearest", aspect="auto")
            axes.set_title(title, fontsize=8)
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
            figure.colorbar(drawn, ax=axes, shrink=0.8)
        rows, columns = np.indices(original.shape).reshape(2, -1)
        data = {"row": rows.tolist(), "column": columns.tolist(), "original": original.ravel().tolist(),
                "reconstruction": reconstruction.ravel().tolist()}  # fmt: skip
        return Panel(f"image_{name}", svg(figure), data)
