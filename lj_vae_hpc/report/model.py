"""The part of the page on the network: training, reconstructions, generation, missing data, latent space."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, SymmetricalLogLocator

from lj_vae_hpc.evaluation.structure import SLICES, WIDTH
from lj_vae_hpc.report.page import Entry, Section, Table, command
from lj_vae_hpc.report.panels import BLUE, COLOURS, GREEN, GREY, ORANGE, Panel, panel, spread
from lj_vae_hpc.report.pictures import traversal
from lj_vae_hpc.report.results import Results

Found = dict[str, Any]

STARTS = {
    "descended": "latent space and one step of descent", "aggregate": "latent space", "normal": "normal codes",
    "prior": "codes from N(0, 1)", "nearest": "data of the nearest γ", "random": "uniform points",
}  # fmt: skip
ALIKE = 0.01  # p-value above which two samples cannot be told apart


def sections(results: Results) -> Iterator[Section]:
    """The training, and every study; what to run for those that there are not."""
    yield training(results)
    makers = {
        "reconstruction": ("Reconstruction", _reconstruction), "generation": ("Generation", _generation),
        "completion": ("Missing data", _completion), "latent": ("Latent dimensions", _latent),
    }  # fmt: skip
    for name, (title, make) in makers.items():
        found = results.studies.get(name)
        if found is None:
            yield Section(title, "", missing=command(results.run.path, *_asking_for(results, name)))
        elif "left_out" in found:
            yield Section(title, f"Left out: {found['left_out']}.")
        else:
            yield make(results, found)


def _asking_for(results: Results, study: str) -> list[str]:
    """The key that asks for a study, if the configuration does not, with those that there are."""
    own = results.config.evaluation.studies
    every = dict.fromkeys([*own, *results.studies, study])
    return [] if study in own else [f"evaluation.studies=[{','.join(every)}]"]


def training(results: Results) -> Section:
    """Error and divergence over epochs."""
    history = results.history
    if not history:
        return Section("Training", "", missing=command(results.run.path))
    epochs = [int(h["epoch"]) for h in history]
    panels = [
        _curve(epochs, history, "mse", "Mean squared error", True),
        _curve(epochs, history, "kl", "KL (nats per configuration)", False),
    ]
    best = min(history, key=lambda h: h["validation_loss"])
    gap = best["validation_mse"] / best["mse"] if best["mse"] else 1.0
    conclusion = f"The validation loss is smallest after epoch {int(best['epoch'])} of {len(history)}."
    if best is history[-1]:
        conclusion += " It was still falling: more epochs (training.epochs) may help."
    if gap > 1.5:
        conclusion += f" There the validation error is {gap:.1f} times that of the training: the network overfits."
    return Section(
        "Training", "Averages over each epoch, of the training and the validation split.", conclusion, panels
    )


def _curve(epochs: list[int], history: list[dict[str, float]], key: str, title: str, logarithmic: bool) -> Panel:
    own, validation = ([h[prefix + key] for h in history] for prefix in ("", "validation_"))

    def draw(axes: Axes) -> None:
        axes.plot(epochs, own, "o-", ms=3, lw=1, label="training")
        axes.plot(epochs, validation, "s--", ms=3, lw=1, label="validation")
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if logarithmic and min(*own, *validation) > 0:
            axes.set_yscale("log")
        axes.legend()

    return panel(f"training_{key}", {"epoch": epochs, "training": own, "validation": validation}, draw)


def _reconstruction(results: Results, found: Found) -> Section:
    errors = {name.replace("_", " "): value for name, value in found["position_error"].items()}
    errors[f"{found['components']['dimensions']} principal components"] = found["components"]["position_error"]
    failures, energies = found["tumbler_failure_rate"], found["energy_histograms"]
    panels = []
    for gamma in spread(np.array(list(found.get("structure", {}))), 2):
        curves = found["structure"][gamma]["curves"]
        panels += _structure(results, f"reconstructed_gamma_{gamma}", gamma, curves, "reconstructed")
    if found.get("structure"):
        panels.insert(0, _energy_shift(found["structure"]))
    conclusion = (
        "With every pair, the histogram of pair energies has a Jensen–Shannon distance of"
        f" {energies['corrected']['jensen_shannon']:.3f} from the true one (0 is equal, 1 is disjoint). Leaving out"
        " pairs"
        f" closer than σ, as published, gives {energies['published']['jensen_shannon']:.3f} and hides the overlaps."
    )
    if energies["corrected"]["jensen_shannon"] > 0.3:
        conclusion += " Reconstructions overlap: their positions are good and their energies are not."
    return Section(
        "Reconstruction",
        "Position errors of reconstructed test configurations (root mean square per particle; of the tumbler the"
        " median)."
        " Classical scaling is aligned with the truth. The tumbler lays a configuration on a side of its hull, and puts"
        f" {100 * failures['exact']:.1f} % even of exact distances on a wrong side. The decoder's coordinates are"
        " compared as"
        " they are. Energies are those of the same configurations beside Monte Carlo.",
        conclusion, panels, Table.of(("positions by", "error (σ)"), [[n, v] for n, v in errors.items()]),
    )  # fmt: skip


def _energy_shift(structure: Found) -> Panel:
    """Median and quartiles of U for each γ, of Monte Carlo and of reconstructions."""
    gammas = [float(g) for g in structure]
    own = [one["reconstructed"]["energy"] for one in structure.values()]
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
        axes.set(title="Energy: median and quartiles", xlabel="γ (ε/σ)", ylabel="U (ε)")
        _tame(axes, [one["reference_median"] for one in own])
        axes.legend()

    columns: dict[str, Any] = {"gamma": gammas}
    for name, (median, quartiles, _) in rows.items():
        stem = name.replace(" ", "_")
        columns |= {f"{stem}_median_epsilon": [one[median] for one in own]}
        columns |= {f"{stem}_quartile_{k + 1}_epsilon": [one[quartiles][k] for one in own] for k in (0, 1)}
    return panel("reconstruction_energy", columns, draw)


def _structure(results: Results, name: str, gamma: str, curves: Found, other: str) -> list[Panel]:
    """g(r) and ρ(y) beside those of a Monte Carlo sample."""
    side = results.config.system.box_side
    axes_of = {
        "pair_distribution": (
            "r (σ)",
            "g(r)",
            WIDTH * (np.arange(len(curves["monte_carlo"]["pair_distribution"])) + 0.5),
        ),
        "density_profile": ("y (σ)", "ρ(y) (σ⁻²)", side / SLICES * (np.arange(SLICES) + 0.5)),
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


def _generation(results: Results, found: Found) -> Section:
    head = [
        "γ",
        "start",
        *(
            f"{title}, {k} sweeps"
            for title in ("no pair below 0.7 σ (%)", "median U (ε)", "smallest KS p")
            for k in (0, 10)
        ),
    ]
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
        panels += _structure(results, f"generated_gamma_{gamma}", gamma, kept[gamma]["curves"], "generated")
    told = [gamma for gamma, p in alike.items() if p <= ALIKE]
    conclusion = (
        "After 10 sweeps, configurations from the latent space cannot be told from Monte Carlo at"
        f" {len(alike) - len(told)} of"
        f" {len(alike)} values of γ" + (f"; they can at γ = {', '.join(told)}." if told else ".")
    )
    return Section(
        "Generation",
        "Codes drawn for a γ are decoded and moved by so many Metropolis sweeps. The p-value is the smallest of the"
        " Kolmogorov–Smirnov tests of U, Σy and the smallest distance against an independent Monte Carlo sample;"
        " above 0.01"
        " the two cannot be told apart. Codes from the latent space are training codes with the posterior's noise,"
        " so they"
        " resemble training configurations; other densities of codes overlap. g(r) and ρ(y) are those before any"
        " sweep.",
        conclusion, panels, Table.of(head, rows),
    )  # fmt: skip


def _sweeps(gamma: str, kinds: Found) -> Panel:
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
        _tame(axes, [reference["reference_median"]])
        axes.legend(fontsize=6.5, loc="upper right")

    return panel(f"generation_energy_gamma_{gamma}", columns, draw)


def _tame(axes: Axes, middle: list[float]) -> None:
    """Logarithmic far above the middle, where overlapping particles have any energy."""
    if axes.get_ylim()[1] > max(middle) + 300:
        axes.set_yscale("symlog", linthresh=100)
        axes.yaxis.set_major_locator(SymmetricalLogLocator(base=1000, linthresh=100))
        axes.set_ylim(top=1e3 * axes.get_ylim()[1])  # room for the legend


def _completion(results: Results, found: Found) -> Section:
    head = (
        "unknown",
        "share of the distances (%)",
        "exact solution (σ)",
        "auto-encoder (σ)",
        "its hidden particles (σ)",
    )
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
        "Position error where part of the distance matrix is unknown and the mask is known. The exact solution fits"
        " the known"
        " distances; the auto-encoder looks for the code that agrees best with them. Of a particle that is taken away"
        f" altogether, minus the logarithm of the density predicted at its place: {told}.",
        conclusion, [_by_share(masks)], Table.of(head, rows),
    )  # fmt: skip


def _by_share(masks: Found) -> Panel:
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


def _latent(results: Results, found: Found) -> Section:
    order = found["order_parameter"]["correlations"]
    spectrum, nats = np.array(found["spectrum"]), np.array(found["kl"])
    components = np.arange(1, len(spectrum) + 1)

    def shares(axes: Axes) -> None:
        axes.plot(components, spectrum, "o-", ms=3, lw=1, color=BLUE)
        axes.set(title="Spectrum of the latent means", xlabel="principal component", ylabel="share of the variance")
        if spectrum.min() > 0:
            axes.set_yscale("log")

    def divergence(axes: Axes) -> None:
        axes.bar(np.arange(len(nats)), nats, color=BLUE, alpha=0.7)
        axes.set(title="Information per dimension", xlabel="latent dimension", ylabel="KL (nats)")

    panels = [panel("latent_spectrum", {"component": components, "share": spectrum}, shares),
              panel("latent_kl", {"dimension": np.arange(len(nats)), "kl_nats": nats}, divergence)]  # fmt: skip
    traversals, side = np.array(found["traversals"], float), results.config.system.box_side
    text = "The order parameter is the linear function of the code that separates the trained γ, found from γ alone."
    if traversals.shape[-1] == 2 * results.config.system.n_particles and traversals.shape[-1] <= 2000:
        panels += [traversal(codes, int(k), side) for codes, k in zip(traversals, found["relevant"], strict=True)]
        text += (
            " Below: what is decoded along each of the most relevant dimensions, from −2 to 2 standard deviations;"
            " circles have the diameter σ."
        )
    return Section(
        "Latent dimensions", text,
        f"{found['active']} of {len(nats)} dimensions are active. The first two principal components of the latent"
        " means hold"
        f" {100 * found['share_of_two_components']:.1f} % of their variance. The order parameter has a correlation of"
        f" {order['height_sum']:.3f} with Σy, {order['gamma']:.3f} with γ and {order['energy']:.3f} with U, and"
        f" {100 * found['order_parameter']['share_of_variance']:.1f} % of the variance.",
        panels,
    )  # fmt: skip
