"""What a search of hyperparameters shows of itself."""

import json
import time
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from lj_vae_hpc.config.load import changed
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.tuning import Span
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.report.search import Axis, search
from lj_vae_hpc.run.files import write_text
from lj_vae_hpc.tuning.study import Study, value_of


class Outcome:
    """A line for every trial that ends, whichever rank or job had it; and at the end the best of them.

    Args:
        folder: of the study.
        study: the study.
        config: the run's configuration.
        shown: whether this rank prints.
    """

    def __init__(self, folder: Path, study: Study, config: RunConfig, shown: bool) -> None:
        self._folder, self._study, self._config, self._shown = folder, study, config, shown
        self._printed = {trial.number for trial in study.finished()}
        self._before, self._started = len(self._printed), time.monotonic()
        if shown:
            searched = ", ".join(config.tuning.space)
            print(f"tuning: {self._before} of {self._total} trials are in {folder}; searching {searched}", flush=True)

    @property
    def _total(self) -> int:
        return self._config.tuning.trials

    def show(self) -> None:
        """Prints what has ended since the last call."""
        if not self._shown:
            return
        finished = self._study.finished()
        for position, trial in enumerate(finished):
            if trial.number not in self._printed:
                self._printed.add(trial.number)
                self._print(trial, _best(finished[: position + 1]))

    def _print(self, trial: FrozenTrial, best: FrozenTrial | None) -> None:
        done = len(self._printed)
        pace = (time.monotonic() - self._started) / (done - self._before)  # seconds per trial, all ranks and jobs
        ended = f"pruned, {trial.user_attrs.get('why', '')}"
        if trial.state == TrialState.COMPLETE:
            measured = trial.user_attrs["best"]
            ended = f"{trial.value:.1f} nats (RMSE {measured['mse'] ** 0.5:.4f}, KL {measured['kl']:.1f})"
        print(
            f"trial {trial.number}: {ended}; {self._options(trial, '')}; "
            + (f"best {best.value:.1f} (trial {best.number}); " if best else "")
            + f"{done} of {self._total}, {60 / pace:.1f} trials/min, "
            f"{tqdm.format_interval(pace * max(0, self._total - done))} left",
            flush=True,
        )

    def conclude(self) -> None:
        """Prints the best trial, and writes it as a configuration, and the figures.

        Raises:
            UserError: no trial was completed.
        """
        finished, space = self._study.finished(), self._config.tuning.space
        best = _best(finished)
        if best is None:
            raise UserError(
                f"none of {len(finished)} trials was completed (the last was pruned: "
                f"{finished[-1].user_attrs.get('why')}); move {self._folder} away and choose another tuning.space"
            )
        print(f"tuning: best of {len(finished)} trials is {best.number} with {best.value:.1f} nats; its parameters are")
        print(f"  {self._options(best, '-s ')}")
        write_text(self._folder / "best.yaml", changed(self._config, self._values(best)).to_yaml())
        shares = self._study.importances()
        axes = [
            Axis(
                key, [self._values(trial).get(key) for trial in finished],
                entry.spacing if isinstance(entry, Span) else "choices", shares.get(key),
            )
            for key, entry in space.items()
        ]  # fmt: skip
        values = np.array([np.nan if trial.value is None else trial.value for trial in finished])
        complete = np.array([trial.state == TrialState.COMPLETE for trial in finished])
        write_text(self._folder / "importance.svg", search(values, complete, axes))
        print(f"tuning: wrote {self._folder}/best.yaml, for -c, and {self._folder}/importance.svg", flush=True)

    def _values(self, trial: FrozenTrial) -> dict[str, Any]:
        return {key: value_of(self._config.tuning.space[key], value) for key, value in trial.params.items()}

    def _options(self, trial: FrozenTrial, prefix: str) -> str:
        return " ".join(f"{prefix}{quote(f'{key}={_text(value)}')}" for key, value in self._values(trial).items())


def _best(trials: list[FrozenTrial]) -> FrozenTrial | None:
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    return min(complete, key=lambda trial: trial.value or 0.0, default=None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
