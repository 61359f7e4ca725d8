"""The command line: arguments to one stage."""

import math
from collections.abc import Callable
from pathlib import Path

import click
from click.core import ParameterSource

from lj_vae_hpc import __version__
from lj_vae_hpc.config.load import load
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir, open_run

EXAMPLES = """
\b
Examples:
  lj-vae run -c configs/quick.yaml                  everything, small
  mpirun -n 64 lj-vae generate -c configs/scan.yaml -o runs/scan
  mpirun -n 64 lj-vae train -o runs/scan            with the folder's own configuration
  lj-vae inspect -o runs/scan

\b
Exit status: 0 done, 2 bad configuration or input, 75 stopped early (give the same
command again to continue), anything else is a fault.
"""


@click.group(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lj-vae")
def cli() -> None:
    """Samples Lennard-Jones configurations, trains a variational auto-encoder on them and evaluates anomaly detection.

    Every command runs alone, under `mpirun -n R` or under `srun --mpi=pmix`. A command given again continues where
    it was stopped.
    """


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """The three options that every command takes."""
    command = click.option(
        "-s", "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Changes one key; repeatable."
    )(command)
    command = click.option(
        "-o", "--output", type=click.Path(path_type=Path), envvar="LJ_VAE_OUTPUT", show_envvar=True, metavar="RUN_DIR",
        help="Folder of the run.  [default: runs/NAME-OF-CONFIG]",
    )(command)  # fmt: skip
    return click.option(
        "-c", "--config", "config_file", type=click.Path(path_type=Path), envvar="LJ_VAE_CONFIG", show_envvar=True,
        metavar="FILE.yaml", help="Configuration.  [default: the one in RUN_DIR, else the built-in defaults]",
    )(command)  # fmt: skip


def _limit(context: click.Context, _: click.Parameter, hours: float | None) -> None:
    if hours is not None and not 0 < hours < math.inf:
        raise click.BadParameter(f"{hours:g} is not a positive number of hours.")
    if hours is not None:
        context.obj.limit_hours(hours)


_max_hours = click.option(
    "--max-hours", type=float, envvar="LJ_VAE_MAX_HOURS", metavar="H", callback=_limit, expose_value=False,
    show_envvar=True, help="Time that the run may take, such as the job's time limit: stops with status 75 and "
    "everything saved where the next segment, 20 training steps or suite, taking as long as the last, would not "
    "end in time. Up to a minute is kept free.",
)  # fmt: skip


def _stage_command(name: str, text: str, examples: str, execute: Callable[[World, RunDir, RunConfig], None]) -> None:
    """Adds a command that works on a run folder."""

    @cli.command(name, help=text, epilog=f"\b\nExamples:\n{examples}")
    @_options
    @_max_hours  # also of report, so that a job may hand its arguments to more than one command
    @click.pass_obj
    def command(world: World, config_file: Path | None, output: Path | None, overrides: tuple[str, ...]) -> None:
        run, config = open_run(world, _run_path(output, config_file), config_file, overrides)
        if execute is not _report:
            world.watch_signals()
        execute(world, run, config)


def _generate(world: World, run: RunDir, config: RunConfig) -> None:
    from lj_vae_hpc.stages.generate import generate

    generate(world, run, config)


def _train(world: World, run: RunDir, config: RunConfig) -> None:
    from lj_vae_hpc.stages.train import train

    train(world, run, config)


def _evaluate(world: World, run: RunDir, config: RunConfig) -> None:
    from lj_vae_hpc.stages.evaluate import evaluate

    evaluate(world, run, config)


def _report(world: World, run: RunDir, config: RunConfig) -> None:
    from lj_vae_hpc.stages.report import report

    report(world, run, config)


def _run(world: World, run: RunDir, config: RunConfig) -> None:
    from lj_vae_hpc.training.setup import check_networks

    world.on_root(lambda: check_networks(config))
    for stage in (_generate, _train, _evaluate, _report):
        stage(world, run, config)


for _name, _text, _examples, _execute in (
    ("generate", "Samples the data set into RUN_DIR/data.",
     "  mpirun -n 8 lj-vae generate -c configs/equilibrated.yaml\n"
     "  lj-vae generate -o runs/dense -s system.n_particles=60", _generate),
    ("train", "Trains the auto-encoder on RUN_DIR/data.",
     "  mpirun -n 8 lj-vae train -o runs/equilibrated", _train),
    ("evaluate", "Scores the anomaly suites and the test split.",
     "  mpirun -n 8 lj-vae evaluate -o runs/equilibrated", _evaluate),
    ("report", "Writes RUN_DIR/report/index.html.",
     "  lj-vae report -o runs/equilibrated", _report),
    ("run", "generate, train, evaluate and report in one go.",
     "  mpirun -n 2 lj-vae run -c configs/quick.yaml", _run),
):  # fmt: skip
    _stage_command(_name, _text, _examples, _execute)


@cli.command(
    epilog="\b\nExamples:\n  mpirun -n 8 lj-vae tune -o runs/equilibrated\n"
    "  lj-vae tune -o runs/quick -s tuning.trials=20 -s tuning.epochs=4\n"
    "  lj-vae tune -o runs/quick -s tuning.space.model.width=[64,256]\n"
    "  lj-vae train -c runs/equilibrated/tuning/best.yaml -o runs/equilibrated"
)
@_options
@_max_hours
@click.pass_obj
def tune(world: World, config_file: Path | None, output: Path | None, overrides: tuple[str, ...]) -> None:
    """Searches hyperparameters on RUN_DIR/data with Optuna.

    Every rank trains whole trials by itself, and more than one job may work on the same RUN_DIR. What is minimised is
    the description length of the validation split in nats: pairs/2 log(2 pi e MSE) + KL, which has no weight and so
    compares any lambda and any latent dimension. RUN_DIR/tuning then holds best.yaml and the figures.
    """
    from lj_vae_hpc.stages.tune import tune as search

    world.watch_signals()
    search(world, RunDir(_run_path(output, config_file)), config_file, overrides)


def _data_command(
    name: str, text: str, examples: str, execute: Callable[[World, Path, RunConfig | None], None]
) -> None:
    """Adds a command that looks at a data set and changes nothing."""

    @cli.command(name, help=text, epilog=f"\b\nExamples:\n{examples}")
    @click.argument("data", required=False, type=click.Path(path_type=Path), metavar="[DATA.h5]")
    @_options
    @click.pass_obj
    def command(
        world: World, data: Path | None, config_file: Path | None, output: Path | None, overrides: tuple[str, ...]
    ) -> None:
        execute(world, *_data_of(world, data, config_file, output, overrides))


def _data_of(
    world: World, data: Path | None, config_file: Path | None, output: Path | None, overrides: tuple[str, ...]
) -> tuple[Path, RunConfig | None]:
    """The data set given, or the run's; and the configuration it must agree with, if one is given.

    What the environment names is that of the run, and says nothing of a data set given by itself.
    """
    source = click.get_current_context().get_parameter_source("config_file")
    if data and source is ParameterSource.ENVIRONMENT:
        config_file = None
    run = RunDir(_run_path(output, config_file))
    base = config_file or (run.config if run.config.exists() else None)
    wanted = config_file or overrides
    return data or run.dataset, world.on_root(lambda: load(base, overrides)) if wanted else None


def _inspect(world: World, data: Path, config: RunConfig | None) -> None:
    from lj_vae_hpc.stages.inspect import inspect

    inspect(world, data, config)


def _verify(world: World, data: Path, config: RunConfig | None) -> None:
    from lj_vae_hpc.stages.verify import verify

    verify(world, data, config)


_data_command(
    "inspect", "Prints what is inside a data set: RUN_DIR's, or the file given.",
    "  lj-vae inspect -o runs/quick\n  lj-vae inspect runs/quick/evaluation/suites/soft/dataset.h5", _inspect,
)  # fmt: skip
_data_command(
    "verify", "Recomputes checksums and energies of a data set and names damaged segments.",
    "  mpirun -n 8 lj-vae verify -o runs/equilibrated", _verify,
)  # fmt: skip


@cli.command(epilog="\b\nExamples:\n  lj-vae score other/data/dataset.h5 -o runs/quick --to scores.h5")
@click.argument("data", type=click.Path(path_type=Path), metavar="DATA.h5")
@click.option("--to", "target", type=click.Path(path_type=Path), default=Path("scores.h5"), show_default=True,
              metavar="FILE.h5", help="Where the scores are written.")  # fmt: skip
@_options
@click.pass_obj
def score(
    world: World, data: Path, target: Path, config_file: Path | None, output: Path | None, overrides: tuple[str, ...]
) -> None:
    """Scores the configurations of any data set with the model trained in RUN_DIR."""
    from lj_vae_hpc.stages.score import score as score_file

    run, config = open_run(world, _run_path(output, config_file), config_file, overrides, writing=False)
    score_file(world, run, config, data, target)


@cli.command(epilog="\b\nExamples:\n  lj-vae export -o runs/quick --to quick.gsd")
@click.argument("data", required=False, type=click.Path(path_type=Path), metavar="[DATA.h5]")
@click.option("--to", "target", type=click.Path(path_type=Path), required=True, metavar="FILE",
              help="A new file: .xyz or .extxyz, .gsd or .npz.")  # fmt: skip
@_options
@click.pass_obj
def export(
    world: World, data: Path | None, target: Path, config_file: Path | None, output: Path | None,
    overrides: tuple[str, ...],
) -> None:  # fmt: skip
    """Writes a data set, RUN_DIR's or the file given, as extended XYZ, GSD or NumPy archive."""
    from lj_vae_hpc.stages.export import export as write

    path, config = _data_of(world, data, config_file, output, overrides)
    write(world, path, target, config)


@cli.command(
    "import",
    epilog="\b\nExamples:\n  lj-vae import g01.txt g04.txt -o runs/mine -s sampling.gammas=[0.1,0.4]\n"
    "  lj-vae import mine.xyz -o runs/mine -s system.n_particles=60 -s system.box_side=14",
)
@click.argument("files", required=True, nargs=-1, type=click.Path(path_type=Path), metavar="FILE...")
@_options
@click.pass_obj
def import_files(
    world: World, files: tuple[Path, ...], config_file: Path | None, output: Path | None, overrides: tuple[str, ...]
) -> None:
    """Makes the data set of a new run from configurations of other programs: text, extended XYZ, NumPy archive.

    Text holds one configuration per line, x1 y1 x2 y2 ... in units of sigma, and one file per value of sampling.gammas,
    in their order. The other formats may tell gamma themselves.
    """
    from lj_vae_hpc.stages.import_data import import_files as read

    read(world, files, _run_path(output, config_file), config_file, overrides)


@cli.command(epilog="\b\nExamples:\n  lj-vae doctor\n  mpirun -n 2 lj-vae doctor -o /scratch/runs/test")
@_options
@click.pass_obj
def doctor(world: World, config_file: Path | None, output: Path | None, overrides: tuple[str, ...]) -> None:
    """Checks that this machine can do every stage: MPI, parallel HDF5, compiler, torch, Slurm, the output folder."""
    from lj_vae_hpc.stages.doctor import doctor as examine

    path = _run_path(output, config_file)
    stored = RunDir(path).config
    config = world.on_root(lambda: load(config_file or (stored if stored.exists() else None), overrides))
    examine(world, path, config)


def _run_path(output: Path | None, config_file: Path | None) -> Path:
    """The run folder: as given, else named after the configuration."""
    return output or Path("runs") / (config_file.stem if config_file else "equilibrated")
