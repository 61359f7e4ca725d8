"""What state the tasks of a campaign are in: from products, locks, the queue, and what was said of failures."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from lj_vae_hpc.progress import duration
from lj_vae_hpc.run.lock import holder, taken
from lj_vae_hpc.sampling.claims import NAME as CLAIMS
from lj_vae_hpc.scan.batches import Batches
from lj_vae_hpc.scan.campaign import Campaign
from lj_vae_hpc.scan.cost import Costs
from lj_vae_hpc.scan.slurm import Queued, Slurm
from lj_vae_hpc.scan.tasks import KINDS, SampleTask, Task
from lj_vae_hpc.scan.work import ENDED, failure_file

STATES = ("done", "running", "waiting", "failed", "not submitted", "to do")
MOST_SHOWN = 20  # failures, and models


@dataclass(frozen=True, eq=False)
class Status:
    """The tasks of a campaign now. Not for a process that does some of them: looking at a lock would drop it.

    Attributes:
        campaign: the campaign.
        scheduler: Slurm, where there is one.
    """

    campaign: Campaign
    scheduler: Slurm | None = None

    @cached_property
    def states(self) -> dict[str, str]:
        """One of STATES for each task, by key."""
        return {key: self._state(task) for key, task in self.campaign.tasks.items()}

    def why_failed(self, task: Task) -> str:
        """What the task itself said, or else how its job ended and the last line of the log."""
        file = failure_file(self.campaign, task)
        said = file.read_text(encoding="utf-8").strip() if file.exists() else ""
        if said and (said != ENDED or task.key not in self._batches.latest):
            return said
        batch, index = self._batches.latest[task.key]
        log = self.campaign.state / "logs" / f"{self._batches.name(batch)}-{index}.out"
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        last = next((line for line in reversed(lines) if line.strip()), "it left no log")
        job = batch.job or 0
        ended = self._ended.get((job, index)) or self._ended.get((job, None))
        return f"job {batch.job}_{index}{f' ended as {ended}' if ended else ' has ended'}; {log.name}: {last.strip()}"

    def text(self) -> str:
        """A line per kind of task, then failures and the time left."""
        lines = []
        for kind in KINDS:
            counts = Counter(self.states[key] for key, task in self.campaign.tasks.items() if task.kind == kind)
            shown = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
            lines.append(f"{kind:>8}: {counts.total()} tasks" + (f", {shown}" if shown else ""))
        failed = [task for key, task in self.campaign.tasks.items() if self.states[key] == "failed"]
        lines += [f"failed: {task.title}: {self.why_failed(task)}" for task in failed[:MOST_SHOWN]]
        if len(failed) > MOST_SHOWN:
            lines.append(f"failed: {len(failed) - MOST_SHOWN} more, see {self.campaign.state}")
        if self._batches.latest and not self.scheduler:
            lines.append("no Slurm on this machine to ask: what was submitted and is not done counts as waiting")
        return "\n".join([*lines, *self._models(), *self._time_left()])

    def _models(self) -> list[str]:
        """A line per model with its folder; then the folders that no model of this configuration uses."""
        named = [f"model {task.name}: {task.label}, {self.states[task.key]}" for task in self.campaign.models]
        unused = [
            f"model {path.name}: {label}, not part of this configuration any more: in no table, and "
            + ("still in use by a job" if holder(path) else "may be deleted")
            for path, label in self.campaign.obsolete_models()
        ]
        return [*_first(named, "models"), *_first(unused, "models that are not part of it any more")]

    def _time_left(self) -> list[str]:
        """By what was measured in this campaign, on the cores that work now."""
        costs = Costs(self.campaign, measures=False)
        left = [task for key, task in self.campaign.tasks.items() if self.states[key] != "done"]
        known = [task for task in left if task.kind == "data" or costs.of(task)]
        unknown = len(left) - len(known)
        seconds, cores = costs.total(known), sum(one.cpus for one in self._own if one.running)
        if all(task.kind == "data" for task in known):
            return []
        line = f"left: {duration(seconds)} of one core"
        line += f", {duration(seconds / cores)} on the {cores} cores that work now" if cores else ""
        return [
            line + f"; besides, {unknown} task{'s' * (unknown > 1)} of a kind that is not timed yet" * bool(unknown)
        ]

    @cached_property
    def _batches(self) -> Batches:
        return Batches(self.campaign)

    @cached_property
    def _own(self) -> list[Queued]:
        """The elements of this campaign that wait or run."""
        names = {self._batches.name(batch) for batch in self._batches.all}
        return [one for one in self.scheduler.queue() if one.name in names] if self.scheduler and names else []

    @cached_property
    def _claimed(self) -> dict[str, bool]:
        """Whether another process samples each ensemble."""
        samples = self.campaign.samples
        numbers = [task.ensemble.number for task in samples]
        found = taken(self.campaign.run.ensembles / CLAIMS, numbers)
        return {task.key: one for task, one in zip(samples, found, strict=True)}

    @cached_property
    def _where(self) -> dict[str, Queued]:
        return self._batches.in_queue(self._own)

    @cached_property
    def _ended(self) -> dict[tuple[int, int | None], str]:
        jobs = [batch.job for batch in self._batches.all if batch.job]
        return self.scheduler.ended(jobs) if self.scheduler else {}

    def _state(self, task: Task) -> str:
        if task.is_done():
            return "done"
        where = self._where.get(task.key)
        if where or self._is_locked(task):
            return "waiting" if where and not where.running else "running"
        if failure_file(self.campaign, task).exists():
            return "failed"
        if task.key not in self._batches.latest:
            return "not submitted" if self._batches.all else "to do"
        return "failed" if self.scheduler else "waiting"

    def _is_locked(self, task: Task) -> bool:
        if isinstance(task, SampleTask):
            return self._claimed[task.key]
        return holder(task.run.path) is not None


def _first(lines: list[str], what: str) -> list[str]:
    """The first lines of a list, and how many more there are."""
    return lines[:MOST_SHOWN] + [f"{len(lines) - MOST_SHOWN} more {what}"] * (len(lines) > MOST_SHOWN)
