"""A campaign: many ensembles and models in one folder."""

from collections.abc import Callable
from pathlib import Path

from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.scan.campaign import open_campaign
from lj_vae_hpc.scan.collect import collect as collect_tables
from lj_vae_hpc.scan.status import overview
from lj_vae_hpc.scan.work import Work


def run(
    world: World, path: Path, config_file: Path | None, overrides: tuple[str, ...], stage: Callable[..., None]
) -> None:
    """The command `scan run`: does all tasks that are not done, on these ranks.

    Raises:
        UserError: bad configuration; or some tasks failed, and all others are done.
        Stopped: a signal or deadline came; the same command continues.
    """
    campaign = world.on_root(lambda: open_campaign(path, config_file, overrides))
    tasks = list(campaign.tasks.values())
    if world.is_root:
        print(f"scan: {len(campaign.samples)} γ and {len(campaign.models)} models in {path}", flush=True)
    Work(world, campaign, stage).run(tasks)
    if world.is_root:
        print(f"scan: all {len(tasks)} tasks are done", flush=True)


def status(world: World, path: Path, config_file: Path | None, overrides: tuple[str, ...]) -> None:
    """The command `scan status`."""
    world.on_root(lambda: print(overview(open_campaign(path, config_file, overrides, writing=False)), flush=True))


def collect(world: World, path: Path, config_file: Path | None, overrides: tuple[str, ...]) -> None:
    """The command `scan collect`: writes the tables of what is finished."""

    def write() -> None:
        for file in collect_tables(open_campaign(path, config_file, overrides, writing=False)):
            print(f"scan: wrote {file}", flush=True)

    world.on_root(write)
