"""A campaign: many ensembles and models in one folder."""

import math
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from lj_vae_hpc.config.run import below_recommended
from lj_vae_hpc.errors import COMMAND, UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.lock import lock
from lj_vae_hpc.scan.batches import element_of
from lj_vae_hpc.scan.campaign import Campaign, open_campaign
from lj_vae_hpc.scan.cost import Costs
from lj_vae_hpc.scan.plan import check_time_limit, describe_plan, tasks_per_element
from lj_vae_hpc.scan.resources import resources_of
from lj_vae_hpc.scan.slurm import SCRIPTS, Slurm, jobs_file
from lj_vae_hpc.scan.status import Status
from lj_vae_hpc.scan.submit import Submitter
from lj_vae_hpc.scan.work import SECONDS_TO_WAIT, Work


def plan(
    world: World, path: Path, config_file: Path | None, overrides: tuple[str, ...], options: tuple[str, ...],
    at_once: int | None, job_minutes: float,
) -> None:  # fmt: skip
    """The command `scan plan`: prints what the campaign takes, and writes nothing.

    Raises:
        UserError: bad configuration or options; a time limit shorter than one segment.
    """

    def show() -> None:
        campaign = open_campaign(path, config_file, overrides, writing=False)
        costs, resources = Costs(campaign), resources_of(jobs_file(SCRIPTS["sample"]), options)
        _check_models(campaign, None)
        if costs.to_measure:
            print(f"scan: measuring {' and '.join(costs.to_measure)} on this machine", flush=True)
        print(describe_plan(campaign, costs, resources, at_once, job_minutes, len(os.sched_getaffinity(0))), flush=True)
        check_time_limit(costs, resources)

    world.on_root(show)


def _check_models(campaign: Campaign, ranks: tuple[int, int] | None) -> None:
    """Refuses and warns of models before anything is sampled; ranks as of check_run."""
    if not campaign.models:
        return
    check = import_module("lj_vae_hpc.evaluation.checks").check_run  # late: it loads torch
    warned: dict[str, list[str]] = {}
    for task in campaign.models:
        try:
            check(task.run, task.config, ranks)
        except UserError as error:
            raise UserError(f"scan: model {task.label}: {error}") from None
        if (warning := below_recommended(task.config)) and not task.is_done():
            warned.setdefault(warning, []).append(task.label)
    for warning, labels in warned.items():
        more = f" and {len(labels) - 4} more" * (len(labels) > 4)
        print(f"scan: warning: {warning}: {'; '.join(labels[:4])}{more}", flush=True)


def submit(
    world: World, path: Path, config_file: Path | None, overrides: tuple[str, ...], options: tuple[str, ...],
    at_once: int | None, job_minutes: float,
) -> None:  # fmt: skip
    """The command `scan submit`: submits what is neither done nor in the queue.

    Raises:
        UserError: bad configuration or options, no Slurm, a time limit shorter than one segment, or sbatch refused.
    """
    world.on_root(lambda: _submit(path, config_file, overrides, options, at_once, job_minutes))


def _submit(
    path: Path, config_file: Path | None, overrides: tuple[str, ...], options: tuple[str, ...], at_once: int | None,
    job_minutes: float,
) -> None:  # fmt: skip
    slurm = Slurm(path, options, at_once)
    slurm.limits()  # before anything is written: whether there is a Slurm that answers
    resources = resources_of(jobs_file(SCRIPTS["sample"]), options)
    campaign = open_campaign(path, config_file, overrides, writing=False)
    costs = Costs(campaign)
    _check_models(campaign, None)
    check_time_limit(costs, resources)
    campaign = open_campaign(path, config_file, overrides)
    campaign.state.mkdir(parents=True, exist_ok=True)
    lock(campaign.state)  # two submissions at once would submit the same
    sizes = tasks_per_element(campaign, costs, resources, job_minutes)
    done = Submitter(campaign, slurm, sizes).submit()
    for batch in done.arrays:
        count = sum(map(len, batch.elements))
        print(f"scan: job {batch.job}, {len(batch.elements)} elements with {count} tasks", flush=True)
    print(f"scan: {done.done} tasks are done, {done.queued} were in the queue, {done.tasks} are submitted", flush=True)
    if done.left:
        print(
            f"scan: {done.left} tasks do not fit into the queue, or need some that do not"
            f"{f' ({done.refusal})' if done.refusal else ''}; run the same command when jobs have ended", flush=True,
        )  # fmt: skip
    print(f"watch: {COMMAND} scan status -o {path}", flush=True)


def run(
    world: World, path: Path, config_file: Path | None, overrides: tuple[str, ...], batch: Path | None,
    element: int | None, stage: Callable[..., None],
) -> None:  # fmt: skip
    """The command `scan run`: does the tasks that are not done, on these ranks; or those of one element of an array.

    Raises:
        UserError: bad configuration; or some tasks failed, and all others are done.
        Stopped: a signal or deadline came; the same command continues.
    """
    if batch is None:
        ranks = world.size, world.local_size
        world.on_root(lambda: _check_models(open_campaign(path, config_file, overrides, writing=False), ranks))
    else:
        config_file, overrides = None, ()  # those of the campaign as it was submitted; LJ_VAE_CONFIG may name others
    campaign = world.on_root(lambda: open_campaign(path, config_file, overrides, writing=batch is None))
    keys = world.on_root(lambda: _keys(campaign, batch, element))
    tasks = campaign.chosen(keys)
    if world.is_root:
        place = f"{len(tasks)} of {len(campaign.tasks)} tasks" if batch else f"{len(tasks)} tasks"
        print(
            f"scan: {place}; {len(campaign.samples)} γ and {len(campaign.models)} models in {path}", flush=True
        )  # fmt: skip
    # A job waits until its time is over and goes back into the queue: others wait for it to succeed.
    Work(world, campaign, stage, math.inf if batch else SECONDS_TO_WAIT).run(tasks)
    if world.is_root:
        print(f"scan: all {len(tasks)} tasks are done", flush=True)
        if batch is None:
            if not campaign.models:
                print("scan: no models are asked for; scan.grid adds some, as in configs/scan.yaml", flush=True)
            print(f"next: {COMMAND} scan collect -o {path}", flush=True)


def _keys(campaign: Campaign, batch: Path | None, element: int | None) -> list[str]:
    """Those of an element of an array, or of all tasks."""
    if batch is None:
        return list(campaign.tasks)
    try:
        return element_of(batch, element or 0)
    except (OSError, ValueError, LookupError):
        raise UserError(
            f"--batch {batch} has no element {element or 0}; only `{COMMAND} scan submit` writes it"
        ) from None


def status(world: World, path: Path, config_file: Path | None, overrides: tuple[str, ...]) -> None:
    """The command `scan status`: what is done, running, waiting or failed, and why; the time left."""

    def show() -> None:
        campaign = open_campaign(path, config_file, overrides, writing=False)
        try:
            slurm = Slurm(path)
        except UserError:
            slurm = None
        print(Status(campaign, slurm).text(), flush=True)

    world.on_root(show)


def collect(world: World, path: Path, config_file: Path | None, overrides: tuple[str, ...]) -> None:
    """The command `scan collect`: writes tables and the page of what is finished, and prints the checks.

    Raises:
        UserError: nothing is finished.
    """

    def write() -> None:
        # Late: they load matplotlib and more, which no element of an array needs.
        from lj_vae_hpc.scan.collect import collect as collect_campaign
        from lj_vae_hpc.scan.page import write_page

        campaign = open_campaign(path, config_file, overrides, writing=False)
        if not campaign.done():
            raise UserError(f"nothing of {path} is finished yet; `{COMMAND} scan status -o {path}` tells how far it is")
        collected = collect_campaign(campaign)
        print(collected.text, flush=True)
        for file in [*collected.write(campaign.tables), *write_page(campaign, collected)]:
            print(f"scan: wrote {file}", flush=True)
        print(f"scan: open {campaign.page} in a browser", flush=True)

    world.on_root(write)
