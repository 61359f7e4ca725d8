"""Batches: what each element of an array does, and which elements must succeed before.

CAMPAIGN/scan/batches/NUMBER.json holds one, and is written before the array is submitted under a name that has the
number. What waits or runs is therefore known from the names in the queue, even if a submission was killed half way, or
sbatch did not hear that Slurm had accepted it. No number is used again.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from lj_vae_hpc.run.files import write_text
from lj_vae_hpc.scan.campaign import Campaign
from lj_vae_hpc.scan.slurm import Queued
from lj_vae_hpc.scan.tasks import digest


@dataclass(frozen=True, eq=False)
class Batch:
    """One array of jobs.

    Attributes:
        number: of the batch in its campaign.
        elements: keys of the tasks that each does, one after the other.
        job: Slurm's number, once it is submitted.
    """

    number: int
    elements: tuple[tuple[str, ...], ...]
    job: int | None = None


class Batches:
    """All batches of a campaign that sbatch was given.

    Args:
        campaign: the campaign.
    """

    def __init__(self, campaign: Campaign) -> None:
        self._folder = campaign.state / "batches"
        self._id = digest(str(campaign.path.resolve()))[:6]
        self.all = [self._read(path) for path in sorted(self._folder.glob("*.json"))]

    def _read(self, path: Path) -> Batch:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Batch(int(path.stem), tuple(map(tuple, stored["elements"])), stored["job"])

    def path(self, batch: Batch) -> Path:
        """Its file."""
        return self._folder / f"{batch.number:06d}.json"

    def name(self, batch: Batch) -> str:
        """The name of its job."""
        return f"scan-{self._id}-{batch.number:06d}"

    def new(self, elements: Iterable[Sequence[str]]) -> Batch:
        """The next batch, stored."""
        number = self.all[-1].number + 1 if self.all else 0
        batch = Batch(number, tuple(map(tuple, elements)))
        self._store(batch)
        self.all.append(batch)
        return batch

    def submitted(self, batch: Batch, job: int) -> Batch:
        """Notes the number that Slurm has given to a batch; the batch with it."""
        known = replace(batch, job=job)
        self.all[self.all.index(batch)] = known
        self._store(known)
        return known

    def settle(self, queue: Sequence[Queued]) -> None:
        """Notes numbers of batches in the queue that sbatch did not tell, and empties older ones that it refused."""
        jobs = {queued.name: queued.job for queued in queue}
        for k, batch in enumerate(self.all):
            if batch.job is None and (job := jobs.get(self.name(batch))):
                self.submitted(batch, job)
            elif batch.job is None and batch.elements and k < len(self.all) - 1:
                self.all[k] = replace(batch, elements=())
                self._store(self.all[k])

    def _store(self, batch: Batch) -> None:
        write_text(self.path(batch), json.dumps({"job": batch.job, "elements": batch.elements}))

    def in_queue(self, queue: Sequence[Queued]) -> dict[str, Queued]:
        """The element of the queue that does each task, for the tasks that wait or run there."""
        names = {self.name(batch): batch for batch in self.all}
        return {
            key: queued
            for queued in queue
            if queued.name in names and queued.element < len(names[queued.name].elements)
            for key in names[queued.name].elements[queued.element]
        }

    @cached_property
    def latest(self) -> dict[str, tuple[Batch, int]]:
        """The last batch that Slurm has taken, and element, that each task was given to."""
        taken = [batch for batch in self.all if batch.job is not None]
        return {key: (batch, k) for batch in taken for k, keys in enumerate(batch.elements) for key in keys}


def element_of(batch_file: Path, index: int) -> list[str]:
    """Keys of the tasks that an element of an array does."""
    keys: list[str] = json.loads(batch_file.read_text(encoding="utf-8"))["elements"][index]
    return keys
