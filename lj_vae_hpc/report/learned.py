"""The part of the page on the physics that the scores have learned."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lj_vae_hpc.report.page import Section
from lj_vae_hpc.report.panels import GREY, RED, Panel, panel

Learned = dict[str, Any]


def section(learned: Learned) -> Section:
    """The learned pair energy and γ beside the true ones (learned_physics of summary.json)."""
    conclusion = ""
    if learned["rms_difference"] is not None:
        conclusion = (
            f"From r = {learned['resolved_from']:.2f} σ on, the learned potential agrees with the true one to"
            f" {learned['rms_difference']:.3f} ε (root mean square; its standard error is {learned['rms_error']:.3f}"
            " ε)."
        )
        if learned["rms_difference"] > 4 * learned["rms_error"]:
            conclusion += " That is more than the error explains."
    return Section(
        "Learned physics",
        "The conditional model of one particle given the others is fitted to positions alone: no energy, no"
        " potential and no"
        " temperature. Its pair function times T is the pair potential, its slope in y times T is γ. Bars are"
        " standard errors.",
        conclusion, [pair_energy(learned), slope(learned)],
    )  # fmt: skip


def pair_energy(learned: Learned) -> Panel:
    """The learned pair energy beside the true one."""
    columns = {
        "r_sigma": learned["r"], "learned_epsilon": learned["learned"], "standard_error_epsilon": learned["error"],
        "true_epsilon": learned["true"],
    }  # fmt: skip
    return panel("learned_pair_potential", columns, lambda axes: draw_pair_energy(axes, learned))


def slope(learned: Learned) -> Panel:
    """The learned γ beside the true ones."""
    columns = {
        "gamma": learned["gamma"], "learned_gamma": learned["learned_gamma"], "standard_error": learned["gamma_error"],
    }  # fmt: skip
    return panel("learned_gamma", columns, lambda axes: draw_slope(axes, learned))


def draw_pair_energy(axes: Axes, learned: Learned) -> None:
    """The learned pair energy with its standard error beside the true one."""
    r, error = np.array(learned["r"]), np.array(learned["error"])
    shown = error < 2.0
    true = np.array([np.nan if u is None else u for u in learned["true"]], float)
    lowest = np.nanmin(true) if np.isfinite(true).any() else 0.0
    axes.plot(r, true, color=GREY, lw=1.5, label="true")
    axes.errorbar(r[shown], np.array(learned["learned"])[shown], error[shown], fmt="o", ms=2.5, lw=0.8, color=RED,
                  label="learned")  # fmt: skip
    axes.set(title="Pair potential", xlabel="r (σ)", ylabel="u(r) (ε)", ylim=(1.4 * min(-0.5, lowest), 3.0))
    axes.legend()


def draw_slope(axes: Axes, learned: Learned) -> None:
    """The learned γ with its standard error beside the true ones."""
    gamma = learned["gamma"]
    axes.plot(gamma, gamma, color=GREY, lw=1.5, label="true")
    axes.errorbar(gamma, learned["learned_gamma"], learned["gamma_error"], fmt="o", ms=4, lw=0.8, capsize=2, color=RED,
                  label="learned")  # fmt: skip
    axes.set(title="Strength of gravity", xlabel="γ", ylabel="learned γ")
    axes.legend()
