"""The commands that use trained runs: score, compare."""

from pathlib import Path

import click

from lj_vae_hpc.cli.options import FileName, center, force, options, run_path
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.files import check_target
from lj_vae_hpc.run.folder import RunDir, open_run
from lj_vae_hpc.stages import call

USED_BY_SCORE = ("evaluation.extra_scores", "training.device")


@click.command(
    epilog="\b\nExamples:\n  lj-vae score mine.npy -o runs/quick\n"
    "  lj-vae score first.gsd second.xyz -o runs/quick --to scores.csv\n"
    "  zcat mine.txt.gz | lj-vae score - -o runs/quick --to scores.h5"
)
@click.argument("files", required=True, nargs=-1, type=FileName(), metavar="FILE...")
@click.option(
    "--to", "target", type=FileName(), metavar="FILE", help="A new file, .csv or .h5: a row per configuration."
)
@force
@center
@options
@click.pass_obj
def score(
    world: World, files: tuple[Path, ...], target: Path | None, force: bool, center: bool, config_file: Path | None,
    output: Path | None, overrides: tuple[str, ...],
) -> None:  # fmt: skip
    """Scores configurations of your own with the model trained in RUN_DIR: how odd is each of them?

    FILE may be a dataset.h5, .npz or HDF5 with an array positions, or .npy, of shape (n, N, 2) or (n, 2N), .xyz, .gsd,
    or text with one configuration per line, x1 y1 x2 y2 ... in units of sigma; - is the standard input. Gamma need not
    be known, unless the model is conditional. The columns file, row, score, p_value and odd_particles come first:
    p_value is the share of normal configurations that are at least as odd, odd_particles are more likely out of place
    than not.
    """
    path = run_path(output, config_file)
    run, config = open_run(world, path, config_file, overrides, writing=False, needs_data=True, uses=USED_BY_SCORE)
    world.on_root(lambda: _check_before(run, files, target, force, center, config))
    call("score", world, run, config, files, target, center, force)


def _check_before(
    run: RunDir, files: tuple[Path, ...], target: Path | None, force: bool, center: bool, config: RunConfig
) -> None:
    """What can be said of the files before torch is loaded and anything is learned: the first configuration of each."""
    from lj_vae_hpc.store.foreign import STDIN, read_configurations  # late: it loads the libraries of the formats

    if target is not None:
        check_target(target, force, (*files, run.config, run.metrics, run.data, run.model, run.evaluation))
    for path in files:
        if path != STDIN:
            next(read_configurations(path, config.system.n_particles, config.system.box_side, center))


@click.command(epilog="\b\nExamples:\n  lj-vae compare runs/reference runs/beta --to compare.html")
@click.argument("runs", required=True, nargs=-1, type=FileName(), metavar="RUN_DIR...")
@click.option("--to", "target", type=FileName(), required=True, metavar="FILE.html", help="A new file, the page.")
@force
@click.pass_obj
def compare(world: World, runs: tuple[Path, ...], target: Path, force: bool) -> None:
    """Writes one page with the facts, tables and curves of several runs side by side.

    The runs are only read. Of a run that is not evaluated yet, the page shows the data and the training.
    """
    call("compare", world, runs, target, force)
