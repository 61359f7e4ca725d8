"""Submits what is neither done nor queued, in arrays, each after those that it needs."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.scan.batches import Batch, Batches
from lj_vae_hpc.scan.campaign import Campaign
from lj_vae_hpc.scan.slurm import Array, Slurm
from lj_vae_hpc.scan.tasks import KINDS, Task

MOST_REFERENCES = 30  # elements of one array that another waits for one by one
MOST_GROUPS = 16  # arrays of a kind that wait for different elements; more of them wait for all of these


class Submission(NamedTuple):
    """What was submitted.

    Attributes:
        arrays: the new batches.
        tasks: tasks in them.
        queued: tasks that were in the queue before.
        left: tasks that must wait for another call, as the user may not have more jobs.
        done: tasks that were done before.
        refusal: what sbatch said when it took no more, if it was asked.
    """

    arrays: list[Batch]
    tasks: int
    queued: int
    left: int
    done: int
    refusal: str = ""


class Submitter:
    """Submits the tasks of a campaign.

    Args:
        campaign: the campaign.
        scheduler: Slurm.
        at_once: tasks of each kind that one element does, one after the other.
    """

    def __init__(self, campaign: Campaign, scheduler: Slurm, at_once: dict[str, int]) -> None:
        self._campaign, self._scheduler, self._at_once = campaign, scheduler, at_once
        self._batches = Batches(campaign)
        queue, limits = scheduler.queue(), scheduler.limits()
        self._most = limits.array
        self._room = max(0, limits.jobs - len(queue)) if limits.jobs is not None else None
        self._refusal = ""
        self._done = campaign.done()
        self._batches.settle(queue)
        # Where each task that is in the queue is done: job, element, and whether the array is new.
        waiting = self._batches.in_queue(queue)
        self._where = {key: (one.job, one.element, False) for key, one in waiting.items() if key in campaign.tasks}

    def submit(self) -> Submission:
        """Submits.

        Raises:
            UserError: sbatch refused; what was submitted before stays in the queue.
        """
        queued = len(self._where.keys() - self._done)
        arrays = [batch for kind in KINDS for batch in self._submit_kind(kind)]
        tasks = sum(len(keys) for batch in arrays for keys in batch.elements)
        left = len(self._campaign.tasks) - len(self._done) - queued - tasks
        return Submission(arrays, tasks, queued, left, len(self._done), self._refusal)

    def _submit_kind(self, kind: str) -> Iterator[Batch]:
        tasks = [task for key, task in self._campaign.tasks.items()
                 if task.kind == kind and key not in self._done and key not in self._where]  # fmt: skip
        ready = [task for task in tasks if all(key in self._done or key in self._where for key in task.needs)]
        for after, group in self._grouped(ready):
            size = self._at_once.get(kind, 1)
            elements = [group[k : k + size] for k in range(0, len(group), size)]
            while elements and (self._room is None or self._room > 0):
                part = elements[: min(self._most, self._room or self._most)]
                try:
                    batch = self._submit(kind, part, after)
                except UserError as error:
                    said = str(error).lower()
                    if "limit" not in said or "time limit is invalid" in said or (len(part) == 1 and not self._where):
                        raise
                    self._refusal = str(error)
                    # A limit that was not told, such as that of a quality of service: as many as it lets in.
                    self._most, self._room = max(1, len(part) // 2), 0 if len(part) == 1 else self._room
                    continue
                elements = elements[len(part) :]
                self._room = None if self._room is None else self._room - len(part)
                yield batch

    def _submit(self, kind: str, elements: Sequence[Sequence[Task]], after: tuple[str, ...]) -> Batch:
        batch = self._batches.new([[task.key for task in element] for element in elements])
        array = Array(self._batches.name(batch), kind, self._batches.path(batch), len(elements), after)
        job = self._scheduler.submit(array)  # a batch that is refused stays: Slurm may have it in spite of an error
        for index, keys in enumerate(batch.elements):
            self._where |= dict.fromkeys(keys, (job, index, True))
        return self._batches.submitted(batch, job)

    def _grouped(self, tasks: Sequence[Task]) -> list[tuple[tuple[str, ...], list[Task]]]:
        """Tasks that wait for the same, with what they wait for."""
        groups: dict[tuple[str, ...], list[Task]] = {}
        for task in tasks:
            groups.setdefault(self._references(task), []).append(task)
        if len(groups) <= MOST_GROUPS:
            return list(groups.items())
        ready = groups.pop((), [])
        together = tuple(dict.fromkeys(reference for references in groups for reference in references))
        rest = [task for group in groups.values() for task in group]
        return [((), ready), (together, rest)] if ready else [(together, rest)]

    def _references(self, task: Task) -> tuple[str, ...]:
        """What a task waits for: elements, or a whole array where they are many of a new one.

        Of an array of before, some elements may have failed: what waited for all of it would never start.
        """
        jobs: dict[int, set[int]] = {}
        new = set()
        for key in task.needs:
            if key not in self._done:
                job, index, is_new = self._where[key]
                jobs.setdefault(job, set()).add(index)
                new |= {job} if is_new else set()
        return tuple(
            reference
            for job, indices in sorted(jobs.items())
            for reference in (
                [str(job)] if job in new and len(indices) > MOST_REFERENCES else [f"{job}_{k}" for k in sorted(indices)]
            )
        )
