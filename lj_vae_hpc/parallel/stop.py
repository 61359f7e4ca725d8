"""Requests to stop: signals that come to this process, and a deadline."""

import signal
import time
from collections.abc import Callable
from typing import Any

from lj_vae_hpc.errors import Stopped

RESERVE = 60.0  # seconds kept free before the deadline, to save and to leave
# Ctrl-C; what Slurm and Open MPI send before they kill; what jobs/ asks Slurm to send before the time limit.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


class StopRequests:
    """What this process knows of requests to stop. World.should_stop asks all ranks."""

    def __init__(self) -> None:
        self._signals: list[int] = []  # shared by copies
        self._started = self._piece_started = time.monotonic()
        self._deadline = float("inf")

    def watch_signals(self) -> None:
        """From now on the first of each signal only makes `due` true; a second one kills."""

        def handler(number: int, _: object) -> None:
            self._signals.append(number)
            signal.signal(number, signal.SIG_DFL)

        _handle(handler)

    def limit_hours(self, hours: float) -> None:
        """From now on `due` is true early enough to have ended these hours after the start of the process."""
        seconds = 3600.0 * hours
        self._deadline = self._started + seconds - min(RESERVE, 0.05 * seconds)

    def start_piece(self) -> None:
        """The piece of work that `due` judges by starts now, and not with its last call."""
        self._piece_started = time.monotonic()

    def due(self) -> bool:
        """Whether a signal came, or another piece of work as long as the last would not end before the deadline.

        Called after each piece of work, so that the time since the last call is that of a piece.
        """
        now = time.monotonic()
        late = now + (now - self._piece_started) > self._deadline
        self._piece_started = now
        return bool(self._signals) or late


def stop_at_once() -> None:
    """From now on a signal raises Stopped: for commands that are quickly repeated and keep nothing on their way."""

    def handler(*_: object) -> None:
        _handle(signal.SIG_IGN)  # a second one would come in between what ends the process
        raise Stopped("what was complete before is kept", everywhere=False)

    _handle(handler)


def _handle(handler: Callable[[int, Any], None] | signal.Handlers) -> None:
    for number in SIGNALS:
        signal.signal(number, handler)
