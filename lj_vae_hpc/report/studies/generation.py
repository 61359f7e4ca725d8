"""The section on generation."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lj_vae_hpc.report.page import Entry, Section, Table
from lj_vae_hpc.report.panels import COLOURS, GREY, Panel, panel, spread
from lj_vae_hpc.report.results import Results
from lj_vae_hpc.report.studies.monte_carlo import structure, tame

STARTS = {
    "descended": "latent space and one step of descent", "aggregate": "latent space", "normal": "normal codes",
    "prior": "codes from N(0, 1)", "nearest": "data of the nearest γ", "random": "uniform points",
}  # fmt: skip
ALIKE = 0.01  # p-value above which two samples cannot be told apart


def section(results: Results, found: dict[str, Any]) -> Section:
    """Energies and structure of configurations from the latent space, before and after some sweeps."""
    titles = ("no pair below 0.7 σ (%)", "median U (ε)", "smallest KS p")
    head = ["γ", "start", *(f"{title}, {k} sweeps" for title in titles for k in (0, 10))]
    rows: list[list[Entry]] = []
    panels, alike = [], {}
    kept = {gamma: found[gamma] for gamma in sorted(found.keys() - {"facts"}, key=float) if found[gamma]}
    for gamma, kinds in kept.items():
        for kind, title in STARTS.items():
            if kind in kinds:
                first, last = kinds[kind]["0"], kinds[kind]["10"]
                rows.append([
                    float(gamma), title, 100 * first["no_overlap"], 100 * last["no_overlap"], first["energy"]["median"],
                    last["energy"]["median"], first["smallest_ks_p"], last["smallest_ks_p"],
                ])  # fmt: skip
        alike[gamma] = kinds["descended"]["10"]["smallest_ks_p"]
    panels += [_sweeps(gamma, kept[gamma]) for gamma in spread(np.array(list(kept)), 4)]
    for gamma in spread(np.array(list(kept)), 2):
        panels += structure(results, f"generated_gamma_{gamma}", gamma, kept[gamma]["curves"], "generated")
    told = [gamma for gamma, p in alike.items() if p <= ALIKE]
    conclusion = (
        "After 10 sweeps, configurations from the latent space cannot be told from Monte Carlo at"
        f" {len(alike) - len(told)} of {len(alike)} values of γ"
        + (f"; they can at γ = {', '.join(told)}." if told else ".")
    )
    return Section(
        "Generation",
        "Codes drawn for a γ are decoded and moved by so many Metropolis sweeps. The p-value is the smallest of the"
        " Kolmogorov–Smirnov tests of U, Σy and the smallest distance against an independent Monte Carlo sample; above"
        " 0.01 the two cannot be told apart. Codes from the latent space are training codes with the posterior's noise,"
        " so they resemble training configurations; other densities of codes overlap. g(r) and ρ(y) are those before"
        " any sweep.",
        conclusion, panels, Table.of(head, rows),
    )  # fmt: skip


def _sweeps(gamma: str, kinds: dict[str, Any]) -> Panel:
    """Median energy and quartiles after k sweeps, from several starts."""
    shown = {kind: kinds[kind] for kind in ("descended", "normal", "nearest", "random") if kind in kinds}
    sweeps = [int(k) for k in shown["descended"]]
    reference = shown["descended"]["0"]["energy"]
    columns: dict[str, Any] = {"sweeps": sweeps}
    for kind, own in shown.items():
        columns[f"{kind}_median_U_epsilon"] = [own[str(k)]["energy"]["median"] for k in sweeps]
    columns["monte_carlo_median_U_epsilon"] = [reference["reference_median"]] * len(sweeps)

    def draw(axes: Axes) -> None:
        axes.axhspan(*reference["reference_quartiles"], color=GREY, alpha=0.3, lw=0, label="Monte Carlo, quartiles")
        for (kind, own), colour in zip(shown.items(), COLOURS, strict=False):
            energies = [own[str(k)]["energy"] for k in sweeps]
            middle = np.array([e["median"] for e in energies])
            bars = np.abs(np.array([e["quartiles"] for e in energies]).T - middle)
            axes.errorbar(sweeps, middle, bars, fmt="o-", ms=3, lw=1, color=colour, label=STARTS[kind])
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xticks(sweeps, [str(k) for k in sweeps])
        axes.set(title=f"Energy after k sweeps, γ = {gamma}", xlabel="sweeps k", ylabel="U (ε)")
        low, high = reference["reference_quartiles"]
        axes.set_ylim(bottom=low - 2 * (high - low))
        tame(axes, [reference["reference_median"]])
        axes.legend(fontsize=6.5, loc="upper right")

    return panel(f"generation_energy_gamma_{gamma}", columns, draw)
