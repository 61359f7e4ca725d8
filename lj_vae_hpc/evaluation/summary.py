"""From the columns of every suite to summary.json."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lj_vae_hpc.evaluation.ceilings import NormalMixture
from lj_vae_hpc.evaluation.metrics import detection_metrics
from lj_vae_hpc.evaluation.observables import Arrays
from lj_vae_hpc.evaluation.scores.registry import DEFAULT_SCORE, score_classes
from lj_vae_hpc.evaluation.suites.base import NORMAL, Suite
from lj_vae_hpc.evaluation.weights import Weights


def summarize(suites: Sequence[Suite], results: dict[str, Arrays], mixture: NormalMixture) -> dict[str, Any]:
    """Detection and ceiling of every suite.

    Args:
        suites: the suites.
        results: columns of each suite and of the normal configurations, by name.
        mixture: the distribution of normal configurations.
    """
    normal, scores = results[NORMAL], list(score_classes())
    detected = {suite.name: _detection(suite, normal, results[suite.name], mixture, scores) for suite in suites}
    mean = {s: float(np.mean([suite["scores"][s]["auroc"] for suite in detected.values()])) for s in scores if detected}
    return {
        "default_score": DEFAULT_SCORE,
        "suites": detected,
        "best_score": max(mean, key=mean.__getitem__) if mean else None,
        "best_score_rule": "largest AUROC averaged over the suites; descriptive, chosen after the fact",
        "mean_auroc": mean,
        "normal_configurations": len(normal["row"]),
        "log_z": {
            f"{gamma:g}": float(z - mixture.log_z[0]) for gamma, z in zip(mixture.gammas, mixture.log_z, strict=True)
        },
    }


def _detection(
    suite: Suite, normal: Arrays, own: Arrays, mixture: NormalMixture, scores: Sequence[str]
) -> dict[str, Any]:
    ceiling = suite.ceiling(mixture, normal, own)
    return {
        "configurations": len(own["row"]),
        "ceiling": ceiling.value,
        "ceiling_ci": list(ceiling.interval),
        "ceiling_kind": ceiling.kind,
        "scores": {score: detection_metrics(normal[score], own[score], suite.paired) for score in scores},
    }


def provenance(weights: Weights, left_out: dict[str, str], protocol: str) -> dict[str, Any]:
    """What of summary.json says what it was made with."""
    return {
        "weights": {"sha256": weights.sha256, "epoch": weights.epoch, "gammas": list(weights.gammas)},
        "left_out": left_out,
        "protocol": protocol,
    }


def table(summary: dict[str, Any]) -> str:
    """AUROC of every suite and score as text."""
    lines = [f"{'AUROC':>20} {'ceiling':>8} " + " ".join(f"{score:>22}" for score in summary["mean_auroc"])]
    for name, suite in summary["suites"].items():
        cells = [f"{s['auroc']:.3f} [{s['auroc_ci'][0]:.3f}, {s['auroc_ci'][1]:.3f}]" for s in suite["scores"].values()]
        lines.append(f"{name:>20} {suite['ceiling']:8.3f} " + " ".join(f"{cell:>22}" for cell in cells))
    return "\n".join(lines)
