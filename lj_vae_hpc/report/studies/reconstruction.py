"""The section on reconstruction."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lj_vae_hpc.report.page import Section, Table
from lj_vae_hpc.report.panels import BLUE, ORANGE, Panel, panel, spread
from lj_vae_hpc.report.results import Results
from lj_vae_hpc.report.studies.monte_carlo import structure, tame


def section(results: Results, found: dict[str, Any]) -> Section:
    """Errors of reconstructed positions, and energies and structure beside those of Monte Carlo."""
    if "two_point_correlation" in found:
        return _grids(results, found["two_point_correlation"])
    errors = {name.replace("_", " "): value for name, value in found["position_error"].items()}
    errors[f"{found['components']['dimensions']} principal components"] = found["components"]["position_error"]
    failures, energies = found["tumbler_failure_rate"], found["energy_histograms"]
    panels = []
    for gamma in spread(np.array(list(found.get("structure", {}))), 2):
        curves = found["structure"][gamma]["curves"]
        panels += structure(results, f"reconstructed_gamma_{gamma}", gamma, curves, "reconstructed")
    if found.get("structure"):
        panels.insert(0, _energy_shift(found["structure"]))
    corrected, published = (energies[name]["jensen_shannon"] for name in ("corrected", "published"))
    conclusion = (
        "With every pair, the histogram of pair energies has a Jensen–Shannon distance of"
        f" {corrected:.3f} from the true one (0 is equal, 1 is disjoint). Leaving out pairs closer than σ, as"
        f" published, gives {published:.3f}{' and hides the overlaps' * (corrected - published > 0.05)}."
    )
    if corrected > 0.3:
        best = min(value for name, value in found["position_error"].items() if name != "tumbler_of_exact_distances")
        conclusion += (
            f" The energies are not those of the originals: where u(r) is steep, errors of {best:.2g} σ in the"
            " positions change them."
        )
    return Section(
        "Reconstruction",
        "Position errors of reconstructed test configurations (root mean square per particle; of the tumbler the"
        " median). Classical scaling is aligned with the truth. The tumbler lays a configuration on a side of its hull,"
        f" and puts {100 * failures['exact']:.1f} % even of exact distances on a wrong side. The decoder's coordinates"
        " are compared as they are. Energies are those of the same configurations beside Monte Carlo.",
        conclusion, panels, Table.of(("positions by", "error (σ)"), [[n, v] for n, v in errors.items()]),
    )  # fmt: skip


def _grids(results: Results, curves: dict[str, Any]) -> Section:
    """The two-point correlation of grids beside that of their reconstructions, of some γ."""
    cell = results.config.system.box_side / results.config.representation.cells
    return Section(
        "Reconstruction",
        "Mean product of two cells of a row, of the grids of test configurations and of their reconstructions. Of"
        " probabilities it is what independent cells would have. A reconstruction that only knows the mean of each cell"
        " shows neither the exclusion of particles at short distances nor the shells beyond.",
        panels=[_two_points(gamma, curves[gamma], cell) for gamma in spread(np.array(list(curves)), 4)],
    )  # fmt: skip


def _two_points(gamma: str, curves: dict[str, Any], cell: float) -> Panel:
    distance = cell * (1 + np.arange(len(curves["monte_carlo"])))

    def draw(axes: Axes) -> None:
        for name, label, colour in (("monte_carlo", "Monte Carlo", BLUE), ("reconstructed", "reconstructed", ORANGE)):
            axes.errorbar(distance, curves[name], curves[f"{name}_error"], fmt="o-", ms=3, lw=1, capsize=2,
                          color=colour, label=label)  # fmt: skip
        axes.set(title=f"Two-point correlation, γ = {gamma}", xlabel="distance in x (σ)", ylabel="mean product")
        axes.set_ylim(bottom=0)
        axes.legend()

    return panel(f"two_point_gamma_{gamma}", {"x_sigma": distance, **curves}, draw)


def _energy_shift(structures: dict[str, Any]) -> Panel:
    """Median and quartiles of U for each γ, of Monte Carlo and of reconstructions."""
    gammas = [float(g) for g in structures]
    own = [one["reconstructed"]["energy"] for one in structures.values()]
    rows = {
        "Monte Carlo": ("reference_median", "reference_quartiles", BLUE),
        "reconstructed": ("median", "quartiles", ORANGE),
    }

    def draw(axes: Axes) -> None:
        for name, (median, quartiles, colour) in rows.items():
            middle = np.array([one[median] for one in own])
            low, high = np.array([one[quartiles] for one in own]).T
            axes.errorbar(
                gammas, middle, [middle - low, high - middle], fmt="o-", ms=4, lw=1, capsize=3, color=colour, label=name
            )
        axes.set(title="Energy: median and quartiles", xlabel="γ", ylabel="U (ε)")
        tame(axes, [one["reference_median"] for one in own])
        axes.legend()

    columns: dict[str, Any] = {"gamma": gammas}
    for name, (median, quartiles, _) in rows.items():
        stem = name.replace(" ", "_")
        columns |= {f"{stem}_median_epsilon": [one[median] for one in own]}
        columns |= {f"{stem}_quartile_{k + 1}_epsilon": [one[quartiles][k] for one in own] for k in (0, 1)}
    return panel("reconstruction_energy", columns, draw)
