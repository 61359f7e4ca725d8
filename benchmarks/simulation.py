"""A scheduler in memory, seeded, with failures, requeues and limits: what drives a campaign through Slurm's moods.

It leaves the products that the tasks' own `is_done` looks for, so that submission and status are the real ones.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.sampling.ensemble import fingerprint
from lj_vae_hpc.sampling.pilots import pilot_file
from lj_vae_hpc.scan.batches import element_of
from lj_vae_hpc.scan.campaign import Campaign
from lj_vae_hpc.scan.slurm import Array, Limits, Queued
from lj_vae_hpc.scan.tasks import FINISHED, DataTask, ModelTask, SampleTask, Task
from lj_vae_hpc.store.segments import create, segment_path


@dataclass
class Element:
    """An element of an array in the queue."""

    name: str
    job: int
    index: int
    after: tuple[str, ...]
    tasks: list[str]
    running: bool = False


@dataclass
class SimulatedSlurm:
    """A scheduler that does one task of every running element per step.

    Attributes:
        campaign: whose tasks are done.
        slots: elements that run at once.
        allowed: what may be submitted.
        failing: probability that an element dies at a task, and what waits for it is cancelled.
        stopping: probability that an element stops before a task and goes back into the queue.
        seed: of all chances.
        hidden: a limit of elements in the queue that `limits` does not tell.
        dies_at: keys of tasks at which an element dies for certain.
        runs: how often each task was done, by key.
    """

    campaign: Campaign
    slots: int
    allowed: Limits
    failing: float
    stopping: float
    seed: int = 0
    hidden: int | None = None
    dies_at: set[str] = field(default_factory=set)
    runs: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._elements: dict[tuple[int, int], Element] = {}
        self._states: dict[tuple[int, int], str] = {}
        self._sizes: dict[int, int] = {}
        self.refused = self.failed = self.stopped = self.cancelled = 0

    def limits(self) -> Limits:
        """What may be submitted."""
        return self.allowed

    def queue(self) -> list[Queued]:
        """The elements that wait or run."""
        return [Queued(e.name, e.job, e.index, e.running) for e in self._elements.values()]

    def ended(self, jobs: Sequence[int]) -> dict[tuple[int, int], str]:
        """How elements ended."""
        return {key: state for key, state in self._states.items() if key[0] in set(jobs)}

    def submit(self, array: Array) -> int:
        """Puts an array into the queue, unless sbatch would refuse it or a task is in the queue already."""
        room = self.allowed.jobs - len(self._elements) if self.allowed.jobs is not None else array.elements
        if array.elements > min(self.allowed.array, room):
            self.refused += 1
            raise UserError(f"sbatch refused: {array.elements} elements are too many")
        if self.hidden is not None and array.elements + len(self._elements) > self.hidden:
            raise UserError("sbatch refused: QOSMaxSubmitJobPerUserLimit")
        job = len(self._sizes) + 1
        self._sizes[job] = array.elements
        there = {key for element in self._elements.values() for key in element.tasks}
        for index in range(array.elements):
            keys = element_of(array.batch, index)
            if there.intersection(keys):
                raise RuntimeError(f"{there.intersection(keys)} would be in the queue twice")
            self._elements[job, index] = Element(array.name, job, index, array.after, keys)
        return job

    def step(self) -> None:
        """Starts what may start, and lets every running element do one task."""
        running = sum(element.running for element in self._elements.values())
        verdicts = {after: self._verdict(after) for after in {e.after for e in self._elements.values()}}
        for key, element in list(self._elements.items()):
            verdict = verdicts[element.after]
            if verdict == "never":
                self._end(key, "CANCELLED")
                self.cancelled += 1
            elif not element.running and verdict == "yes" and running < self.slots:
                element.running, running = True, running + 1
            if element.running and key in self._elements:
                self._work(key, element)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits or runs."""
        return not self._elements

    def _work(self, key: tuple[int, int], element: Element) -> None:
        left = [k for k in element.tasks if k in self.campaign.tasks and not self.campaign.tasks[k].is_done()]
        if not left:
            self._end(key, "COMPLETED")
        elif left[0] in self.dies_at or self._chance.random() < self.failing:
            self.failed += 1
            self._end(key, "FAILED")
        elif self._chance.random() < self.stopping:
            self.stopped += 1
            element.running = False
        else:
            task = self.campaign.tasks[left[0]]
            missing = [need for need in task.needs if not self.campaign.tasks[need].is_done()]
            if missing:
                raise RuntimeError(f"{task.title} was started before {len(missing)} tasks that it needs")
            produce_at_once(task)
            self.runs[task.key] = self.runs.get(task.key, 0) + 1
            if len(left) == 1:
                self._end(key, "COMPLETED")

    def _end(self, key: tuple[int, int], state: str) -> None:
        del self._elements[key]
        self._states[key] = state

    def _verdict(self, after: tuple[str, ...]) -> str:
        """Whether what waits for some elements may start: yes, not yet or never."""
        states = []
        for reference in after:
            job, _, index = reference.partition("_")
            indices = [int(index)] if index else range(self._sizes[int(job)])
            states += [self._states.get((int(job), k), "waiting") for k in indices]
        if any(state in ("FAILED", "CANCELLED") for state in states):
            return "never"
        return "yes" if all(state == "COMPLETED" for state in states) else "not yet"


def produce_at_once(task: Task) -> None:
    """Leaves the products of a task without their content."""
    if isinstance(task, SampleTask):
        task.folder.mkdir(parents=True, exist_ok=True)
        segment_path(task.folder, range(task.configurations)).touch()
        pilot_file(task.folder).touch()
    elif isinstance(task, DataTask):
        task.run.data.mkdir(parents=True, exist_ok=True)
        facts = {"fingerprint": fingerprint(task.ensembles, task.configurations)}
        create(task.run.dataset, 1, task.config.system.n_particles, facts, {}).rename(task.run.dataset)
    elif isinstance(task, ModelTask):
        task.run.evaluation.mkdir(parents=True, exist_ok=True)
        (task.run.evaluation / "summary.json").write_text("{}")
        (task.run.path / FINISHED).write_text(json.dumps({"identity": task.identity}))
