"""The page of a run, from what the run has left so far."""

from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.summary import expected_alarms
from lj_vae_hpc.report import data, detection, learned, studies, training
from lj_vae_hpc.report.explorer import distribution_figures, explorer, figures
from lj_vae_hpc.report.page import Card, Page, Section
from lj_vae_hpc.report.panels import Panel
from lj_vae_hpc.report.pictures import images
from lj_vae_hpc.report.results import Results
from lj_vae_hpc.training.accuracy import Accuracy, shown
from lj_vae_hpc.training.continuation import describe_gammas

MOST_IMAGES = 4  # suites whose first configuration is shown
KINDS = {
    "distance_matrix": "the distances between its particles in order, in units of L√2",
    "occupancy_grid": "the particles per cell",
    "local_environment": "a row for what each of its particles sees",
}


def page_of(results: Results) -> tuple[Page, list[Panel]]:
    """The page, and every figure that is to be kept as a file."""
    sections: list[Section] = []
    drawn: dict[str, Any] = {}
    bokeh: dict[str, Any] = {}
    files: list[Panel] = []
    if results.summary:
        drawn["explorer"], plane = explorer(results)
        bokeh = figures()
        sections.append(_explorer(results))
        files.append(plane)
        if results.summary["suites"]:
            drawn["distributions"] = detection.distributions(results)
            bokeh |= distribution_figures()
            files += detection.roc_panels(drawn["distributions"])
    sections += detection.sections(results)
    if results.summary:
        sections.append(learned.section(results.summary["learned_physics"]))
    sections += [*data.sections(results), training.section(results), *studies.sections(results), *_images(results)]
    page = Page(
        results.name, "Configurations of a two-dimensional fluid under gravity, learned by a variational auto-encoder",
        cards(results), sections, results.warnings,
        {"every key of this run": results.config.to_yaml()}, drawn, bokeh or None,
    )  # fmt: skip
    return page, page.panels + files


def cards(results: Results) -> list[Card]:
    """The facts at the top."""
    config, summary, s = results.config, results.summary, results.config.system
    swept = np.unique(results.ensembles.get("sweeps", []))
    gammas = config.sampling.gamma_values
    found = [
        Card(
            "configurations",
            f"{len(results.columns['gamma']):,}",
            f"at {len(gammas)} value{'s' * (len(gammas) > 1)} of γ",
        ),
        Card(
            "system",
            f"N = {s.n_particles}, L = {s.box_side:g} σ",
            f"T = {s.temperature:g} ε/k_B, potential {s.potential}",
        ),
        Card("protocol", config.sampling.protocol, f"{swept[0]:,} to {swept[-1]:,} sweeps" if len(swept) else ""),
        Card(
            "model", config.representation.kind.replace("_", " "), f"{config.model.encoder} to {config.model.decoder}"
        ),
    ]
    if results.trained:
        found.append(_trained_on(results.trained, results.data))
    if results.history:
        epoch = summary["weights"]["epoch"] if summary else None
        found.append(Card("training", f"{len(results.history)} epochs", f"weights of epoch {epoch}" if epoch else ""))
    if summary:
        found += list(_scores(summary, config))
    return found


def _trained_on(trained: dict[str, Any], data: dict[str, Any]) -> Card:
    """What the model was trained on, and how much more the data set holds by now."""
    rows, values = data["configurations"] * len(data["gammas"]), len(data["gammas"])
    older = trained != data
    now = f"; the data set now holds {rows:,} at {values} value{'s' * (values > 1)} of γ" * older
    total = trained["configurations"] * len(trained["gammas"])
    return Card("trained on", f"{total:,} configurations",
                f"the training split of them, at {describe_gammas(trained['gammas'])}{now}", older)  # fmt: skip


def _scores(summary: dict[str, Any], config: RunConfig) -> Iterator[Card]:
    best, accuracy = summary["default_score"], Accuracy(**summary["accuracy"])
    worse = accuracy.warning(config) is not None
    beside = "" if accuracy.components is None else (
        f"PCA with as many dimensions ({accuracy.dimensions}): {shown(accuracy.components, accuracy.unit)}"
    )  # fmt: skip
    yield Card(
        accuracy.quantity, shown(accuracy.network, accuracy.unit), beside + "; PCA is better" * worse, worse
    )  # fmt: skip
    if best in summary["mean_auroc"]:
        yield Card(
            "default score",
            f"mean AUROC {summary['mean_auroc'][best]:.3f}",
            f"over {len(summary['suites'])} suites; mostly of a model of particles, not of the network",
        )
    alarms = summary["false_alarms"]["below"]["0.01"]
    yield Card("false alarms at p < 0.01", f"{100 * alarms['share']:.2f} %",
               expected_alarms(alarms))  # fmt: skip


def _explorer(results: Results) -> Section:
    gammas = len(results.summary["weights"]["gammas"])
    meaning = (
        "is the one linear function of the latent mean that separates the trained γ best" if gammas > 1
        else "is the first principal component of the latent means, as there is only one γ"
    )  # fmt: skip
    return Section(
        "Latent plane",
        f"Every point is a configuration, placed by its latent mean. The order parameter {meaning}; the residual"
        " axes are the"
        " principal components of what is left without it. Point at a configuration, or tap on it, to see it beside its"
        " reconstruction: circles have the diameter σ. Switch on the suites to see where anomalies lie.",
        kind="explorer",
    )  # fmt: skip


def _images(results: Results) -> Iterator[Section]:
    """What a network without coordinates is given and makes of it."""
    kind = results.config.representation.kind
    if not results.summary or kind not in KINDS:
        return
    with h5py.File(results.run.evaluation / "scores.h5", "r") as file:
        examples = {name: (group["original"][:], group["reconstructed"][:])
                    for name, group in file["examples"].items() if "original" in group}  # fmt: skip
    chosen = ["normal", *[name for name in results.summary["suites"] if name != "normal"]][:MOST_IMAGES]
    panels = [images(name, *examples[name]) for name in chosen if name in examples]
    if panels:
        yield Section("What the network sees", f"The first configuration of some suites: {KINDS[kind]}.", panels=panels)
