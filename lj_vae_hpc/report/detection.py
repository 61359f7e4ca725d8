"""The part of the page on anomalies: the table, distributions of scores, ROC curves, and how severity matters."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from lj_vae_hpc.evaluation.summary import ceiling_text, expected_alarms, score_title
from lj_vae_hpc.report.page import Cell, Section, Table, command
from lj_vae_hpc.report.panels import COLOURS, GREY, Panel, literal, panel
from lj_vae_hpc.report.results import Results

Suite = dict[str, Any]

OF_PARTICLES = (
    "The default score, combined, rests mostly on a model of particles fitted to the data; the network enters through"
    " one of its three parts, latent distance, and in the other two only by the order parameter of its code, which"
    " tells γ; suites claimed_… are told by the code alone."
)
WRONG = 0.25  # AUROC below which a score separates strongly, with the wrong sign
MISSED = 0.1  # below the ceiling
BINS = 40
FALSE_POSITIVES = np.unique(np.concatenate([np.linspace(0, 1, 41), np.geomspace(1e-4, 1, 25)]))


def sections(results: Results) -> Iterator[Section]:
    """All of it; only what to run, if there is no evaluation."""
    if not results.summary:
        yield Section("Anomaly detection", "", missing=command(results.run.path))
        return
    yield _table(results)
    yield from _distributions(results)
    yield from _severity(results)


def ceiling_cell(suite: Suite) -> Cell:
    """The ceiling of a suite with its interval."""
    low, high = suite["ceiling_ci"]
    return Cell(ceiling_text(suite), suite["ceiling"], f"[{low:.3f},\u00a0{high:.3f}]")


def auroc_cell(found: dict[str, Any], best: bool = False) -> Cell:
    """An AUROC with its interval; a strong separation with the wrong sign is named as such."""
    area, (low, high) = found["auroc"], found["auroc_ci"]
    note = f"[{low:.3f},\u00a0{high:.3f}]"
    if area < WRONG:
        note += f" wrong sign: {1 - area:.3f} if reversed"
    return Cell(f"{area:.3f}", area, note, 2 * (area - 0.5), best)


def _table(results: Results) -> Section:
    summary, scores = results.summary, results.shown_scores
    suites: dict[str, Suite] = summary["suites"]
    rows = []
    for name, suite in suites.items():
        areas = [suite["scores"][score]["auroc"] for score in scores]
        cells = [
            auroc_cell(suite["scores"][score], area == max(areas)) for score, area in zip(scores, areas, strict=True)
        ]
        rows.append([Cell(name, None, suite["meaning"]), ceiling_cell(suite), *cells])
    alarms = summary["false_alarms"]["below"]["0.01"]
    text = (
        f"Area under the ROC curve (AUROC) against {summary['normal_configurations']:,} normal configurations of the"
        " test split, with 95 % intervals. 0.5 is chance; below it the anomalies look more normal than normal ones. The"
        " ceiling is what the best possible detector reaches: the likelihood ratio of the known distributions or, where"
        " it says ≥, at least what energy or the smallest distance alone reach. Wrong claims are compared with normal"
        f" configurations of the claimed γ. {OF_PARTICLES} Click on a column to sort. The bold score is the"
        " best of its row. All scores, average precisions and false-positive rates are in evaluation/summary.json."
    )  # fmt: skip
    if summary["protocol"] == "reference":
        text += " The reference protocol does not equilibrate, so its ceilings are approximate."
    conclusion = " ".join([
        *_verdicts(suites, summary["default_score"], scores),
        f"At p < 0.01 the default score raises {100 * alarms['share']:.2f} % false alarms; {expected_alarms(alarms)}.",
    ])  # fmt: skip
    head = ["suite", "ceiling", *map(score_title, scores)]
    return Section("Anomaly detection", text, conclusion, table=Table(head, rows))


def _verdicts(suites: dict[str, Suite], default: str, scores: list[str]) -> Iterator[str]:
    """What the default score finds and misses, and which scores have the wrong sign."""
    below = {name: suite["ceiling"] - suite["scores"][default]["auroc"] for name, suite in suites.items()}
    near = sum(gap < 0.02 for gap in below.values())
    if suites:
        yield f"The default score is within 0.02 of the ceiling on {near} of {len(suites)} suites."
    missed = [f"{name} ({suites[name]['scores'][default]['auroc']:.2f} of {suites[name]['ceiling']:.2f})"
              for name, gap in sorted(below.items(), key=lambda item: -item[1]) if gap > MISSED]  # fmt: skip
    if missed:
        yield f"It stays far below the ceiling on {', '.join(missed)}."
    wrong = [
        f"{score_title(score)} on {name} ({suite['scores'][score]['auroc']:.3f})"
        for name, suite in suites.items()
        for score in scores
        if suite["scores"][score]["auroc"] < WRONG
    ]
    if wrong:
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        yield f"Strong separation with the wrong sign: {', '.join(wrong[:4])}{more}."
        yield "These anomalies look more normal than normal."


def _distributions(results: Results) -> Iterator[Section]:
    """Histograms and ROC curves of one suite at a time, which the page draws; files for every suite."""
    if results.summary["suites"]:
        yield Section(
            "Scores and ROC curves",
            "Choose a suite and a score. Left: the score of normal configurations and of the suite, cut at the"
            " outermost"
            " 0.5 %. Right: the share of anomalies that is found over the share of false alarms, for all scores"
            " shown in the"
            " table; the thick curve is the chosen score.",
            kind="distributions",
        )  # fmt: skip


def distributions(results: Results) -> dict[str, Any]:
    """What the page needs for it: by suite and score a histogram and a ROC curve."""
    suites = {}
    for name, scores in results.detection().items():
        suite = results.summary["suites"][name]
        suites[name] = {
            "ceiling": ceiling_cell(suite).text,
            "scores": {
                score: {
                    "auroc": auroc_cell(suite["scores"][score]).text,
                    "wrong": suite["scores"][score]["auroc"] < WRONG,
                    **_curves(*both),
                }
                for score, both in scores.items()
            },
        }
    return {
        "false_positives": FALSE_POSITIVES.round(6).tolist(), "suites": suites, "colours": COLOURS,
        "titles": {score: score_title(score) for score in results.shown_scores},
    }  # fmt: skip


def _curves(normal: NDArray[Any], own: NDArray[Any]) -> dict[str, Any]:
    """Histograms of both on one grid, and the ROC curve at FALSE_POSITIVES."""
    normal, own = _finite(normal), _finite(own)
    together = np.concatenate([normal, own])
    low, high = np.percentile(together, [0.5, 99.5])
    logarithmic = low > 0 and high > 1e3 * low
    if logarithmic:
        low, high = np.log10([low, high])
        normal_, own_ = np.log10(np.maximum(normal, 1e-300)), np.log10(np.maximum(own, 1e-300))
    else:
        normal_, own_ = normal, own
    high = max(high, low + 1e-9 * max(1.0, abs(low)))
    edges = np.linspace(low, high, BINS + 1)
    counts = [np.histogram(np.clip(values, low, high), edges)[0] / len(values) for values in (normal_, own_)]
    return {
        "logarithmic": bool(logarithmic), "edges": [float(f"{e:.6g}") for e in edges],
        "normal": counts[0].round(5).tolist(), "own": counts[1].round(5).tolist(),
        "roc": roc(normal, own),
    }  # fmt: skip


def roc(normal: NDArray[Any], own: NDArray[Any]) -> list[float]:
    """The share of anomalies that is found at FALSE_POSITIVES.

    Args:
        normal: (n,) scores of normal configurations.
        own: (m,) those of anomalies.
    """
    truth, scores = np.r_[np.zeros(len(normal)), np.ones(len(own))], np.r_[_finite(normal), _finite(own)]
    false_positive, true_positive, _ = roc_curve(truth, scores)
    return [float(share) for share in np.interp(FALSE_POSITIVES, false_positive, true_positive).round(5)]


def _finite(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Scores without infinities, in the same order."""
    return np.asarray(np.nan_to_num(scores.astype(float), posinf=1e300, neginf=-1e300))


def roc_panels(data: dict[str, Any]) -> Iterator[Panel]:
    """ROC curves of every suite, for the files.

    Args:
        data: as of distributions.
    """
    for name, suite in data["suites"].items():
        yield _roc(name, data["false_positives"], {data["titles"][s]: one["roc"] for s, one in suite["scores"].items()})


def _roc(name: str, false_positives: list[float], curves: dict[str, list[float]]) -> Panel:
    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, lw=0.8)
        for score, curve in curves.items():
            axes.plot(false_positives, curve, lw=1.3, label=literal(score))
        axes.set(title=literal(name), xlabel="false positives", ylabel="true positives", aspect="equal")
        axes.legend(fontsize=6)

    return panel(f"roc_{name}", {"false_positives": false_positives, **curves}, draw)


def _severity(results: Results) -> Iterator[Section]:
    """How detection depends on how many particles are moved how far; nothing where no suite moves any."""
    ladder: dict[int, list[tuple[float, float, float, float, float]]] = {}
    for name, corruption in results.config.evaluation.corruptions.items():
        if name in results.summary["suites"] and corruption.amplitude is not None and corruption.keep_in_box:
            suite = results.summary["suites"][name]
            found = suite["scores"][results.summary["default_score"]]
            row = (corruption.amplitude, found["auroc"], *found["auroc_ci"], suite["ceiling"])
            ladder.setdefault(corruption.particles, []).append(row)
    if ladder:
        yield Section(
            "Severity",
            "The default score on configurations with some particles moved within the box, with 95 % intervals. A"
            " dash is"
            " what energy or the smallest distance alone reach; a point above it finds more than these two do.",
            panels=[_severity_panel(ladder)],
        )  # fmt: skip


def _severity_panel(ladder: dict[int, list[tuple[float, float, float, float, float]]]) -> Panel:
    flat = [(particles, *row) for particles, rows in sorted(ladder.items()) for row in sorted(rows)]

    def draw(axes: Axes) -> None:
        for (particles, rows), colour in zip(sorted(ladder.items()), COLOURS * len(ladder), strict=False):
            amplitude, area, low, high, ceiling = np.array(sorted(rows)).T
            bars = np.maximum([area - low, high - area], 0)
            axes.errorbar(amplitude, area, bars, fmt="o-", ms=3, lw=1, color=colour,
                          label=f"{particles} particle{'s' * (particles > 1)}")  # fmt: skip
            axes.plot(amplitude, ceiling, "_", ms=11, mew=2, color=colour, alpha=0.6)
        axes.set(title="Default score", xscale="log", xlabel="largest displacement (σ)", ylabel="AUROC")
        axes.set_ylim(top=1.02)
        axes.legend()

    names = ("particles", "amplitude_sigma", "auroc", "auroc_low", "auroc_high", "ceiling")
    return panel("severity", dict(zip(names, zip(*flat, strict=True), strict=True)), draw, (4.6, 3.0))
