"""From the columns of every suite to summary.json."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom, binomtest, kstest

from lj_vae_hpc.evaluation.calibration import CLAIM, DEFAULT_SCORE, MOST
from lj_vae_hpc.evaluation.ceilings import NormalMixture
from lj_vae_hpc.evaluation.metrics import auroc, detection_metrics, localisation
from lj_vae_hpc.evaluation.observables import Columns
from lj_vae_hpc.evaluation.scores.registry import score_classes
from lj_vae_hpc.evaluation.splits import NORMAL
from lj_vae_hpc.evaluation.suites.base import Suite
from lj_vae_hpc.evaluation.weights import Weights


def summarize(suites: Sequence[Suite], results: Mapping[str, Columns], mixture: NormalMixture) -> dict[str, Any]:
    """Detection and ceiling of every suite.

    Args:
        suites: the suites.
        results: columns of each suite and of the splits that are scored, by name, with calibrated scores.
        mixture: the distribution of normal configurations.
    """
    normal = results[NORMAL]
    detected = {suite.name: _detection(suite, normal, results[suite.name], mixture) for suite in suites}
    tables = [suite["scores"] for suite in detected.values()]
    scores = {name: None for table in tables for name in table}
    mean = {s: float(np.mean([table[s]["auroc"] for table in tables if s in table])) for s in scores}
    return {
        "default_score": DEFAULT_SCORE,
        "suites": detected,
        "mean_auroc": mean,
        "normal_configurations": len(normal["row"]),
        "false_alarms": false_alarms(normal["p_value"], normal["gamma"], min(len(results["calibration"]["row"]), MOST)),
    }


def _detection(suite: Suite, normal: Columns, own: Columns, mixture: NormalMixture) -> dict[str, Any]:
    told_from = suite.normal(normal)
    ceiling = suite.ceiling(mixture, told_from, own)
    scores = {name: name for name in own if is_score(name)}
    if suite.claims:
        scores[DEFAULT_SCORE] = CLAIM
    found = {
        "meaning": suite.meaning,
        "configurations": len(own["row"]),
        "ceiling": ceiling.value,
        "ceiling_ci": list(ceiling.interval),
        "ceiling_kind": ceiling.kind,
        "scores": {
            score: detection_metrics(told_from[column], own[column], suite.paired) for score, column in scores.items()
        },
        "physics": {
            name: auroc(sign * told_from[name], sign * own[name], suite.paired)[0]
            for name, sign in {"pair_energy": 1.0, "height_sum": 1.0, "smallest_distance": -1.0}.items()
        },
    }
    return found | ({"particles": localisation(own["moved"], own["particle_score"])} if "moved" in own else {})


def is_score(name: str) -> bool:
    """Whether a column holds an anomaly score."""
    return name.startswith(DEFAULT_SCORE) or name.removesuffix("_two_sided") in score_classes()


def false_alarms(p_value: NDArray[np.float64], gamma: NDArray[np.float64], calibrated: int) -> dict[str, Any]:
    """How the p-values of the test split are distributed: shares below two bounds with intervals, and a KS test.

    They are calibrated for all γ together. `by_gamma` has the shares of each γ alone, which differ from each other.

    `expected` is where the share of a calibrated score lies with probability 0.95, as the configurations of both splits
    are random: p falls below the bound at a rate that has a beta distribution.

    The test is that of two samples, the test and the calibration split, since both are random. Its statistic depends on
    ranks alone, and the p-values are ranks among the calibration split.

    Args:
        p_value: (n,).
        gamma: (n,).
        calibrated: configurations that the p-values are counted among.
    """
    shares = {}
    for bound in (0.01, 0.05):
        test = binomtest(int((p_value < bound).sum()), len(p_value), bound)
        interval, fewer = test.proportion_ci(), math.ceil(bound * (calibrated + 1)) - 1
        expected = betabinom(len(p_value), fewer, calibrated + 1 - fewer).interval(0.95) if fewer else (0, 0)
        shares[f"{bound:g}"] = {
            "share": float(test.statistic), "ci": [float(interval.low), float(interval.high)],
            "expected": [float(count / len(p_value)) for count in expected],
            "by_gamma": {f"{g:g}": float((p_value[gamma == g] < bound).mean()) for g in np.unique(gamma)},
        }  # fmt: skip
    ranks = np.arange(1, calibrated + 1) / (calibrated + 1)
    return {"below": shares, "uniform_ks_p": float(kstest(p_value, ranks).pvalue)}


def provenance(weights: Weights, left_out: dict[str, str], protocol: str) -> dict[str, Any]:
    """What of summary.json says what it was made with."""
    return {
        "weights": {"sha256": weights.sha256, "epoch": weights.epoch, "gammas": list(weights.gammas)},
        "left_out": left_out,
        "protocol": protocol,
    }


TABLE = (DEFAULT_SCORE, "displacement", "typicality", "latent_distance_two_sided", "rmse", "negative_elbo")


def score_title(score: str) -> str:
    """A score's name in words."""
    return score.removesuffix("_two_sided").replace("_", " ") + " (two-sided)" * score.endswith("_two_sided")


def ceiling_text(suite: dict[str, Any]) -> str:
    """The ceiling of a suite as summary.json has it, with a sign where it is a lower bound."""
    return ("≥ " if suite["ceiling_kind"].startswith("at least") else "") + f"{suite['ceiling']:.3f}"


def expected_alarms(alarms: dict[str, Any]) -> str:
    """What share of false alarms a calibrated score has, and what shares there are of single γ."""
    low, high = alarms["expected"]
    if not high:
        return "the calibration split is too small for a p-value below that"
    text = f"a calibrated score has {100 * low:.2f} to {100 * high:.2f} % (95 of 100 times)"
    shares = alarms["by_gamma"]
    if len(shares) > 1:
        fewest, most = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
        text += f"; of one γ alone it is {100 * shares[fewest]:.2f} (γ = {fewest}) to {100 * shares[most]:.2f} % "
        text += f"(γ = {most}), as p-values are calibrated for all γ together"
    return text


def table(summary: dict[str, Any]) -> str:
    """AUROC of every suite as text: the default score with its interval, its parts, and two classical scores."""
    rows = [["suite", "ceiling", *map(score_title, TABLE)]]
    for name, suite in summary["suites"].items():
        default, *others = [suite["scores"][score] for score in TABLE]
        low, high = default["auroc_ci"]
        cells = [f"{default['auroc']:.3f} [{low:.3f}, {high:.3f}]", *(f"{other['auroc']:.3f}" for other in others)]
        rows.append([name, ceiling_text(suite), *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["AUROC of each suite of anomalies: 1 is perfect separation from normal configurations, 0.5 chance. The "
             "ceiling is that of the best possible score"]  # fmt: skip
    lines += ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    alarms = summary["false_alarms"]["below"]["0.01"]
    lines.append(
        f"false alarms at p < 0.01: {100 * alarms['share']:.2f} % of {summary['normal_configurations']} normal "
        f"configurations; {expected_alarms(alarms)}"
    )
    return "\n".join(lines)
