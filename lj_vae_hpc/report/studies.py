"""The studies of a model as sections of the page."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lj_vae_hpc.report import figures
from lj_vae_hpc.report.page import Section

Results = dict[str, Any]

STARTS = {
    "descended": "latent space and one step of descent", "aggregate": "latent space", "normal": "normal codes",
    "prior": "codes from N(0, 1)", "nearest": "data of the nearest γ", "random": "uniform points",
}  # fmt: skip


def sections(studies: dict[str, Results], box_side: float) -> Iterator[Section]:
    """A section for every study that has results.

    Args:
        studies: the content of studies.json.
        box_side: L, in σ.
    """
    makers = {
        "reconstruction": _reconstruction,
        "generation": _generation,
        "completion": _completion,
    }
    for name, results in studies.items():
        if "left_out" in results:
            continue
        if name == "latent":
            yield _latent(results, box_side)
        elif name in makers:
            yield makers[name](results)


def _number(value: float | None, form: str = ".3f") -> str:
    return "–" if value is None else format(value, form)


def _reconstruction(results: Results) -> Section:
    errors = {name.replace("_", " "): value for name, value in results["position_error"].items()}
    errors[f"{results['components']['dimensions']} principal components"] = results["components"]["position_error"]
    rows = [("positions by", "error (σ)"), *((name, _number(value)) for name, value in errors.items())]
    failures, energies = results["tumbler_failure_rate"], results["energy_histograms"]
    return Section(
        "Positions from reconstructions",
        "Classical scaling is aligned with the truth; the tumbler lays a configuration on a side of its hull and is "
        f"wrong for {100 * failures['exact']:.1f} % even of exact distances; the decoder's coordinates are compared as "
        "they are. Energies of reconstructions: the Jensen–Shannon distance of the histograms is "
        f"{energies['corrected']['jensen_shannon']:.3f} with every pair, and "
        f"{energies['published']['jensen_shannon']:.3f} as published, leaving out pairs closer than σ.",
        "", tuple(rows),
    )  # fmt: skip


def _generation(results: Results) -> Section:
    head = ("γ", "start", *(f"{title}, {k} sweeps" for title in ("no pair below 0.7 σ", "median U (ε)", "smallest KS p")
                            for k in (0, 10)))  # fmt: skip
    rows = [head]
    for gamma, kinds in results.items():
        if gamma == "facts" or not kinds:
            continue
        for kind, title in STARTS.items():
            if kind in kinds:
                first, last = kinds[kind]["0"], kinds[kind]["10"]
                rows.append((
                    gamma, title, f"{100 * first['no_overlap']:.1f} %", f"{100 * last['no_overlap']:.1f} %",
                    _number(first["energy"]["median"], ".4g"), _number(last["energy"]["median"], ".4g"),
                    _number(first["smallest_ks_p"], ".2g"), _number(last["smallest_ks_p"], ".2g"),
                ))  # fmt: skip
    return Section(
        "Generated configurations",
        "Codes drawn for a γ, decoded, and moved by so many Metropolis sweeps. The p-value is the smallest of the "
        "Kolmogorov–Smirnov tests of U, Σy and the smallest distance against an independent Monte Carlo sample; above "
        "0.01 the two cannot be told apart. Codes from the latent space are training codes with the posterior's noise, "
        "so they resemble training configurations; other densities of codes overlap.",
        "", tuple(rows),
    )  # fmt: skip


def _completion(results: Results) -> Section:
    head = ("unknown", "share of the distances", "exact solution (σ)", "auto-encoder (σ)", "its hidden particles (σ)")
    rows = [head]
    for name, one in results["masks"].items():
        errors = (_number(one[key], ".2g") for key in ("exact", "vae", "vae_of_hidden"))
        rows.append((name.replace("_", " "), f"{100 * one['unknown']:.0f} %", *errors))
    lost = results["lost_particle"]
    told = "; ".join(
        f"{name.replace('_', ' ')} {one['surprise']:.2f} ± {one['error']:.2f} nats" for name, one in lost.items()
    )
    return Section(
        "Missing data",
        "Position error where part of the distance matrix is unknown. A particle that is taken away altogether: minus "
        f"the logarithm of the density that is predicted at its place, {told}.",
        "", tuple(rows),
    )  # fmt: skip


def _latent(results: Results, box_side: float) -> Section:
    order = results["order_parameter"]["correlations"]
    figure = Figure(figsize=(8, 2.8))
    shares, nats = figure.subplots(1, 2)
    shares.plot(np.arange(1, len(results["spectrum"]) + 1), results["spectrum"], "o-", ms=3)
    shares.set(xlabel="principal component of the latent means", ylabel="share of the variance", yscale="log")
    nats.bar(np.arange(len(results["kl"])), results["kl"])
    nats.set(xlabel="latent dimension", ylabel="KL (nats)")
    images = figures.svg(figure)
    traversals = np.array(results["traversals"], float)
    if traversals.shape[-1] % 2 == 0 and traversals.shape[-1] <= 2000:
        images += _traversals(traversals, results["relevant"], box_side)
    return Section(
        "Latent dimensions",
        f"{results['active']} of {len(results['kl'])} dimensions are active; the first two principal components of "
        f"the latent means hold {100 * results['share_of_two_components']:.1f} % of their variance. The order "
        f"parameter that separates the trained γ has a correlation of {order['height_sum']:.3f} with Σy, "
        f"{order['gamma']:.3f} with γ and {order['energy']:.3f} with U. Below: along each of the most relevant "
        "dimensions, from −2 to 2 standard deviations.",
        images,
    )  # fmt: skip


def _traversals(traversals: np.ndarray[Any, Any], relevant: list[int], box_side: float) -> str:
    shown = traversals[:, ::5]
    figure = Figure(figsize=(1.5 * shown.shape[1] + 1, 1.5 * len(shown)))
    panels = figure.subplots(len(shown), shown.shape[1], squeeze=False)
    for row, (codes, dimension) in enumerate(zip(shown, relevant, strict=True)):
        for axes, flat in zip(panels[row], codes, strict=True):
            x, y = flat.reshape(-1, 2).T * box_side * np.sqrt(2.0)
            axes.scatter(x, y, s=6, color="#4c78a8")
            axes.set(xlim=(0, box_side), ylim=(0, box_side), aspect="equal", xticks=[], yticks=[])
        panels[row][0].set_ylabel(f"z{dimension}")
    return figures.svg(figure)
