"""A page that puts several runs side by side; its figures are not kept as files, and have no columns."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lj_vae_hpc.evaluation.summary import score_title
from lj_vae_hpc.report.comparable import Runs, conclusion, differences, verdicts
from lj_vae_hpc.report.detection import FALSE_POSITIVES, OF_PARTICLES, auroc_cell, ceiling_cell, roc
from lj_vae_hpc.report.page import MISSING, Card, Cell, Page, Section, Table, command
from lj_vae_hpc.report.panels import COLOURS, GREY, Panel, literal, panel
from lj_vae_hpc.report.results import Results
from lj_vae_hpc.report.run_page import cards
from lj_vae_hpc.report.studies.generation import ALIKE
from lj_vae_hpc.training.accuracy import Accuracy, shown

NETWORK = {"rmse": "rmse (L√2)", "kl": "KL (nats)", "negative_elbo": "−ELBO (nats)"}
OF_NETWORK = ("latent_distance_two_sided", "rmse", "negative_elbo")  # of the scores that a page shows


def comparison(results: Sequence[Results]) -> Page:
    """The page of some runs.

    Args:
        results: of each run; runs that are not evaluated have no scores.
    """
    runs = _named(results)
    evaluated = {name: one for name, one in runs.items() if one.summary}
    sections = [_facts(runs)]
    if evaluated:
        sections += [
            _detection(runs, evaluated),
            _network(runs, evaluated),
            _roc_curves(evaluated),
            _learned(evaluated),
        ]
    sections += [_training(runs), _energies(runs)]
    missing = [
        Section(f"Not evaluated: {name}", "Evaluate it first, then compare again.", missing=command(one.run.path))
        for name, one in runs.items() if not one.summary
    ]  # fmt: skip
    return Page(
        "Comparison of runs", ", ".join(runs), [Card(name, str(one.run.path.resolve())) for name, one in runs.items()],
        sections + missing, [f"{name}: {warning}" for name, one in runs.items() for warning in one.warnings],
        {name: one.config.to_yaml() for name, one in runs.items()},
    )  # fmt: skip


def _named(results: Sequence[Results]) -> dict[str, Results]:
    """By the name of each run, with a number where several have the same."""
    found: dict[str, Results] = {}
    for one in results:
        name, number = one.name, 1
        while name in found:
            number += 1
            name = f"{one.name} ({number})"
        found[name] = one
    return found


def _facts(runs: Runs) -> Section:
    """What differs, and the cards of every run as the rows of a table."""
    every = {name: {card.name: card for card in cards(one)} for name, one in runs.items()}
    titles = list(dict.fromkeys(title for own in every.values() for title in own))
    rows = [
        [Cell(title), *(Cell(f"{own[title].value}", None, own[title].note) if title in own else Cell("–")
                        for own in every.values())]
        for title in titles
    ]  # fmt: skip
    if len(runs) > 1:
        rows.insert(0, [Cell("differs in"), *map(Cell, differences(runs).values())])
    return Section("Runs", "What each of them is.", table=Table(["fact", *runs], rows))


def _detection(runs: Runs, evaluated: Runs) -> Section:
    found = verdicts(evaluated)
    rows = []
    for suite, groups in found.items():
        own = {name: one.summary["suites"][suite] for name, one in evaluated.items() if suite in one.summary["suites"]}
        default = {name: its["scores"][evaluated[name].summary["default_score"]] for name, its in own.items()}
        leaders = {group.leader for group in groups}
        cells = [auroc_cell(default[name], name in leaders) if name in default else MISSING for name in runs]
        ceilings = [ceiling_cell(own[group.names[0]]) for group in groups]
        ceiling = ceilings[0] if len(groups) == 1 else Cell(" / ".join(cell.text for cell in ceilings), None, "differ")
        verdict = "; ".join(map(str, groups)) if len(own) > 1 else "only one run has it"
        rows.append([Cell(suite), ceiling, *cells, Cell(verdict)])
    return Section(
        "Anomaly detection",
        f"AUROC of the default score of each run with its 95 % interval. {OF_PARTICLES} So two networks on the same"
        " data may look equal here; what depends on the network is in the next table. Runs are compared where normal"
        " configurations and anomalies are the same; a bold AUROC has its interval above all others.",
        conclusion(found, evaluated) if len(evaluated) > 1 else "",
        table=Table(["suite", "ceiling", *runs, "verdict"], rows),
    )  # fmt: skip


def _network(runs: Runs, evaluated: Runs) -> Section:
    """What depends on the network, a row per quantity."""
    columns = {name: _network_cells(one) for name, one in evaluated.items()}
    titles = dict.fromkeys(title for own in columns.values() for title in own)
    rows = [[Cell(title), *(columns.get(name, {}).get(title, MISSING) for name in runs)] for title in titles]
    return Section(
        "What the network does",
        "Means over the normal configurations of each run with standard errors, without the weights of the objective."
        " −ELBO can be compared between the same representation and likelihood. Generation: configurations from the"
        " latent space, at how many γ ten Metropolis sweeps make them like Monte Carlo, and how many have no pair below"
        " 0.7 σ before any sweep. Mean AUROCs are over all suites of a run.",
        table=Table(["quantity", *runs], rows),
    )  # fmt: skip


def _network_cells(one: Results) -> dict[str, Cell]:
    accuracy = Accuracy(**one.summary["accuracy"])
    beside = "" if accuracy.components is None else f"PCA {shown(accuracy.components, accuracy.unit)}"
    cells = {"reconstruction": Cell(shown(accuracy.network, accuracy.unit), accuracy.network,
                                    f"{accuracy.quantity}; {beside}".strip("; "))}  # fmt: skip
    for name, values in one.normal(*NETWORK).items():
        mean, error = float(values.mean()), float(values.std() / len(values) ** 0.5)
        digits = max(0, -math.floor(math.log10(error))) if error else 3
        cells[NETWORK[name]] = Cell(f"{mean:.{digits}f} ± {error:.{digits}f}", mean)
    kinds = [found for gamma, found in one.studies.get("generation", {}).items() if gamma != "facts" and found]
    if kinds and "left_out" not in one.studies["generation"]:
        started = [found["aggregate"] for found in kinds]
        alike = sum(found["10"]["smallest_ks_p"] > ALIKE for found in started)
        apart = 100 * float(np.mean([found["0"]["no_overlap"] for found in started]))
        cells["generation"] = Cell(
            f"{alike} of {len(kinds)} γ", alike / len(kinds), f"no overlap before: {apart:.0f} %"
        )
    for score in OF_NETWORK:
        if score in one.summary["mean_auroc"]:
            area = one.summary["mean_auroc"][score]
            cells[f"mean AUROC of {score_title(score)}"] = Cell(f"{area:.3f}", area)
    return cells


def _roc_curves(evaluated: Runs) -> Section:
    curves: dict[str, dict[str, list[float]]] = {}
    for name, one in evaluated.items():
        default = one.summary["default_score"]
        for suite, own in one.detection(default).items():
            curves.setdefault(suite, {})[name] = roc(*own[default])
    panels = [
        _lines(
            f"roc_{suite}",
            suite,
            "false alarms",
            "anomalies found",
            {name: (FALSE_POSITIVES, own) for name, own in of_runs.items()},
        )
        for suite, of_runs in curves.items()
    ]
    return Section("ROC curves", "Of the default score of each run.", panels=panels)


def _learned(evaluated: Runs) -> Section:
    curves: dict[str, tuple[Any, Any]] = {}
    for name, one in evaluated.items():
        learned = one.summary["learned_physics"]
        shown = np.array(learned["error"]) < 0.5
        curves[name] = np.array(learned["r"])[shown], np.array(learned["learned"])[shown]
    pair = _lines("learned_pair_potential", "Learned pair potential", "r (σ)", "u(r) (ε)", curves, (-1.6, 3))
    return Section("Learned physics", "It follows from the data of each run and not from its network.", panels=[pair])


def _training(runs: Runs) -> Section:
    curves = {name: ([h["epoch"] for h in one.history], [h["validation_mse"] for h in one.history])
              for name, one in runs.items() if one.history}  # fmt: skip
    return Section(
        "Training", "Errors of different representations have different units and cannot be compared. Position errors"
        " in the table of runs can.",
        panels=[_lines("training_mse", "Validation error", "epoch", "mean squared error", curves, logarithmic=True)]
        if curves else [],
    )  # fmt: skip


def _energies(runs: Runs) -> Section:
    return Section(
        "Energies", "Mean energy of the data of each run, with standard errors.", panels=[_mean_energies(runs)]
    )


def _mean_energies(runs: Runs) -> Panel:
    def draw(axes: Axes) -> None:
        for (name, one), colour in zip(runs.items(), COLOURS * len(runs), strict=False):
            gamma, mean, error = np.array([(e.gamma, e.mean[0], e.error[0]) for e in one.ensemble_summaries]).T
            axes.errorbar(gamma, mean, error, fmt="o-", ms=4, lw=1, capsize=2, color=colour, label=literal(name))
        axes.set(title="Mean energy", xlabel="γ", ylabel="⟨U⟩ (ε)")
        axes.legend(fontsize=7)

    return panel("mean_energy", {}, draw)


def _lines(
    name: str, title: str, xlabel: str, ylabel: str, curves: Mapping[str, tuple[Any, Any]],
    limits: tuple[float, float] | None = None, logarithmic: bool = False,
) -> Panel:  # fmt: skip
    def draw(axes: Axes) -> None:
        if name.startswith("roc_"):
            axes.plot([0, 1], [0, 1], color=GREY, lw=0.8)
        for (run, (x, y)), colour in zip(curves.items(), COLOURS * len(curves), strict=False):
            axes.plot(x, y, lw=1.4, color=colour, label=literal(run))
        axes.set(title=literal(title), xlabel=xlabel, ylabel=ylabel)
        if limits:
            axes.set_ylim(limits)
        if logarithmic:
            axes.set_yscale("log")
        axes.legend(fontsize=7)

    return panel(name, {}, draw)
