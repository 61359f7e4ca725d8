"""The commands on a campaign."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lj_vae_hpc.cli.options import FileName, max_hours, options_with, run_path
from lj_vae_hpc.stages import call


def scan_command(name: str, text: str, examples: str, *more: Callable[..., Any], works: bool = False) -> click.Command:
    """A command on a campaign."""

    def command(config_file: Path | None, output: Path | None, overrides: tuple[str, ...], **rest: Any) -> None:
        world = click.get_current_context().obj
        if works:
            world.stop.watch_signals()
            rest["stage"] = call
        path = run_path(output, config_file)
        call(name, world, path, config_file, overrides, module="scan", **rest)

    for option in (*more, options_with("the one in RUN_DIR")):
        command = option(command)
    return click.command(name, help=text, epilog=f"\b\nExamples:\n{examples}")(command)


slurm_options = (
    click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[-- SBATCH_OPTION...]"),
    click.option("--at-once", type=click.IntRange(min=1), metavar="N", help="Elements of an array that run at once.  "
                 "[default: all]"),
    click.option("--job-minutes", type=click.FloatRange(min=0, min_open=True), default=15.0, show_default=True,
                 metavar="M", help="Small ensembles are put together to jobs of about this length."),
)  # fmt: skip
plan = scan_command(
    "plan", "Prints the tasks, core hours, jobs, files and sizes of a campaign, and writes nothing.",
    "  lj-vae scan plan -c configs/scan.yaml\n"
    "  lj-vae scan plan -c configs/scan.yaml --at-once 64 -- --ntasks=64 --time=02:00:00",
    *slurm_options,
)  # fmt: skip
submit = scan_command(
    "submit", "Submits as job arrays whatever is neither done nor in the queue. What follows -- goes to sbatch.",
    "  lj-vae scan submit -c configs/scan.yaml -o runs/scan -- --ntasks=64 --time=02:00:00\n"
    "  lj-vae scan submit -o runs/scan --at-once 50      what has failed since, or did not fit into the queue",
    *slurm_options,
)  # fmt: skip
status = scan_command(
    "status", "Tells what is done, running, waiting or failed, and how long the rest takes.",
    "  lj-vae scan status -o runs/scan",
)  # fmt: skip
collect = scan_command(
    "collect",
    "Writes tables of ensembles, thermodynamics and scores, and campaign.html.",
    "  lj-vae scan collect -o runs/scan",
)
run = scan_command(
    "run", "Samples, trains and evaluates on these ranks whatever is not done, without Slurm.",
    "  mpirun -n 8 lj-vae scan run -c configs/scan.yaml -o runs/scan\n"
    "  lj-vae scan run -o runs/scan -s sampling.configurations=2000        more of each γ",
    max_hours,
    click.option("--batch", type=FileName(), hidden=True),  # of jobs/scan.slurm
    click.option("--element", type=click.IntRange(min=0), hidden=True),
    works=True,
)  # fmt: skip
