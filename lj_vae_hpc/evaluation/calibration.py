"""From scores to p-values, and from several to one.

Each score is calibrated on the validation split, which no fit has seen. Their combination is calibrated again, on a
split of its own, since scores depend on each other: the p-value of a configuration is the share of normal
configurations of that split that are at least as anomalous.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.evaluation.observables import Arrays
from lj_vae_hpc.evaluation.scores.registry import score_classes

Floats = NDArray[np.float64]

PARTS = ("displacement", "typicality", "latent_distance_two_sided")
"""What the default score is made of, one for each thing that can be wrong: a few particles are not in their place; the
configuration as a whole is like none of the trained γ; the network's code is not one of theirs."""
DEFAULT_SCORE = "combined"
"""Fisher's combination of PARTS. Which parts and which combination was decided by what they ask, without a look at a
suite: docs/detection.md tells what else was tried."""
GIVEN_CLAIM = "given_claim"
"""The score of configurations that claim a γ: what the claim and the combination say together."""
CLAIM_SHARE = 0.999
"""Share of the false alarms that the claim may raise there; the rest is left to what is plainly of no γ at all."""
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
        validation: columns of the validation split.
        calibration: columns of the calibration split.
    """

    def __init__(self, validation: Arrays, calibration: Arrays) -> None:
        self._of: dict[str, Reference] = {
            name: Reference(np.sort(validation[name].astype(np.float64)))
            for name in score_classes()
            if name in validation
        }
        combined = self._combine(self._two_sided(calibration))
        self._combined = Reference(np.sort(combined[DEFAULT_SCORE]))
        self._claimed = Reference(np.sort(self._with_claim(calibration | combined)))

    def add(self, columns: Arrays) -> Arrays:
        """The columns of n configurations with NAME_two_sided, the combinations and p_value.

        Where the configurations claim a γ, given_claim asks for that, too.
        """
        columns = columns | self._two_sided(columns)
        columns |= self._combine(columns)
        columns["p_value"] = self._combined.p_value(columns[DEFAULT_SCORE])
        if "claim" in columns:
            columns[GIVEN_CLAIM] = self._with_claim(columns)
            columns[f"p_value_{GIVEN_CLAIM}"] = self._claimed.p_value(columns[GIVEN_CLAIM])
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

    def _with_claim(self, columns: Arrays) -> Floats:
        """-log of the smaller p, each divided by its share of the false alarms (Genovese et al., Biometrika 93)."""
        claim = self._of["claim"].log_p(columns["claim"]) - np.log(CLAIM_SHARE)
        rest = self._combined.log_p(columns[DEFAULT_SCORE]) - np.log(1.0 - CLAIM_SHARE)
        return np.asarray(-np.minimum(claim, rest))
