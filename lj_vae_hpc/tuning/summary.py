"""What a search of hyperparameters reports: its progress, its best trial and its figures."""

import time
from pathlib import Path
from shlex import quote

from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from lj_vae_hpc.config.load import changed
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.run.files import write_text
from lj_vae_hpc.tuning.study import Study, compact_json


class SearchSummary:
    """Prints a line for every trial that ends, in whichever rank or job, and the best trial when the search is over.

    Args:
        folder: of the study.
        study: the study.
        config: the run's configuration.
        prints: whether this rank prints.
    """

    def __init__(self, folder: Path, study: Study, config: RunConfig, prints: bool) -> None:
        self._folder, self._study, self._config, self._prints = folder, study, config, prints
        self._total, self._started = config.tuning.trials, time.monotonic()
        self._reported = {trial.number for trial in study.finished_trials()}
        self._finished_before = len(self._reported)
        if prints:
            keys = ", ".join(config.tuning.space)
            print(
                f"tuning: {self._finished_before} of {self._total} trials are in {folder}; searching {keys}", flush=True
            )

    def print_new_trials(self) -> None:
        """Prints the trials that have ended since the last call."""
        if not self._prints:
            return
        finished = self._study.finished_trials()
        for position, trial in enumerate(finished):
            if trial.number not in self._reported:
                self._reported.add(trial.number)
                self._print_trial(trial, _best(finished[: position + 1]))

    def _print_trial(self, trial: FrozenTrial, best: FrozenTrial | None) -> None:
        done = len(self._reported)
        seconds = (time.monotonic() - self._started) / (done - self._finished_before)  # per trial, all ranks and jobs
        parts = [
            f"trial {trial.number}: {_result(trial)}",
            self._options(trial, prefix=""),
            f"best {best.value:.1f} (trial {best.number})" if best else "none complete so far",
            f"{done} of {self._total}, {60 / seconds:.1f} trials/min, "
            f"{tqdm.format_interval(seconds * max(0, self._total - done))} left",
        ]
        print("; ".join(parts), flush=True)

    def write_results(self) -> None:
        """Prints the best trial, and writes its configuration and the figures.

        Raises:
            UserError: no trial is complete.
        """
        from lj_vae_hpc.tuning.figures import write_figures  # late: it loads matplotlib, which most jobs do not need

        finished = self._study.finished_trials()
        best = _best(finished)
        if best is None:
            raise UserError(
                f"none of {len(finished)} trials is complete (the last was pruned: "
                f"{finished[-1].user_attrs.get('reason')}); move {self._folder} away and choose another tuning.space"
            )
        print(f"tuning: the best of {len(finished)} trials is trial {best.number} with {best.value:.1f} nats:")
        print(f"  {self._options(best, prefix='-s ')}")
        path = self._folder / "best.yaml"
        write_text(path, changed(self._config, self._study.parameters(best)).to_yaml())
        figures = write_figures(self._study.optuna, self._folder)
        print(f"tuning: wrote {path} (for -c), {', '.join(map(str, figures))}", flush=True)

    def _options(self, trial: FrozenTrial, prefix: str) -> str:
        values = self._study.parameters(trial).items()
        texts = [f"{key}={value if isinstance(value, str) else compact_json(value)}" for key, value in values]
        return " ".join(f"{prefix}{quote(text)}" for text in texts)


def _result(trial: FrozenTrial) -> str:
    if trial.state == TrialState.PRUNED:
        return f"pruned, {trial.user_attrs.get('reason', '')}"
    best = trial.user_attrs["best"]
    return f"{trial.value:.1f} nats (RMSE {best['mse'] ** 0.5:.4f}, KL {best['kl']:.1f})"


def _best(trials: list[FrozenTrial]) -> FrozenTrial | None:
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    return min(complete, key=lambda trial: trial.value or 0.0, default=None)
