"""What a campaign would take, and whether its jobs are long enough."""

from lj_vae_hpc.errors import COMMAND, UserError
from lj_vae_hpc.progress import duration
from lj_vae_hpc.run.space import row_bytes
from lj_vae_hpc.scan.campaign import Campaign
from lj_vae_hpc.scan.cost import Costs
from lj_vae_hpc.scan.resources import Resources
from lj_vae_hpc.scan.tasks import KINDS, DataTask

SHARE_OF_LIMIT = 0.9  # of a job's time limit that a segment may take
MOST_PER_ELEMENT = 1000


def describe_plan(
    campaign: Campaign, costs: Costs, resources: Resources, at_once: int | None, minutes: float, cores: int
) -> str:
    """Tasks, core time, time, jobs, files and sizes, as text.

    Args:
        campaign: the campaign.
        costs: of its tasks.
        resources: of one job.
        at_once: jobs that run at the same time; None: all.
        minutes: length of a job that small tasks are put together for.
        cores: of this machine, for `scan run`.
    """
    sampling, done = campaign.config.sampling, campaign.done()
    lines = [
        f"scan: {len(campaign.samples)} γ x {sampling.configurations:,} configurations and {len(campaign.models)} "
        f"models in {campaign.path}",
        f"{'':10}{'tasks':>8}{'done':>8}{'core time left':>18}{'jobs':>8}",
    ]
    sizes, wall, work = tasks_per_element(campaign, costs, resources, minutes), 0.0, 0.0
    for kind in KINDS:
        tasks = [task for task in campaign.tasks.values() if task.kind == kind]
        left = [task for task in tasks if task.key not in done]
        seconds, jobs = costs.total(left), -(-len(left) // sizes[kind])
        longest = max(map(costs.of, left), default=0.0)
        wall += max(longest, seconds / max(1, min(jobs, at_once or jobs))) / resources.ranks
        work += seconds
        lines.append(
            f"{kind:10}{len(tasks):8,}{len(tasks) - len(left):8,}{duration(seconds) if left else '–':>18}{jobs:8,}"
        )
    untimed = sum(not task.is_done() and not costs.knows_evaluation(task) for task in campaign.models)
    besides = f" and the evaluation of {untimed} models, which is not timed yet and often the longest part" * bool(
        untimed
    )
    launcher = f"mpirun -n {cores} " * (cores > 1)
    lines += [
        f"with Slurm: {duration(wall)}{besides}, in jobs of {resources.ranks} ranks, "
        f"{f'at most {at_once}' if at_once else 'all'} at once, besides the time in the queue",
        f"here: {duration(work / cores)}{besides}, by `{launcher}{COMMAND} scan run -o {campaign.path}` with the same "
        f"-c on the {cores} cores of this machine",
    ]
    return "\n".join([*lines, *files_and_sizes(campaign), *costs.basis])


def tasks_per_element(campaign: Campaign, costs: Costs, resources: Resources, minutes: float) -> dict[str, int]:
    """How many ensembles one element of an array samples, so that it takes about as long as is asked.

    Data sets and models have an element each.
    """
    limit = min(60 * minutes, resources.seconds / 2 if resources.seconds else 60 * minutes)
    size = int(limit * resources.ranks / max(costs.per_gamma, 1e-9))
    return {"sample": max(1, min(size, MOST_PER_ELEMENT)), "data": 1, "model": 1}


def check_time_limit(costs: Costs, resources: Resources) -> None:
    """Whether a job can get anywhere before it is stopped.

    Raises:
        UserError: its time limit is shorter than one segment.
    """
    if resources.seconds is None:
        return
    seconds = costs.segment_seconds / resources.ranks
    if seconds > SHARE_OF_LIMIT * resources.seconds:
        raise UserError(
            f"the time limit of a job is {duration(resources.seconds)}, and one segment of "
            f"{costs.segment_rows} configurations takes about {duration(seconds)} on {resources.ranks} "
            "ranks, so that no job would get anywhere: give more time (-- --time=...) or ranks (-- --ntasks=...), or "
            "set a smaller sampling.segment_rows"
        )


def files_and_sizes(campaign: Campaign) -> list[str]:
    """What the campaign will hold when it is done."""
    config = campaign.config
    sampling = config.sampling
    segments = len(campaign.samples) * -(-sampling.configurations // sampling.segment_rows)
    sets = [task for task in campaign.tasks.values() if isinstance(task, DataTask)]
    rows = sum(len(task.samples) * task.configurations for task in sets)
    size = row_bytes(config.system.n_particles)
    ensembles = len(campaign.samples) * sampling.configurations * size
    lines = [
        f"files: {segments:,} segments and {len(campaign.samples):,} pilots, {ensembles / 1e6:,.0f} MB; "
        f"data sets: {len(sets)}, {rows * size / 1e6:,.0f} MB"
    ]
    finished = [task.run.path for task in campaign.models if task.is_done()]
    if finished:
        found = [file.stat().st_size for path in finished for file in path.rglob("*") if file.is_file()]
        each = len(found) / len(finished), sum(found) / len(finished)
        lines.append(f"models: {each[0]:.0f} files and {each[1] / 1e6:.0f} MB each, as those that are done")
    return lines
