"""What state the tasks of a campaign are in."""

from lj_vae_hpc.run.lock import holder
from lj_vae_hpc.sampling.claims import claims_of
from lj_vae_hpc.scan.campaign import Campaign
from lj_vae_hpc.scan.tasks import KINDS, SampleTask, Task
from lj_vae_hpc.scan.work import failure_file

STATES = ("done", "running", "failed", "missing")


def state_of(campaign: Campaign, task: Task) -> str:
    """One of STATES; not to be asked by a process that does tasks of this campaign."""
    if task.is_done():
        return "done"
    if isinstance(task, SampleTask):
        here = task.store.exists() and claims_of(task.store).is_taken(task.ensemble.number)
    else:
        here = holder(task.run.path) is not None
    if here:
        return "running"
    return "failed" if failure_file(campaign, task).exists() else "missing"


def overview(campaign: Campaign) -> str:
    """A line per kind of task, and one per failure."""
    states = {key: state_of(campaign, task) for key, task in campaign.tasks.items()}
    lines = []
    for kind in KINDS:
        keys = [key for key, task in campaign.tasks.items() if task.kind == kind]
        counts = [f"{sum(states[key] == state for key in keys)} {state}" for state in STATES]
        lines.append(f"{kind:>8}: {len(keys)} tasks, {', '.join(counts)}")
    for key, task in campaign.tasks.items():
        if states[key] == "failed":
            lines.append(f"failed: {task.title}: {failure_file(campaign, task).read_text(encoding='utf-8').strip()}")
    return "\n".join(lines)
