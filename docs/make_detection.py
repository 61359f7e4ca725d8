"""Prints the tables of docs/detection.md and draws its figure: python -m docs.make_detection SUMMARY.json ..."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from lj_vae_hpc.report.learned import draw_pair_energy, draw_slope
from lj_vae_hpc.report.panels import STYLE, svg

Summary = dict[str, Any]

SUITES = (
    "gamma_3", "soft", "uniform", "corrupted", "corrupted_mild", "hot", "wca", "two_sizes", "replaced", "early",
)  # fmt: skip


def spread(values: list[float]) -> str:
    """The mean of several runs with its standard error."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{np.mean(values):.3f} ± {error:.3f}"


def of_default(summaries: list[Summary]) -> list[str]:
    """The default score on every suite beside the ceiling."""
    lines = ["| suite | ceiling | default score | particles found: average precision (chance) |", "|---|---|---|---|"]
    for name, first in summaries[0]["suites"].items():
        own = [summary["suites"][name] for summary in summaries]
        ceiling = (
            "≥ " if first["ceiling_kind"].startswith("at least") else ""
        ) + f"{np.mean([s['ceiling'] for s in own]):.3f}"
        score = spread([s["scores"][summaries[0]["default_score"]]["auroc"] for s in own])
        found = "–"
        if "particles" in first:
            found = f"{spread([s['particles']['average_precision'] for s in own])} ({first['particles']['chance']:.2f})"
        lines.append(f"| `{name}` | {ceiling} | {score} | {found} |")
    return lines


def of_all(summaries: list[Summary]) -> list[str]:
    """Every score on the main suites, best first by its mean; the ceiling above."""
    suites = [name for name in SUITES if name in summaries[0]["suites"]]
    names = {name for s in summaries for name in s["suites"][suites[0]]["scores"]}
    mean = {n: {suite: np.mean([s["suites"][suite]["scores"][n]["auroc"] for s in summaries]) for suite in suites}
            for n in names}  # fmt: skip
    ceilings = [np.mean([s["suites"][suite]["ceiling"] for s in summaries]) for suite in suites]
    lines = ["| score | " + " | ".join(f"`{suite}`" for suite in suites) + " |", "|---" * (len(suites) + 1) + "|"]
    lines.append("| *ceiling* | " + " | ".join(f"*{c:.3f}*" for c in ceilings) + " |")
    best = sorted(names, key=lambda n: -float(np.mean(list(mean[n].values()))))
    lines += [f"| `{name}` | " + " | ".join(f"{mean[name][suite]:.3f}" for suite in suites) + " |" for name in best]
    return lines


if __name__ == "__main__":
    found = [json.loads(Path(path).read_text(encoding="utf-8")) for path in sys.argv[1:]]
    print("\n".join([*of_default(found), "", *of_all(found)]))
    shares = [summary["false_alarms"]["below"]["0.01"]["share"] for summary in found]
    print(f"\nfalse alarms at p < 0.01: {100 * np.mean(shares):.2f} %; each {[round(100 * x, 2) for x in shares]}")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 3.2))
        for axes, draw in zip(figure.subplots(1, 2), (draw_pair_energy, draw_slope), strict=True):
            draw(axes, found[0]["learned_physics"])
        Path(__file__).with_name("learned.svg").write_text(svg(figure), encoding="utf-8")
