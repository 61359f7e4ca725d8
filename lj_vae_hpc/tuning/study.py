"""The study: one journal that ranks and jobs append to, on any node, and who works on which of its trials."""

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

STOPPED = "stopped"  # of a trial whose checkpoint waits to be continued
optuna.logging.set_verbosity(optuna.logging.WARNING)


class Study:
    """Finished trials count; those of processes that ended without finishing them do not.

    Args:
        folder: of the journal.
        claims: which trials are being worked on.
        config: the run's configuration.

    Raises:
        UserError: the journal is damaged.
    """

    def __init__(self, folder: Path, claims: Claims, config: RunConfig) -> None:
        path = folder / "journal.log"
        # A file made with O_EXCL is a lock on every file system, NFS from version 3 on; one that a killed process left
        # is broken after half a minute. Optuna's links take the path from their own folder, where it is not found.
        lock = JournalFileOpenLock(str(path))
        _drop_cut_line(path, lock)
        try:
            storage = JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
        except (ValueError, KeyError) as error:
            raise UserError(f"{path} is damaged ({error!r:.80}); mend it, or move {folder} away") from None
        pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1)
        self._study = optuna.create_study(storage=storage, study_name="lj-vae", pruner=pruner, load_if_exists=True)
        self._folder, self._claims, self._config = folder, claims, config

    def trial_folder(self, number: int) -> Path:
        """Where a trial keeps its checkpoint while it is not finished."""
        return self._folder / "trials" / f"{number:04d}"

    def begin(self) -> Trial | None:
        """The next trial for this process: one that was stopped, or a new one; None where none is left.

        Trials that a process left without stopping them, since it was killed, are marked as failed here.
        """
        with self._claims.alone():
            left, begun = self._left()
            stopped = [trial for trial in left if trial.user_attrs.get(STOPPED)]
            for trial in left:
                if trial not in stopped:
                    self._study.tell(trial.number, state=TrialState.FAIL)
                    shutil.rmtree(self.trial_folder(trial.number), ignore_errors=True)
            if begun >= self._config.tuning.trials:
                return None
            taken = Trial(self._study, stopped[0]._trial_id) if stopped else self._study.ask()
            taken.set_user_attr(STOPPED, False)
            self._claims.take(taken.number)
        return taken

    def _left(self) -> tuple[list[FrozenTrial], int]:
        """Unfinished trials that no other process works on, and the number of all others, finished or not."""
        running = self._numbers(TrialState.RUNNING)
        free = {number for number in running if self._claims.take(number)}
        for number in free:
            self._claims.drop(number)
        # Their processes may have ended them meanwhile; what is read now was written before they were given back.
        left = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        ended = self._numbers(TrialState.COMPLETE, TrialState.PRUNED)
        return [trial for trial in left if trial.number in free], len(ended | (running - free))

    def _numbers(self, *states: TrialState) -> set[int]:
        return {trial.number for trial in self._study.get_trials(deepcopy=False, states=states)}

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """A value for every key that is searched; numbers have four digits. One rank alone always gets the same."""
        seed = np.random.SeedSequence([self._config.seed, trial.number]).generate_state(1)[0]
        self._study.sampler = optuna.samplers.TPESampler(seed=int(seed))
        return {key: value_of(entry, self._ask(trial, key, entry)) for key, entry in self._config.tuning.space.items()}

    def _ask(self, trial: Trial, key: str, entry: Span | tuple[Any, ...]) -> Any:
        if isinstance(entry, tuple):
            return trial.suggest_categorical(key, [json.dumps(choice, separators=(",", ":")) for choice in entry])
        section, name = key.split(".")
        if isinstance(getattr(getattr(self._config, section), name), int):
            return trial.suggest_int(key, int(entry.low), int(entry.high), log=entry.spacing == "log")
        return trial.suggest_float(key, entry.low, entry.high, log=entry.spacing == "log")

    def end(self, trial: Trial, state: TrialState, value: float | None = None, why: str = "") -> None:
        """Records a finished trial, whose folder goes."""
        if why:
            trial.set_user_attr("why", why)
        shutil.rmtree(self.trial_folder(trial.number), ignore_errors=True)
        self._study.tell(trial, value, state)
        self._claims.drop(trial.number)

    def pause(self, trial: Trial) -> None:
        """Leaves a trial to whoever continues it."""
        trial.set_user_attr(STOPPED, True)
        self._claims.drop(trial.number)

    def finished(self) -> list[FrozenTrial]:
        """Finished trials, in the order in which they ended."""
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        return sorted(trials, key=lambda trial: (trial.datetime_complete or datetime.min, trial.number))

    @property
    def complete(self) -> bool:
        """Whether all trials are finished, whoever had them."""
        return len(self.finished()) >= self._config.tuning.trials

    def importances(self) -> dict[str, float]:
        """Share of each key in the variance of a forest fitted to complete trials (Hutter et al., ICML 2014)."""
        values = {trial.value for trial in self.finished() if trial.state == TrialState.COMPLETE}
        if len(values) < 4:
            return {}  # too few
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        return optuna.importance.get_param_importances(self._study, evaluator=evaluator)


def value_of(entry: Span | tuple[Any, ...], suggested: Any) -> Any:
    """What the configuration takes for what the study has stored."""
    if isinstance(entry, tuple):
        return json.loads(suggested)
    return suggested if isinstance(suggested, int) else float(f"{suggested:.4g}")


def _drop_cut_line(path: Path, lock: JournalFileOpenLock) -> None:
    """Takes away a last line that was not written to its end, before anything is appended to it."""
    lock.acquire()
    try:
        with path.open("ab+") as file:
            file.seek(0)
            content = file.read()
            if content and not content.endswith(b"\n"):
                file.truncate(content.rfind(b"\n") + 1)
    finally:
        lock.release()
