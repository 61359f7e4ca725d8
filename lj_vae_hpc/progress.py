"""Progress of long work: a bar on a terminal, or lines with rate and time left in a log; for steps, a line each."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts towards a total; silent unless `shown`.

    Args:
        label: what is being done.
        total: units of work in all; None where that is not known.
        unit: name of one unit, for the rate.
        shown: whether this rank prints.
    """

    def __init__(self, label: str, total: float | None, unit: str, shown: bool) -> None:
        self._bar = tqdm(
            total=total,
            desc=label,
            unit=" " + unit,
            unit_scale=True,
            disable=total == 0 or not (shown and _on_terminal()),
        )
        self._label, self._total, self._unit = label, total, unit
        self._lines = shown and not _on_terminal()
        self._done, self._started = 0.0, time.monotonic()
        self._next_line = self._started + 2.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.close()
        if self._lines and kind is None and self._done:
            self._print(f"done in {tqdm.format_interval(time.monotonic() - self._started)}")

    def advance(self, amount: float) -> None:
        """Adds finished work."""
        self._done += amount
        self._bar.update(amount)
        now = time.monotonic()
        if self._lines and now >= self._next_line and self._total is None:
            self._print("so far")
            self._next_line = now + SECONDS_BETWEEN_LINES
        elif self._lines and now >= self._next_line and self._total and self._done < self._total:
            left = (now - self._started) * (self._total / self._done - 1.0) if self._done else float("inf")
            self._print(f"{tqdm.format_interval(left)} left")
            self._next_line = now + SECONDS_BETWEEN_LINES

    def note(self, text: str) -> None:
        """Tells how far the unit under way is."""
        self._bar.set_postfix_str(text)
        if self._lines and time.monotonic() >= self._next_line:
            print(f"{self._label}: {text}", flush=True)
            self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES

    def _print(self, tail: str) -> None:
        rate = self._done / max(time.monotonic() - self._started, 1e-9)
        done = f"{100.0 * self._done / self._total:3.0f} %" if self._total else tqdm.format_sizeof(self._done)
        print(f"{self._label}: {done}, {tqdm.format_sizeof(rate)} {self._unit}/s, {tail}", flush=True)


class Steps:
    """Says of each step of some work that it begins, with the time left by those that are done; silent unless `shown`.

    Args:
        label: what is being done.
        weights: of each step, proportional to the time that it takes.
        shown: whether this rank prints.
    """

    def __init__(self, label: str, weights: Sequence[float], shown: bool) -> None:
        self._label, self._weights, self._shown = label, weights, shown
        self._begun, self._started = 0, time.monotonic()

    def begin(self, name: str) -> None:
        """Says that the next step begins."""
        done, total = sum(self._weights[: self._begun]), sum(self._weights)
        self._begun += 1
        if self._shown:
            seconds = (time.monotonic() - self._started) * (total / done - 1.0) if done else None
            left = "" if seconds is None else f", {tqdm.format_interval(seconds)} left"
            print(f"{self._label}: {name}, {self._begun} of {len(self._weights)}{left}", flush=True)


def duration(seconds: float) -> str:
    """A time with its units: 45 s, 5 min 20 s, 1 h 36 min."""
    if seconds < 1:
        return "under 1 s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min" + f" {rest} s" * bool(rest)
    hours, rest = divmod(minutes, 60)
    return f"{hours:,} h" + f" {rest} min" * bool(rest)


def _on_terminal() -> bool:
    return sys.stderr.isatty()
