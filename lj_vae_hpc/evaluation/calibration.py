"""From scores to p-values, and from several to one.

Each score is calibrated on the validation split, which no fit has seen. Their combination is calibrated again, on a
split of its own, since scores depend on each other: the p-value of a configuration is the share of normal
configurations of that split that are at least as anomalous.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.evaluation.observables import Arrays, Columns
from lj_vae_hpc.evaluation.scores.registry import score_classes

Floats = NDArray[np.float64]

PARTS = ("displacement", "typicality", "latent_distance_two_sided")
"""What the default score is made of, one for each thing that can be wrong: a few particles are not in their place; the
configuration as a whole is like none of the trained γ; the network's code is not one of theirs."""
DEFAULT_SCORE = "combined"
"""Fisher's combination of PARTS. Nothing of it is fitted to an anomaly, but it was settled while its AUROC on the
built-in suites was in view: docs/detection.md tells what else was tried, and has anomalies that were chosen later."""
CLAIM = "claim"
"""The score that takes the place of the default one where a configuration claims a γ."""
MOST = 1 << 16  # configurations of a split that calibrate, the first ones: those of the lowest chain numbers
TAIL = 80  # one in so many calibration values is in the tail, which is taken to be exponential
FEWEST = 5  # values in the tail


@dataclass(frozen=True, eq=False)
class Reference:
    """Values of a score at normal configurations.

    Attributes:
        values: (m,) ascending.
    """

    values: Floats

    def log_p(self, score: Floats, two_sided: bool = False) -> Floats:
        """(n,) logarithm of the share of normal configurations that are at least as anomalous.

        Beyond most of the values an exponential tail goes on, so that the order of larger scores is kept.

        Args:
            score: (n,).
            two_sided: whether small values are as odd as large ones; doubles the smaller of the two shares.
        """
        upper = self._upper(score, self.values)
        if not two_sided:
            return upper
        lower = self._upper(-score, -self.values[::-1])
        return np.asarray(np.minimum(np.minimum(upper, lower) + np.log(2.0), 0.0))

    @staticmethod
    def _upper(score: Floats, values: Floats) -> Floats:
        count = len(values)
        above = count - np.searchsorted(values, score, side="left")
        log_p = np.log((above + 1.0) / (count + 1.0))
        tail = min(count, max(FEWEST, count // TAIL))
        start = values[-tail]
        scale = max(float((values[-tail:] - start).mean()), 1e-12 * max(1.0, abs(float(start))))
        with np.errstate(invalid="ignore"):
            beyond = np.log((tail + 1.0) / (count + 1.0)) - (score - start) / scale
        return np.asarray(np.where(score > start, np.maximum(beyond, -1e6), log_p))

    def p_value(self, score: Floats) -> Floats:
        """(n,) share of the values, and the score itself, that are at least as large."""
        above = len(self.values) - np.searchsorted(self.values, score, side="left")
        return np.asarray((above + 1.0) / (len(self.values) + 1.0))


class Calibration:
    """Adds to the columns of any configurations what needs normal ones: two-sided scores, combinations, p-values.

    Args:
        validation: columns of the validation split, of which the first MOST are used.
        calibration: columns of the calibration split, likewise.
    """

    def __init__(self, validation: Columns, calibration: Columns) -> None:
        self._of: dict[str, Reference] = {
            name: Reference(np.sort(validation[name][:MOST].astype(np.float64)))
            for name in score_classes()
            if name in validation
        }
        scores = {name: calibration[name][:MOST] for name in self._of}
        self._combined = Reference(np.sort(self._combine(self._two_sided(scores))[DEFAULT_SCORE]))
        self._claimed = Reference(np.sort(scores[CLAIM].astype(np.float64)))

    @property
    def count(self) -> int:
        """Normal configurations that p-values are counted among."""
        return len(self._combined.values)

    def add(self, columns: Arrays) -> Arrays:
        """The columns of n configurations with NAME_two_sided, the combinations and p_value.

        p_value_claim stands beside p_value where the configurations claim a γ.
        """
        columns = columns | self._two_sided(columns)
        columns |= self._combine(columns)
        columns["p_value"] = self._combined.p_value(columns[DEFAULT_SCORE])
        if CLAIM in columns:
            columns[f"p_value_{CLAIM}"] = self._claimed.p_value(columns[CLAIM])
        return columns

    def _two_sided(self, columns: Arrays) -> Arrays:
        found = {f"{name}_two_sided": -self._of[name].log_p(columns[name], two_sided=True)
                 for name, kind in score_classes().items() if kind.two_sided and name in columns}  # fmt: skip
        return columns | found

    def _combine(self, columns: Arrays) -> Arrays:
        """Fisher's sum of -log p, Tippett's smallest p, and the mean of 1/p, which is Cauchy's for small p."""
        logs = np.stack([
            -columns[name] if name.endswith("_two_sided") else self._of[name].log_p(columns[name]) for name in PARTS
        ])  # fmt: skip
        return {
            DEFAULT_SCORE: -logs.sum(axis=0),
            "combined_tippett": -logs.min(axis=0),
            "combined_cauchy": np.logaddexp.reduce(-logs, axis=0),
        }
