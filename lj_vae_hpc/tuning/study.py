"""The study: one journal that ranks and jobs on any node append to, and which process works on which trial."""

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.tuning import Span
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.run.lock import Claims

SUSPENDED = "suspended"  # attribute of a trial whose checkpoint waits to be continued
optuna.logging.set_verbosity(optuna.logging.WARNING)


class Study:
    """A search of `tuning.trials` finished trials; those that a killed process left unfinished do not count.

    Args:
        folder: where the journal is.
        claims: which trials are being worked on.
        config: the run's configuration.

    Raises:
        UserError: the journal is damaged.
    """

    def __init__(self, folder: Path, claims: Claims, config: RunConfig) -> None:
        path = folder / "journal.log"
        # A file made with O_EXCL is a lock on every file system, NFS from version 3 on; one that a killed process left
        # is broken after half a minute. Optuna's symbolic links fail: their target is
        # resolved in the wrong folder.
        lock = JournalFileOpenLock(str(path))
        pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1)
        try:
            _check_end(path, lock)
            storage = JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
            self.optuna = optuna.create_study(storage=storage, study_name="lj-vae", pruner=pruner, load_if_exists=True)
        except (ValueError, KeyError, AssertionError) as error:
            raise UserError(f"{path} is damaged ({error!r:.80}); repair it, or move {folder} away") from None
        self._folder, self._claims, self._config = folder, claims, config

    def trial_folder(self, number: int) -> Path:
        """Where an unfinished trial keeps its checkpoint."""
        return self._folder / "trials" / f"{number:04d}"

    def next_trial(self) -> Trial | None:
        """Claims a trial for this process: a suspended one, else a new one; None if no trial is left to do.

        Trials that a killed process left are marked as failed.
        """
        with self._claims.alone():
            taken = self._taken_by_others()
            # Read after the claims were tried: a process finishes its trial before it drops the claim.
            abandoned = [trial for trial in self._trials(TrialState.RUNNING) if trial.number not in taken]
            suspended = [trial for trial in abandoned if trial.user_attrs.get(SUSPENDED)]
            for trial in abandoned:
                if trial not in suspended:
                    self.optuna.tell(trial.number, state=TrialState.FAIL)
                    shutil.rmtree(self.trial_folder(trial.number), ignore_errors=True)
            finished = {trial.number for trial in self.finished_trials()}
            if len(finished | taken) >= self._config.tuning.trials:
                return None
            claimed = Trial(self.optuna, suspended[0]._trial_id) if suspended else self.optuna.ask()
            claimed.set_user_attr(SUSPENDED, False)
            self._claims.take(claimed.number)
        return claimed

    def _taken_by_others(self) -> set[int]:
        """Numbers of the unfinished trials that other processes work on."""
        taken = set()
        for trial in self._trials(TrialState.RUNNING):
            if self._claims.take(trial.number):
                self._claims.drop(trial.number)
            else:
                taken.add(trial.number)
        return taken

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.optuna.get_trials(deepcopy=False, states=states)

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """A value for every key of `tuning.space`; a search on one rank repeats exactly."""
        seed = np.random.SeedSequence([self._config.seed, trial.number]).generate_state(1)[0]
        self.optuna.sampler = optuna.samplers.TPESampler(seed=int(seed))
        for key, searched in self._config.tuning.space.items():
            if isinstance(searched, tuple):
                trial.suggest_categorical(key, [compact_json(choice) for choice in searched])
            elif self._is_integer(key):
                trial.suggest_int(key, int(searched.low), int(searched.high), log=searched.spacing == "log")
            else:
                trial.suggest_float(key, searched.low, searched.high, log=searched.spacing == "log")
        return self.parameters(trial)

    def _is_integer(self, key: str) -> bool:
        section, name = key.split(".")
        return isinstance(getattr(getattr(self._config, section), name), int)

    def parameters(self, trial: Trial | FrozenTrial) -> dict[str, Any]:
        """A trial's values as the configuration takes them; real numbers have four digits."""
        return {key: self._parameter(key, suggested) for key, suggested in trial.params.items()}

    def _parameter(self, key: str, suggested: Any) -> Any:
        if isinstance(self._config.tuning.space[key], Span):
            return suggested if isinstance(suggested, int) else float(f"{suggested:.4g}")
        return json.loads(suggested)

    def finish(self, trial: Trial, state: TrialState, value: float | None = None, reason: str = "") -> None:
        """Records how a trial ended, and removes its folder."""
        if reason:
            trial.set_user_attr("reason", reason)
        shutil.rmtree(self.trial_folder(trial.number), ignore_errors=True)
        self.optuna.tell(trial, value, state)
        self._claims.drop(trial.number)

    def suspend(self, trial: Trial) -> None:
        """Leaves a trial, with its checkpoint, to whichever process continues it."""
        trial.set_user_attr(SUSPENDED, True)
        self._claims.drop(trial.number)

    def finished_trials(self) -> list[FrozenTrial]:
        """Complete and pruned trials, in the order in which they ended."""
        trials = self._trials(TrialState.COMPLETE, TrialState.PRUNED)
        return sorted(trials, key=lambda trial: (trial.datetime_complete or datetime.min, trial.number))

    @property
    def is_finished(self) -> bool:
        """Whether `tuning.trials` trials are finished, by whichever process."""
        return len(self.finished_trials()) >= self._config.tuning.trials


def compact_json(value: Any) -> str:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":"))


def _check_end(path: Path, lock: JournalFileOpenLock) -> None:
    """Cuts off a last line that a killed process left incomplete, before anything is appended to it.

    Raises:
        ValueError: the last complete line is damaged, which Optuna would only notice after it has appended to it.
    """
    lock.acquire()
    try:
        with path.open("ab+") as file:
            file.seek(0)
            *complete, rest = file.read().split(b"\n")
            if rest:
                file.truncate(file.tell() - len(rest))
            if complete:
                json.loads(complete[-1])
    finally:
        lock.release()
