"""The section on missing data."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lj_vae_hpc.report.page import Section, Table
from lj_vae_hpc.report.panels import GREEN, ORANGE, Panel, panel
from lj_vae_hpc.report.results import Results


def section(results: Results, found: dict[str, Any]) -> Section:
    """Position errors where distances are unknown, and what is predicted for a lost particle."""
    head = ("unknown", "share of the distances (%)", "exact solution (σ)", "auto-encoder (σ)",
            "its hidden particles (σ)")  # fmt: skip
    masks = found["masks"]
    rows = [[name.replace("_", " "), 100 * one["unknown"], *(one[key] for key in ("exact", "vae", "vae_of_hidden"))]
            for name, one in masks.items()]  # fmt: skip
    told = "; ".join(
        f"{name.replace('_', ' ')} {one['surprise']:.2f} ± {one['error']:.2f} nats"
        for name, one in found["lost_particle"].items()
    )
    solved = [
        100 * one["unknown"] for name, one in masks.items() if name.startswith("random") and (one["exact"] or 1) < 1e-3
    ]
    conclusion = ""
    if solved:
        conclusion = (
            f"Up to {max(solved):.0f} % of the distances are redundant: geometry alone fills them in exactly, and the"
            " auto-encoder adds its own reconstruction error."
        )
    return Section(
        "Missing data",
        "Position error where part of the distance matrix is unknown and the mask is known. The exact solution fits the"
        " known distances; the auto-encoder looks for the code that agrees best with them. Of a particle that is taken"
        f" away altogether, minus the logarithm of the density predicted at its place: {told}.",
        conclusion, [_by_share(masks)], Table.of(head, rows),
    )  # fmt: skip


def _by_share(masks: dict[str, Any]) -> Panel:
    random = sorted(
        (one["unknown"], one["exact"], one["vae"]) for name, one in masks.items() if name.startswith("random")
    )
    share = [row[0] for row in random]
    exact, network = (np.array([np.nan if row[k] is None else row[k] for row in random], float) for k in (1, 2))

    def draw(axes: Axes) -> None:
        axes.plot(share, exact, "o-", ms=4, lw=1, color=GREEN, label="exact solution")
        axes.plot(share, network, "s-", ms=4, lw=1, color=ORANGE, label="auto-encoder")
        axes.set(
            title="Random distances unknown", xlabel="share that is unknown", ylabel="position error (σ)", yscale="log"
        )
        axes.legend()

    return panel("missing_data", {"share": share, "exact_sigma": exact, "auto_encoder_sigma": network}, draw)
