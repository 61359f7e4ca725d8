"""The page of a campaign: thermodynamics and structure over γ, and its models side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lj_vae_hpc.report.page import Card, Cell, Page, Section, Table, command
from lj_vae_hpc.report.panels import BLUE, COLOURS, ORANGE, Panel, literal, panel, shades, spread, write_panels
from lj_vae_hpc.run.files import write_text
from lj_vae_hpc.scan.campaign import Campaign
from lj_vae_hpc.scan.collect import Collected
from lj_vae_hpc.scan.thermodynamics import Thermodynamics

Rows = Sequence[dict[str, Any]]

CURVES = {
    "energy": "⟨U⟩ (ε)", "heat_capacity": "C (k_B)", "height": "⟨y⟩ (σ)", "free_energy": "F − F(first γ) (ε)",
}  # fmt: skip
MOST_MODELS = 8  # whose order parameter is drawn


def write_page(campaign: Campaign, collected: Collected) -> list[Path]:
    """Writes campaign.html, and its figures as SVG and CSV beside the tables; what it has written."""
    page = campaign_page(campaign, collected)
    path, folder = campaign.page, campaign.tables / "figures"
    write_panels(folder, page.panels)
    write_text(path, page.render(), shared=True)  # nothing keeps two collects apart
    return [path, folder]


def campaign_page(campaign: Campaign, collected: Collected) -> Page:
    """The page of what is finished."""
    models, shared = _models(collected.scores)
    cards = [
        Card("γ sampled", f"{len(collected.ensembles)} of {len(campaign.samples)}"),
        Card("configurations", f"{sum(row['configurations'] for row in collected.ensembles):,}"),
        Card("models evaluated", f"{len(models)} of {len(campaign.models)}"),
    ]
    found = collected.thermodynamics
    sections = [
        _thermodynamics(found, collected.ensembles) if found else Section(
            "Thermodynamics", "",
            missing=" && ".join(command(campaign.path, name=name) for name in ("scan run", "scan collect")),
        ),
    ]  # fmt: skip
    if collected.profiles:
        sections.append(_structure(collected.profiles))
    if models:
        pages = {task.name: task.run.report for task in campaign.models}
        links = {name: str(page.relative_to(campaign.path)) for name, page in pages.items() if page.exists()}
        sections.append(_detection(models, shared, collected.order, links))
    warnings = []
    if collected.left_out:
        gammas = ", ".join(f"{gamma:g}" for gamma in collected.left_out)
        warnings.append(f"γ = {gammas}: not in equilibrium, or not proved to be; the thermodynamics leave these out.")
    if collected.unchecked:
        gammas = ", ".join(f"{gamma:g}" for gamma in collected.unchecked)
        warnings.append(f"γ = {gammas}: nobody has looked at their equilibrium; the thermodynamics count on it.")
    if found:
        warnings += [check.text for check in found.checks if check.fails]
    return Page(campaign.path.resolve().name, "campaign", cards, sections, warnings,
                {"config.yaml": campaign.config.to_yaml()})  # fmt: skip


def _thermodynamics(found: Thermodynamics, ensembles: Rows) -> Section:
    own = {"energy": {row["gamma"]: row["energy_mean"] for row in ensembles},
           "height": {row["gamma"]: row["height_sum_mean"] / row["n_particles"] for row in ensembles}}  # fmt: skip
    panels = [_curve(name, label, found.rows, own.get(name, {})) for name, label in CURVES.items()]
    checks = [
        [check.name, float(len(check.gamma)), float((check.pulls**2).mean()), float(np.abs(check.pulls).max()),
         check.p_value, "FAILS" if check.fails else "holds"]
        for check in found.checks if len(check.gamma)
    ]  # fmt: skip
    used, total = found.configurations
    return Section(
        "Thermodynamics",
        f"{used:,} of {total:,} configurations, each of which counts at every γ (MBAR). Bands are two standard "
        "errors; dots are plain means of one γ. All of it is configurational. The table checks two laws between "
        "independent halves of the chains.",
        " ".join(f"{line}." for line in found.overlap),
        panels,
        Table.of(("check", "γ checked", "χ² per γ", "largest pull", "p (Bonferroni)", "verdict"), checks)
        if checks
        else None,
    )


def _curve(name: str, label: str, rows: Rows, own: dict[float, float]) -> Panel:
    known = [row for row in rows if row[name] is not None]

    def draw(axes: Axes) -> None:
        for group in sorted({row["group"] for row in known}):
            gamma, value, error = np.array(
                [(row["gamma"], row[name], row[f"{name}_error"]) for row in known if row["group"] == group]
            ).T
            axes.fill_between(gamma, value - 2 * error, value + 2 * error, color=BLUE, alpha=0.3, lw=0)
            axes.plot(gamma, value, color=BLUE, lw=1.2)
        axes.plot(list(own), list(own.values()), "o", ms=2.5, color=ORANGE)
        axes.set(xlabel="γ", title=label)

    columns = {key: [row[key] for row in known] for key in ("gamma", name, f"{name}_error", "group")}
    return panel(f"over_gamma_{name}", columns, draw)


def _structure(profiles: Rows) -> Section:
    titles = {"density": ("ρ(y) (σ⁻²)", "y (σ)"), "pair_distribution": ("g(r)", "r (σ)")}
    panels = [
        _profile(name, *labels, [r for r in profiles if r["quantity"] == name]) for name, labels in titles.items()
    ]
    order = [row for row in profiles if row["quantity"] == "psi6"]
    gamma, value, error = ([row[key] for row in order] for key in ("gamma", "value", "error"))

    def draw(axes: Axes) -> None:
        axes.errorbar(gamma, value, error, fmt="o-", ms=2.5, lw=1, color=BLUE)
        axes.set(xlabel="γ", title="hexatic order |ψ6|")

    panels.append(panel("psi6", {"gamma": gamma, "psi6": value, "error": error}, draw))
    return Section(
        "Structure", "Density profile, pair distribution and hexatic order of the first configurations of a γ. g(r) "
        "is normalised by pairs of different configurations, which cancels the profile.", panels=panels,
    )  # fmt: skip


def _profile(name: str, title: str, place: str, rows: Rows) -> Panel:
    gammas = spread(np.unique([row["gamma"] for row in rows]))

    def draw(axes: Axes) -> None:
        for gamma, colour in zip(gammas, shades(len(gammas)), strict=True):
            x, value = np.array([(row["x"], row["value"]) for row in rows if row["gamma"] == gamma]).T
            axes.plot(x, value, lw=1.1, color=colour, label=f"γ = {gamma:g}")
        axes.set(xlabel=place, title=title)
        axes.legend(fontsize=6)

    return panel(name, {key: [row[key] for row in rows] for key in ("gamma", "x", "value", "error")}, draw)


def _models(scores: Rows) -> tuple[list[dict[str, Any]], list[str]]:
    """A row per model, by latent dimension and KL weight, and the suites that all of them have.

    A row has the mean AUROC of the default score over these suites, None if there are none.
    """
    areas: dict[str, dict[str, float]] = {}
    rows = {row["model"]: row for row in scores if row["is_default"]}
    for row in scores:
        if row["is_default"]:
            areas.setdefault(row["model"], {})[row["suite"]] = row["auroc"]
    shared = [suite for suite in next(iter(areas.values()), {}) if all(suite in own for own in areas.values())]
    data = {name: "{gammas} γ, {gamma_min:g} to {gamma_max:g}, × {configurations:,}".format(**row)
            for name, row in rows.items()}  # fmt: skip
    models = [
        row | {
            "data": data[name],
            "curve": f"KL weight {row['kl_weight']:g}" + f"; {data[name]}" * (len(set(data.values())) > 1),
            "mean_auroc": float(np.mean([areas[name][suite] for suite in shared])) if shared else None,
        }
        for name, row in rows.items()
    ]  # fmt: skip
    return sorted(models, key=lambda row: (row["latent_dim"], row["kl_weight"], row["label"])), shared


def _detection(models: Rows, shared: Sequence[str], order: Rows, links: dict[str, str]) -> Section:
    quantities = dict.fromkeys(row["reconstruction"] for row in models)
    panels = [
        _by_latent_dimension(f"models_{quantity.split(' (')[0].replace(' ', '_')}", quantity, "reconstruction_error",
                             [row for row in models if row["reconstruction"] == quantity])
        for quantity in quantities
    ]  # fmt: skip
    if shared:
        panels.insert(
            0, _by_latent_dimension("models_mean_auroc", "mean AUROC of the default score", "mean_auroc", models)
        )
    rows = [
        [Cell(row["label"], None, row["model"], link=links.get(row["model"], "")), float(row["latent_dim"]),
         float(row["kl_weight"]), row["data"], Cell(f"{row['reconstruction_error']:.3g}", row["reconstruction_error"],
         row["reconstruction"]), row["pca_error"], row["kl"], row["mean_auroc"]]
        for row in models
    ]  # fmt: skip
    suites = f"averaged over the suites that all models have ({', '.join(shared)})"
    return Section(
        "Models",
        f"AUROC is that of the default score, {suites if shared else 'which has no mean: no suite is common to all'}. "
        "The anomalies of a model are told from normal configurations of its own γ, so compare AUROC between models of "
        "the same data. PCA has as many dimensions as the model and reconstructs the same configurations. The order "
        "parameter is that of the latent space, on the test split; bars are one standard deviation.",
        panels=[*panels, _order(models, order)],
        table=Table.of(
            ("model", "latent dimension", "KL weight", "data", "reconstruction", "PCA", "KL (nats)", "mean AUROC"), rows
        ),
    )  # fmt: skip


def _by_latent_dimension(name: str, title: str, key: str, models: Rows) -> Panel:
    curves = list(dict.fromkeys(row["curve"] for row in sorted(models, key=lambda row: row["kl_weight"])))

    def draw(axes: Axes) -> None:
        for curve, colour in zip(curves, shades(len(curves)), strict=True):
            own = [row for row in models if row["curve"] == curve]
            dimensions = sorted({row["latent_dim"] for row in own})
            means = [np.mean([row[key] for row in own if row["latent_dim"] == d]) for d in dimensions]
            axes.plot(dimensions, means, lw=1, color=colour)
            axes.plot([r["latent_dim"] for r in own], [r[key] for r in own], "o", ms=3, color=colour, label=curve)
        axes.set(xlabel="latent dimension", title=title)
        axes.legend(fontsize=6)

    return panel(
        name,
        {column: [row[column] for row in models] for column in ("label", "latent_dim", "kl_weight", "data", key)},
        draw,
    )


def _order(models: Rows, order: Rows) -> Panel:
    labels = [(row["model"], row["label"]) for row in models][:MOST_MODELS]

    def draw(axes: Axes) -> None:
        for (name, label), colour in zip(labels, COLOURS, strict=False):
            own = [row for row in order if row["model"] == name]
            gamma, mean, deviation = np.array([(r["gamma"], r["order_mean"], r["order_sd"]) for r in own]).T
            axes.errorbar(gamma, mean, deviation, fmt="o-", ms=2, lw=0.9, color=colour, label=literal(label)[:40])
        axes.set(xlabel="γ", title="latent order parameter")
        axes.legend(fontsize=5)

    keys = ("model", "label", "gamma", "order_mean", "order_sd")
    return panel("latent_order", {key: [row[key] for row in order] for key in keys}, draw)
