"""How well a score separates anomalies from normal configurations."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from sklearn.metrics import average_precision_score, roc_curve

Floats = NDArray[np.floating[Any]]

AT_ONCE = 1024  # configurations whose particles are sorted


def auroc(normal: Floats, anomalous: Floats, paired: bool = False) -> tuple[float, tuple[float, float]]:
    """Area under the ROC curve and its 95 % confidence interval; larger scores mean anomalous.

    The interval is DeLong's (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 837, 1988), normal on the logit scale so
    that it stays within (0, 1). Where there is only one score of a kind nothing tells how it varies: the interval is
    all of [0, 1].

    Args:
        normal: (n,) scores of normal configurations.
        anomalous: (m,) scores of anomalous ones.
        paired: anomaly k was made from normal configuration k (m <= n), so that their scores are correlated; adds the
            covariance of Obuchowski, Biometrics 53, 567, 1997.
    """
    n, m = len(normal), len(anomalous)
    ranks = rankdata(np.concatenate([anomalous, normal]))
    # Placement values: for each anomaly the share of normals below it, and the reverse.
    of_anomalous = (ranks[:m] - rankdata(anomalous)) / n
    of_normal = 1.0 - (ranks[m:] - rankdata(normal)) / m
    area = float(of_anomalous.mean())
    if min(n, m) == 1:
        return area, (0.0, 1.0)
    variance = of_anomalous.var(ddof=1) / m + of_normal.var(ddof=1) / n
    if paired:
        variance += 2.0 * np.cov(of_anomalous, of_normal[:m])[0, 1] / n
    error = float(np.sqrt(max(variance, 0.0)))
    if area in (0.0, 1.0):
        # Perfect separation has no DeLong variance; the exact bound is that of zero events in min(n, m) trials.
        bound = 1.0 - 0.025 ** (1.0 / min(n, m))
        return area, (0.0, bound) if area < 0.5 else (1.0 - bound, 1.0)
    logit = np.log(area / (1.0 - area))
    half_width = norm.ppf(0.975) * error / (area * (1.0 - area))
    low, high = (float(1.0 / (1.0 + np.exp(-t))) for t in (logit - half_width, logit + half_width))
    return area, (low, high)


def detection_metrics(normal: Floats, anomalous: Floats, paired: bool = False) -> dict[str, Any]:
    """AUROC with interval, average precision, and the false-positive rate where 95 % of anomalies are found."""
    labels = np.r_[np.zeros(len(normal)), np.ones(len(anomalous))]
    scores = np.r_[normal, anomalous]
    area, interval = auroc(normal, anomalous, paired)
    false_positive, true_positive, _ = roc_curve(labels, scores, drop_intermediate=False)
    return {
        "auroc": area,
        "auroc_ci": list(interval),
        "average_precision": min(1.0, float(average_precision_score(labels, scores))),  # its sum may round upwards
        "fpr_at_95_tpr": float(false_positive[np.searchsorted(true_positive, 0.95)]),
    }


def localisation(moved: NDArray[np.bool_], particle_score: Floats) -> dict[str, float]:
    """How well the particles to blame are found: average precision within each configuration, and its mean.

    Args:
        moved: (n, N) which particles are to blame.
        particle_score: (n, N) larger where a particle is more suspicious.

    Returns:
        average_precision, its standard error, and what chance would give.
    """
    # Many configurations at once: scikit-learn's function, which the tests compare with, takes a millisecond for each.
    parts = []
    for start in range(0, len(moved), AT_ONCE):
        some, score = moved[start : start + AT_ONCE], particle_score[start : start + AT_ONCE]
        marked = some.any(axis=1)
        found = np.take_along_axis(some[marked], np.argsort(-score[marked], axis=1), axis=1)
        precision = found.cumsum(axis=1) / np.arange(1, found.shape[1] + 1)
        parts.append((precision * found).sum(axis=1) / found.sum(axis=1))
    each = np.concatenate(parts)
    return {
        "average_precision": float(each.mean()),
        "error": float(each.std(ddof=1) / np.sqrt(len(each))) if len(each) > 1 else 0.0,
        "chance": float(moved.mean()),
    }
