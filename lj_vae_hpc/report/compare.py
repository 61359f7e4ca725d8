"""A page that puts several runs side by side; its figures are not kept as files, and have no columns."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lj_vae_hpc.report.detection import FALSE_POSITIVES, auroc_cell, ceiling_cell, roc
from lj_vae_hpc.report.page import MISSING, Card, Cell, Page, Section, Table, command
from lj_vae_hpc.report.panels import COLOURS, GREY, Panel, literal, panel
from lj_vae_hpc.report.results import Results
from lj_vae_hpc.report.run_page import cards

Runs = Mapping[str, Results]


def comparison(results: Sequence[Results]) -> Page:
    """The page of some runs.

    Args:
        results: of each run; runs that are not evaluated have no scores.
    """
    runs = _named(results)
    evaluated = {name: one for name, one in runs.items() if one.summary}
    sections = [_facts(runs)]
    if evaluated:
        sections += [_detection(runs, evaluated), _roc_curves(evaluated), _learned(evaluated)]
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
    """The cards of every run as the rows of a table."""
    every = {name: {card.name: card for card in cards(one)} for name, one in runs.items()}
    titles = list(dict.fromkeys(title for own in every.values() for title in own))
    rows = [
        [Cell(title), *(Cell(f"{own[title].value}", None, own[title].note) if title in own else Cell("–")
                        for own in every.values())]
        for title in titles
    ]  # fmt: skip
    return Section("Runs", "What each of them is.", table=Table(["fact", *runs], rows))


def _detection(runs: Runs, evaluated: Runs) -> Section:
    suites = list(dict.fromkeys(suite for one in evaluated.values() for suite in one.summary["suites"]))
    rows, wins = [], dict.fromkeys(evaluated, 0)
    for suite in suites:
        found = {name: one.summary["suites"].get(suite) for name, one in evaluated.items()}
        default = {name: own["scores"][evaluated[name].summary["default_score"]] for name, own in found.items() if own}
        best = max(default, key=lambda name: float(default[name]["auroc"]))
        if len(default) > 1:
            wins[best] += 1
        cells = [auroc_cell(default[name], name == best) if name in default else MISSING for name in runs]
        rows.append([Cell(suite), ceiling_cell(next(own for own in found.values() if own)), *cells])
    shared, each = sum(wins.values()), ", ".join(f"{name} on {count}" for name, count in wins.items())
    return Section(
        "Anomaly detection",
        "AUROC of the default score of each run with its 95 % interval. The bold one is the largest of its row; where"
        " intervals overlap, the difference may be chance. The ceiling is that of the first run that has the suite.",
        f"Largest AUROC: {each} of {shared} suites that more than one run has." if shared else "",
        table=Table(["suite", "ceiling", *runs], rows),
    )  # fmt: skip


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
        axes.set(title="Mean energy", xlabel="γ (ε/σ)", ylabel="⟨U⟩ (ε)")
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
