"""Does tasks of a campaign on all ranks of this run. What fails is recorded, and the rest goes on."""

import json
import time
from collections.abc import Callable, Sequence
from functools import partial as bind
from pathlib import Path

from lj_vae_hpc.config.load import load
from lj_vae_hpc.errors import COMMAND, Stopped, UserError, out_of_memory
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.files import point, write_text
from lj_vae_hpc.run.folder import open_run
from lj_vae_hpc.run.lock import lock, unlock
from lj_vae_hpc.run.provenance import check_unchanged
from lj_vae_hpc.sampling.claims import claim_free
from lj_vae_hpc.sampling.production import assemble, produce
from lj_vae_hpc.scan.campaign import Campaign
from lj_vae_hpc.scan.tasks import FINISHED, KINDS, DataTask, ModelTask, SampleTask, Task
from lj_vae_hpc.training.curves import read_metrics

Stage = Callable[..., None]
"""Runs the command of a name on (world, run, config)."""
SECONDS_TO_WAIT = 60.0  # for another process that does a task and may be about to end
ENDED = "its process ended in the middle of it: it was killed, or no memory was left"
SECONDS_FOR_SUITES = 3600.0  # for another model's job that samples the suites of both


class Work:
    """Does tasks.

    Args:
        world: the ranks.
        campaign: the campaign.
        stage: runs the commands train, evaluate and report.
        patience: seconds for which it waits for another process that does some of the tasks.
    """

    def __init__(self, world: World, campaign: Campaign, stage: Stage, patience: float = SECONDS_TO_WAIT) -> None:
        self._world, self._campaign, self._stage, self._patience = world, campaign, stage, patience
        self._failures: dict[str, tuple[Task, str]] = {}
        self._busy: list[Task] = []

    def run(self, tasks: Sequence[Task]) -> None:
        """Does the tasks that are not done, each kind after those that it needs.

        Raises:
            UserError: some failed, or another process has them; all others are done.
            Stopped: a signal or deadline came; the same command continues.
        """
        for kind in KINDS:
            self._run_kind([task for task in tasks if task.kind == kind], self._patience)
        asked = {task.key for task in tasks}  # and not the ensembles of suites, without which a model fails
        problems = [f"{task.title}: {why}" for task, why in self._failures.values() if task.key in asked]
        problems += [f"{task.title}: another lj-vae does it; run the same command when that has ended"
                     for task in self._busy if task.key in asked]  # fmt: skip
        if problems:
            status = f"{COMMAND} scan status -o {self._campaign.path}"
            more = f"; and {len(problems) - 3} more, which `{status}` lists" if len(problems) > 3 else ""
            raise UserError(
                f"{len(problems)} of {len(tasks)} tasks are not done: {'; '.join(problems[:3])}{more}",
                everywhere=self._world.size > 1,
            )

    def _run_kind(self, tasks: Sequence[Task], patience: float) -> None:
        """Does tasks of one kind; waits for another process that does some of them for so many seconds at most."""
        started = waiting_since = time.monotonic()
        while True:
            free, busy = self._world.on_root(bind(self._divide, tasks))
            if not free and not busy:
                return
            if (started != waiting_since or not free) and self._world.should_stop():
                raise Stopped(f"what is done of {self._campaign.path} is kept")
            if free:
                self._do([tasks[k] for k in free], f"{free[-1] + 1} of {len(tasks)}")
                waiting_since = time.monotonic()
            elif self._world.broadcast(time.monotonic() - waiting_since > patience):
                self._busy += [tasks[k] for k in busy]
                return
            else:
                if self._world.is_root and time.monotonic() - waiting_since < 1:
                    print(f"scan: waiting for another lj-vae, which does {len(busy)} tasks", flush=True)
                time.sleep(1.0)

    def _divide(self, tasks: Sequence[Task]) -> tuple[list[int], list[int]]:
        """Numbers of the tasks that are claimed to be done here, and of those that another process does.

        Ensembles are claimed all at once. Of data sets and models one is, as it may take long; those that have failed
        before come last, as they may end this run.
        """
        todo = [k for k, task in enumerate(tasks) if task.key not in self._failures and not task.is_done()]
        todo.sort(key=lambda k: failure_file(self._campaign, tasks[k]).exists())
        samples = [task for k in todo if isinstance(task := tasks[k], SampleTask)]
        if samples:
            divided = list(zip(todo, claim_free([task.ensemble for task in samples], samples[0].store), strict=True))
            return [k for k, own in divided if own], [k for k, own in divided if not own]
        busy = []
        for k in todo:
            if not claim(tasks[k]):
                busy.append(k)
            elif tasks[k].is_done():  # by a process that has ended it since
                release(tasks[k])
            else:
                return [k], busy
        return [], busy

    def _do(self, tasks: list[Task], number: str) -> None:
        """Does ensembles that are claimed, or one data set or model."""
        for task in tasks:
            self._world.on_root(bind(forget_failure, self._campaign, task))
        samples = [task for task in tasks if isinstance(task, SampleTask)]
        for count in dict.fromkeys(task.configurations for task in samples):
            self._sample([task for task in samples if task.configurations == count])
        if samples:
            return
        (task,) = tasks
        if self._world.is_root:
            print(f"scan: {task.title}, {number}", flush=True)
        try:
            if isinstance(task, DataTask):
                self._write_data(task)
            elif isinstance(task, ModelTask):
                self._train(task)
            if not self._world.on_root(task.is_done):
                raise UserError("it ended without an error, and is not done", everywhere=self._world.size > 1)
        except UserError as error:
            self._fail(task, error)
        except Exception as error:
            if not (lack := out_of_memory(error)):
                raise
            self._fail(task, lack)
        except Stopped:
            if self._world.is_root:
                forget_failure(self._campaign, task)
            raise
        finally:
            if self._world.is_root:
                release(task)

    def _sample(self, samples: list[SampleTask]) -> None:
        """All at once, so that every rank has something to do; if any fails, each by itself."""
        started = time.monotonic()
        ensembles, count, store = [task.ensemble for task in samples], samples[0].configurations, samples[0].store
        label = "sampling" if store == self._campaign.run.ensembles else "suites"
        is_new = self._world.on_root(lambda: not any(any(task.folder.glob("*")) for task in samples))
        try:
            produce(self._world, ensembles, count, store, label)
        except UserError as error:
            if len(samples) == 1 or (self._world.size > 1 and not error.everywhere):
                self._fail(samples[0], error)
                return
            for task in samples:
                (free,) = self._world.on_root(bind(claim_free, [task.ensemble], store))
                if free:  # otherwise another process has taken it, for which the caller waits
                    self._sample([task])
            return
        if label != "sampling" or not is_new:  # the time of the rest says nothing of the whole
            return
        seconds = (time.monotonic() - started) * self._world.size
        measured = {"gammas": len(samples), "configurations": count, "core_seconds": round(seconds, 2)}
        path = self._campaign.measured / f"{samples[0].key}.json"
        self._world.on_root(lambda: write_text(path, json.dumps(measured)))

    def _write_data(self, task: DataTask) -> None:
        store = self._campaign.run.ensembles
        self._world.on_root(bind(prepare_data, task, store))
        assemble(self._world, task.ensembles, task.configurations, store, task.run.dataset)

    def _train(self, task: ModelTask) -> None:
        started = time.monotonic()
        self._world.on_root(bind(write_text, failure_file(self._campaign, task), f"{ENDED}\n"))  # to be read if it does
        trained = self._world.on_root(lambda: len(read_metrics(task.run.metrics)))
        self._world.on_root(bind(prepare_model, task, self._campaign.suites))
        run, config = open_run(self._world, task.run.path, None, needs_data=True)
        self._stage("train", self._world, run, config)
        self._run_kind(suite_tasks(task, self._campaign), max(self._patience, SECONDS_FOR_SUITES))
        for name in ("evaluate", "report"):
            self._stage(name, self._world, run, config)
        seconds = (time.monotonic() - started) * self._world.size
        self._world.on_root(lambda: finish_model(task, trained, seconds))
        self._world.on_root(bind(forget_failure, self._campaign, task))

    def _fail(self, task: Task, error: UserError) -> None:
        """Records a failure that all ranks know of; one that only this rank knows of ends all of them."""
        note = bind(write_text, failure_file(self._campaign, task), f"{error}\n")
        if self._world.size > 1 and not error.everywhere:
            note()
            raise error
        self._failures[task.key] = (task, str(error))
        self._world.on_root(note)
        if self._world.is_root:
            print(f"scan: {task.title} failed: {error}", flush=True)


def claim(task: Task) -> bool:
    """Makes this process the only one that does a data set or model; whether no other one does it."""
    if isinstance(task, SampleTask):
        raise TypeError("ensembles are claimed by sampling.claims")
    task.run.path.mkdir(parents=True, exist_ok=True)
    try:
        lock(task.run.path)
    except UserError:
        return False
    return True


def release(task: Task) -> None:
    """Gives a data set or model back."""
    if not isinstance(task, SampleTask):
        unlock(task.run.path)


def failure_file(campaign: Campaign, task: Task) -> Path:
    """What is said of a task that failed, until it is tried again; of a model that is begun, that its process ended."""
    return campaign.state / "failed" / f"{task.key}.txt"


def forget_failure(campaign: Campaign, task: Task) -> None:
    """The task is tried again, is done, or was stopped and will continue."""
    failure_file(campaign, task).unlink(missing_ok=True)


def prepare_data(task: DataTask, store: Path) -> None:
    """Prepares the folder of a data set. One of its own is a run folder that shares the campaign's ensembles.

    Raises:
        UserError: configurations are missing.
    """
    lacking = [sample.title for sample in task.samples if not sample.is_done()]
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        raise UserError(f"{', '.join(lacking[:3])}{more} must be sampled first")
    if task.run.ensembles.resolve() != store.resolve():
        task.run.data.mkdir(exist_ok=True)
        point(task.run.ensembles, store)
        write_text(task.run.config, task.config.to_yaml())


def suite_tasks(task: ModelTask, campaign: Campaign) -> list[SampleTask]:
    """The ensembles of the suites that a model is evaluated on; models on the same data share them."""
    from lj_vae_hpc.evaluation.suites.registry import configurations_each, suites_of  # late: sampling needs none of it

    config = task.config.model_copy(update={"seed": campaign.config.seed})
    suites, _ = suites_of(config, tuple(sample.ensemble.gamma for sample in task.data.samples))
    tasks = [
        SampleTask(ensemble, configurations_each(suite, config), campaign.suites)
        for suite in suites
        for ensemble in suite.ensembles
    ]
    return list({one.key: one for one in tasks}.values())


def prepare_model(task: ModelTask, suites: Path) -> None:
    """Gives the folder of a model its configuration and relative links to its data and to the suites.

    The link may have to change: what was the campaign's data set is one of several after the campaign has grown.

    Raises:
        UserError: the data set is missing, or the folder holds another model.
    """
    if not task.data.is_done():
        raise UserError(f"the {task.data.title} must be written first")
    run = task.run
    if run.config.exists():
        check_unchanged(run.path, load(run.config), task.config, False, run.has_model)
    point(run.data, task.data.run.data)
    suites.mkdir(exist_ok=True)
    run.evaluation.mkdir(exist_ok=True)
    own = run.evaluation / "ensembles"
    if own.is_symlink() or not own.exists():
        point(own, suites)
    write_text(run.config, task.config.to_yaml())


def finish_model(task: ModelTask, trained: int, core_seconds: float) -> None:
    """Notes what was finished, after everything else of it, with the core seconds of all of its training if known.

    Args:
        task: the model.
        trained: epochs that had been trained when this began.
        core_seconds: what it took from then on, with the evaluation.
    """
    before, epochs = task.finished(), len(read_metrics(task.run.metrics))
    known: float | None = before.get("core_seconds") if before.get("epochs_trained") == trained else None
    if not trained:
        known = core_seconds
    elif epochs > trained and known is not None:
        known += core_seconds
    finished = {"identity": task.identity, "label": task.label, "epochs_trained": epochs,
                "core_seconds": known and round(known, 2)}  # fmt: skip
    write_text(task.run.path / FINISHED, json.dumps(finished))
