"""What of several runs can be compared: settings that differ, and suites of the same configurations."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lj_vae_hpc.report.results import Results

Runs = Mapping[str, Results]

SEEN = ("height_sum", "pair_energy")  # by which configurations are known again
LONGEST = 60  # characters of a value
NOTHING = "nothing"


def differences(runs: Runs) -> dict[str, str]:
    """By run, the settings in which it is not like all others, with their values; `nothing` where all are alike."""
    every = {name: _settings(one) for name, one in runs.items()}
    keys = dict.fromkeys(key for own in every.values() for key in own)
    apart = [key for key in keys if len({_brief(own.get(key)) for own in every.values()}) > 1]
    return {
        name: "; ".join(f"{key} {_brief(own.get(key))[:LONGEST]}" for key in apart) or NOTHING
        for name, own in every.items()
    }


def _settings(one: Results) -> dict[str, Any]:
    """What a run follows from, by `section.key`, and the data that its model was trained on."""
    tree = one.config.model_dump(mode="json", exclude={"tuning", "scan"})
    found = {"seed": tree.pop("seed")}
    found |= {f"{section}.{key}": value for section, keys in tree.items() for key, value in keys.items()}
    found["sampling.gammas"] = list(one.config.sampling.gamma_values)
    if one.trained:
        found["trained γ"] = one.trained["gammas"]
        found["trained configurations of a γ"] = one.trained["configurations"]
    return found


def _brief(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class Verdict:
    """What one suite says of runs that have the same normal configurations and the same anomalies.

    Attributes:
        suite: its name.
        names: of the runs.
        alike: whether the intervals of all of them overlap.
        leader: the run whose interval lies above all others, if there is one.
    """

    suite: str
    names: tuple[str, ...]
    alike: bool
    leader: str | None

    def __str__(self) -> str:
        if len(self.names) == 1:
            return f"{self.names[0]}: not comparable"
        return f"{', '.join(self.names)}: " + (
            "no difference" if self.alike else f"{self.leader} is largest" if self.leader else "some differ"
        )


def verdicts(evaluated: Runs) -> dict[str, list[Verdict]]:
    """By suite, a verdict for each group of runs that can be compared on it; a run alone is a group of its own."""
    seen = {name: one.detection(*SEEN) for name, one in evaluated.items()}
    found: dict[str, list[Verdict]] = {}
    for suite in dict.fromkeys(suite for own in seen.values() for suite in own):
        groups: list[list[str]] = []
        for name in (name for name, own in seen.items() if suite in own):
            known = next((group for group in groups if _same(seen[group[0]][suite], seen[name][suite])), None)
            if known is None:
                groups.append([name])
            else:
                known.append(name)
        found[suite] = [_verdict(suite, group, evaluated) for group in groups]
    return found


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether the normal configurations and the anomalies of a suite are the same."""
    pairs = [(a, b) for name in SEEN for a, b in zip(one[name], other[name], strict=True)]
    return all(len(a) == len(b) and np.allclose(a, b, rtol=1e-4, equal_nan=True) for a, b in pairs)


def _verdict(suite: str, group: Sequence[str], evaluated: Runs) -> Verdict:
    summaries = {name: evaluated[name].summary for name in group}
    intervals = {
        name: summary["suites"][suite]["scores"][summary["default_score"]]["auroc_ci"]
        for name, summary in summaries.items()
    }
    best = max(intervals, key=lambda name: float(intervals[name][0]))
    lead = all(intervals[best][0] > high for name, (_, high) in intervals.items() if name != best)
    alike = max(low for low, _ in intervals.values()) <= min(high for _, high in intervals.values())
    return Verdict(suite, tuple(group), alike, best if lead and len(group) > 1 else None)


def conclusion(found: Mapping[str, Sequence[Verdict]], evaluated: Runs) -> str:
    """What all suites say together: no winner where there is no difference, or where runs cannot be compared."""
    each = [one for own in found.values() for one in own]
    said = []
    for names in dict.fromkeys(one.names for one in each if len(one.names) > 1):
        own = [one for one in each if one.names == names]
        alike = sum(one.alike for one in own)
        text = f"{', '.join(names)}: no difference beyond the intervals on {alike} of {len(own)} suites"
        for leader in names:
            if led := [one.suite for one in own if one.leader == leader]:
                text += f"; {leader} is largest on {len(led)} ({', '.join(led[:5])}{', ...' * (len(led) > 5)})"
        said.append(text + ".")
    apart = dict.fromkeys((own[0].names[0], other.names[0]) for own in found.values() for other in own[1:])
    for first, other in apart:
        why = _what_differs(evaluated[first], evaluated[other])
        count = sum(any({first, other} == {a.names[0], b.names[0]} for a in own for b in own) for own in found.values())
        said.append(f"{first} and {other}: {count} suite{'s' * (count > 1)} not compared, as their {why}.")
    return " ".join(said)


def _what_differs(one: Results, other: Results) -> str:
    if one.config.system != other.config.system:
        return "systems differ"
    first, second = (run.normal("height_sum")["height_sum"] for run in (one, other))
    if len(first) != len(second) or not np.allclose(first, second, rtol=1e-4):
        return "normal configurations differ"
    counts = [run.config.evaluation.configurations for run in (one, other)]
    few = f" (evaluation.configurations {counts[0]} and {counts[1]}; evaluate both with the same)"
    return "anomalies differ" + few * (counts[0] != counts[1])
