"""The command line: arguments to one command, whose module is loaded when it runs."""

import math
import os
import unicodedata
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from lj_vae_hpc import __version__
from lj_vae_hpc.config.load import load
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir, load_for, open_run

EXAMPLES = """
\b
Examples:
  lj-vae doctor                                     is everything here?
  lj-vae run -c configs/quick.yaml                  everything, small
  mpirun -n 64 lj-vae generate -c configs/scan.yaml -o runs/scan
  mpirun -n 64 lj-vae train -o runs/scan            with the folder's own configuration
  lj-vae train -c mine.yaml -o runs/mine --data runs/scan      another model on the same data
  lj-vae inspect -o runs/scan

\b
Exit status: 0 done, 2 bad configuration or input, 75 stopped early (resubmit the same
command to continue), anything else is a fault.
"""


ORDER = (
    "doctor", "generate", "import", "tune", "train", "evaluate", "report", "run", "compare", "score", "inspect",
    "verify", "export", "scan",
)  # fmt: skip


class FileName(click.Path):
    """A path that fits in one line of a message or a table, and that a file system can hold."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path.

        Raises:
            BadParameter: it is empty, too long, or has a line feed or another control character.
        """
        text = os.fsdecode(value)
        if not text:
            self.fail("the path is empty", param, ctx)
        if any(unicodedata.category(character) == "Cc" for character in text):
            self.fail(f"{text!r:.200}: names with line feeds or control characters are not accepted")
        longest = max(len(os.fsencode(part)) for part in text.split("/"))
        # 255 and 4096 are allowed; something is appended while a file is written.
        if longest > 240 or len(os.fsencode(text)) > 3900:
            self.fail(f"{text[:60]}... is too long for a path", param, ctx)
        return super().convert(value, param, ctx)


class AsAdded(click.Group):
    """Lists its commands in the order in which they are added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names."""
        return list(self.commands)


class InOrder(click.Group):
    """Lists its commands in the order in which they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names."""
        return sorted(self.commands, key=ORDER.index)


@click.group(
    cls=InOrder, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"], "terminal_width": 120}
)
@click.version_option(__version__, prog_name="lj-vae")
def cli() -> None:
    """Samples Lennard-Jones configurations, trains a variational auto-encoder on them and evaluates anomaly detection.

    Every command runs alone, under `mpirun -n R` or under `srun --mpi=pmix`. A command that was stopped continues when
    it is called again.
    """


def call(name: str, *arguments: Any, module: str = "") -> None:
    """Runs the function of a command, from the module in stages/ of the same name unless another is given."""
    getattr(import_module(f"lj_vae_hpc.stages.{module or name}"), name)(*arguments)


def options(command: Callable[..., None]) -> Callable[..., None]:
    """The three options that every command takes."""
    command = click.option(
        "-s", "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Changes one key; repeatable."
    )(command)
    command = click.option(
        "-o", "--output", type=FileName(), envvar="LJ_VAE_OUTPUT", show_envvar=True, metavar="RUN_DIR",
        help="Folder of the run.  [default: runs/NAME-OF-CONFIG; LJ_VAE_RUNS may name another folder than runs]",
    )(command)  # fmt: skip
    return click.option(
        "-c", "--config", "config_file", type=FileName(), envvar="LJ_VAE_CONFIG", show_envvar=True,
        metavar="FILE.yaml", help="Configuration.  [default: the one in RUN_DIR, else the built-in defaults]",
    )(command)  # fmt: skip


def _limit(context: click.Context, _: click.Parameter, hours: float | None) -> None:
    if hours is not None and not 0 < hours < math.inf:
        raise click.BadParameter(f"{hours:g} is not a positive number of hours.")
    if hours is not None:
        context.obj.stop.limit_hours(hours)


max_hours = click.option(
    "--max-hours", type=float, envvar="LJ_VAE_MAX_HOURS", metavar="H", callback=_limit, expose_value=False,
    show_envvar=True, help="Time that the command may take, such as the job's time limit. It stops with status 75 and "
    "everything saved where the next segment, 20 training steps or suite, taking as long as the last, would not "
    "end in time. Up to a minute is kept free.",
)  # fmt: skip

other_data = click.option(
    "--data", type=FileName(), metavar="OTHER_RUN_DIR",
    help="Uses the data set of another run, which is only read. Later commands on RUN_DIR remember it.",
)  # fmt: skip


def pipeline_command(*stages: str, name: str, text: str, examples: str) -> None:
    """Adds a command that runs one or more stages on a run folder."""

    def command(config_file: Path | None, output: Path | None, overrides: tuple[str, ...], **data: Path | None) -> None:
        world, other = click.get_current_context().obj, data.get("data")
        run, config = open_run(
            world, _run_path(output, config_file), config_file, overrides, data=other,
            needs_data="generate" not in stages,
        )  # fmt: skip
        if stages != ("report",):
            world.stop.watch_signals()
        if len(stages) > 1:  # before anything is sampled
            check = import_module("lj_vae_hpc.evaluation.checks").check_run
            world.on_root(lambda: check(run, config, (world.size, world.local_size)))
        for stage in stages:
            if stage != "generate" or not run.data_owner or len(stages) == 1:
                call(stage, world, run, config)

    wrapped = options(max_hours(command))  # --max-hours of report too, so that a job may hand its arguments to all
    if stages != ("generate",):
        wrapped = other_data(wrapped)
    cli.command(name, help=text, epilog=f"\b\nExamples:\n{examples}")(wrapped)


pipeline_command(
    "generate", name="generate", text="Samples the data set into RUN_DIR/data, or what is missing of it.",
    examples="  mpirun -n 8 lj-vae generate -c configs/equilibrated.yaml\n"
    "  lj-vae generate -o runs/dense -s system.n_particles=60\n"
    "  lj-vae generate -o runs/scan -s sampling.configurations=20000       more of each γ",
)  # fmt: skip
pipeline_command(
    "train", name="train", text="Trains the auto-encoder on RUN_DIR/data.",
    examples="  mpirun -n 8 lj-vae train -o runs/equilibrated\n"
    "  lj-vae train -c configs/approaches/beta.yaml -o runs/beta --data runs/equilibrated",
)  # fmt: skip
pipeline_command(
    "evaluate", name="evaluate", text="Scores the test split and every anomaly suite.",
    examples="  mpirun -n 8 lj-vae evaluate -o runs/equilibrated\n"
    "  lj-vae evaluate -o runs/quick -s evaluation.files={mine: mine.xyz}       configurations of your own as a suite",
)  # fmt: skip
pipeline_command(
    "report", name="report", text="Writes the page RUN_DIR/report/index.html.",
    examples="  lj-vae report -o runs/equilibrated",
)  # fmt: skip
pipeline_command(
    "generate", "train", "evaluate", "report", name="run", text="Runs generate, train, evaluate and report in one go.",
    examples="  mpirun -n 2 lj-vae run -c configs/quick.yaml\n"
    "  lj-vae run -o runs/wide -s model.width=1024 --data runs/quick",
)  # fmt: skip


@cli.command(
    epilog="\b\nExamples:\n  mpirun -n 8 lj-vae tune -o runs/equilibrated\n"
    "  lj-vae tune -o runs/quick -s tuning.trials=20 -s tuning.epochs=4\n"
    "  lj-vae tune -o runs/quick -s tuning.space.model.width=[64,256]\n"
    "  lj-vae train -c runs/equilibrated/tuning/best.yaml -o runs/best --data runs/equilibrated"
)
@options
@max_hours
@other_data
@click.pass_obj
def tune(
    world: World, config_file: Path | None, output: Path | None, overrides: tuple[str, ...], data: Path | None
) -> None:
    """Searches hyperparameters on RUN_DIR/data with Optuna.

    Every rank trains whole trials by itself, and several jobs may work on the same RUN_DIR. The search minimises the
    description length of the validation split in nats: pairs/2 log(2 pi e MSE) + KL, which contains no weight and so
    compares any lambda and any latent dimension. RUN_DIR/tuning then holds best.yaml and the figures.
    """
    world.stop.watch_signals()
    call("tune", world, RunDir(_run_path(output, config_file)), config_file, overrides, data)


force = click.option("--force", is_flag=True, help="Replaces the file of --to if it exists.")
center = click.option(
    "--center", is_flag=True, help="Coordinates lie in [-L/2, L/2], as those of GSD do without being told."
)


@cli.command(
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

    FILE may be a dataset.h5, .npz or HDF5 with an array positions (n, N, 2), .npy (n, N, 2), .xyz, .gsd, or text with
    one configuration per line, x1 y1 x2 y2 ... in units of sigma; - is the standard input. Gamma need not be known. The
    columns file, row, score, p_value and odd_particles come first: p_value is the share of normal configurations that
    are at least as odd, odd_particles are more likely out of place than not.
    """
    path = _run_path(output, config_file)
    run, config = open_run(world, path, config_file, overrides, writing=False, needs_data=True)
    call("score", world, run, config, files, target, center, force)


@cli.command(epilog="\b\nExamples:\n  lj-vae compare runs/reference runs/beta --to compare.html")
@click.argument("runs", required=True, nargs=-1, type=FileName(), metavar="RUN_DIR...")
@click.option("--to", "target", type=FileName(), required=True, metavar="FILE.html", help="A new file, the page.")
@force
@click.pass_obj
def compare(world: World, runs: tuple[Path, ...], target: Path, force: bool) -> None:
    """Writes one page with the facts, tables and curves of several runs side by side.

    The runs are only read. Of a run that is not evaluated yet, the page shows the data and the training.
    """
    call("compare", world, runs, target, force)


def data_command(name: str, text: str, examples: str) -> None:
    """Adds a command that looks at a data set and changes nothing."""

    @cli.command(name, help=text, epilog=f"\b\nExamples:\n{examples}")
    @click.argument("data", required=False, type=FileName(), metavar="[DATA.h5]")
    @options
    @click.pass_obj
    def command(
        world: World, data: Path | None, config_file: Path | None, output: Path | None, overrides: tuple[str, ...]
    ) -> None:
        call(name, world, *_data_of(world, data, config_file, output, overrides))


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
    wanted = config_file or overrides
    return data or run.dataset, world.on_root(lambda: load_for(run, config_file, overrides)) if wanted else None


data_command(
    "inspect", "Prints what is inside a data set: RUN_DIR's, or the file given.",
    "  lj-vae inspect -o runs/quick\n  lj-vae inspect runs/quick/evaluation/suites/soft.h5",
)  # fmt: skip
data_command(
    "verify", "Recomputes checksums and energies of a data set and names damaged files.",
    "  mpirun -n 8 lj-vae verify -o runs/equilibrated",
)  # fmt: skip


@cli.command(epilog="\b\nExamples:\n  lj-vae export -o runs/quick --to quick.gsd")
@click.argument("data", required=False, type=FileName(), metavar="[DATA.h5]")
@click.option("--to", "target", type=FileName(), required=True, metavar="FILE",
              help="A new file: .xyz or .extxyz, .gsd or .npz.")  # fmt: skip
@force
@options
@click.pass_obj
def export(
    world: World, data: Path | None, target: Path, force: bool, config_file: Path | None, output: Path | None,
    overrides: tuple[str, ...],
) -> None:  # fmt: skip
    """Writes a data set, RUN_DIR's or the file given, as extended XYZ, GSD or NumPy archive."""
    path, config = _data_of(world, data, config_file, output, overrides)
    call("export", world, path, target, config, force)


@cli.command(
    "import",
    epilog="\b\nExamples:\n  lj-vae import g01.txt g04.txt -o runs/mine -s sampling.gammas=[0.1,0.4]\n"
    "  lj-vae import mine.xyz -o runs/mine -s system.n_particles=60 -s system.box_side=14",
)
@click.argument("files", required=True, nargs=-1, type=FileName(), metavar="FILE...")
@center
@options
@click.pass_obj
def import_files(
    world: World, files: tuple[Path, ...], center: bool, config_file: Path | None, output: Path | None,
    overrides: tuple[str, ...],
) -> None:  # fmt: skip
    """Makes the data set of a new run from configurations of other programs.

    FILE may be text, .xyz, .gsd, .npz, .npy or HDF5, such as a dataset.h5. Text holds one configuration per line, x1 y1
    x2 y2 ... in units of sigma, and there is one file per value of sampling.gammas, in their order. The other formats
    may tell gamma themselves.
    """
    path = _run_path(output, config_file)
    call("import_files", world, files, path, config_file, overrides, center, module="import_data")


@cli.command(epilog="\b\nExamples:\n  lj-vae doctor\n  mpirun -n 2 lj-vae doctor -o /scratch/runs/test")
@options
@click.pass_obj
def doctor(world: World, config_file: Path | None, output: Path | None, overrides: tuple[str, ...]) -> None:
    """Checks that this machine can do every stage, and says what is missing.

    It looks at MPI, parallel HDF5, the compiler, torch, the network, Slurm and the output folder.
    """
    path = _run_path(output, config_file)
    stored = RunDir(path).config
    config = world.on_root(lambda: load(config_file or (stored if stored.exists() else None), overrides))
    call("doctor", world, path, config)


@cli.group(cls=AsAdded, epilog="""
\b
Examples:
  lj-vae scan plan -c configs/scan.yaml                               what it would take
  lj-vae scan submit -c configs/scan.yaml -o runs/scan -- --ntasks=64 --time=02:00:00
  mpirun -n 8 lj-vae scan run -c configs/scan.yaml -o runs/scan       the same without Slurm
  lj-vae scan status -o runs/scan
  lj-vae scan collect -o runs/scan
""")  # fmt: skip
def scan() -> None:
    """Many ensembles and models in one folder: a campaign, alone or as Slurm jobs.

    The ensembles are those of `sampling.gammas`, the models those of the section `scan`. A campaign may grow: only what
    is new is computed.
    """


def scan_command(name: str, text: str, examples: str, *more: Callable[..., Any], works: bool = False) -> None:
    """Adds a command on a campaign."""

    def command(config_file: Path | None, output: Path | None, overrides: tuple[str, ...], **rest: Any) -> None:
        world = click.get_current_context().obj
        if works:
            world.stop.watch_signals()
            rest["stage"] = call
        path = _run_path(output, config_file)
        getattr(import_module("lj_vae_hpc.stages.scan"), name)(world, path, config_file, overrides, **rest)

    for option in (*more, options):
        command = option(command)
    scan.command(name, help=text, epilog=f"\b\nExamples:\n{examples}")(command)


slurm_options = (
    click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[-- SBATCH_OPTION...]"),
    click.option("--at-once", type=click.IntRange(min=1), metavar="N", help="Elements of an array that run at once.  "
                 "[default: all]"),
    click.option("--job-minutes", type=click.FloatRange(min=0, min_open=True), default=15.0, show_default=True,
                 metavar="M", help="Small ensembles are put together to jobs of about this length."),
)  # fmt: skip
scan_command(
    "plan", "Prints the tasks, core hours, jobs, files and sizes of a campaign, and writes nothing.",
    "  lj-vae scan plan -c configs/scan.yaml\n"
    "  lj-vae scan plan -c configs/scan.yaml --at-once 64 -- --ntasks=64 --time=02:00:00",
    *slurm_options,
)  # fmt: skip
scan_command(
    "submit", "Submits as job arrays whatever is neither done nor in the queue. What follows -- goes to sbatch.",
    "  lj-vae scan submit -c configs/scan.yaml -o runs/scan -- --ntasks=64 --time=02:00:00\n"
    "  lj-vae scan submit -o runs/scan --at-once 50      what has failed since, or did not fit into the queue",
    *slurm_options,
)  # fmt: skip
scan_command(
    "status", "Tells what is done, running, waiting or failed, and how long the rest takes.",
    "  lj-vae scan status -o runs/scan",
)  # fmt: skip
scan_command(
    "collect",
    "Writes tables of ensembles, thermodynamics and scores, and campaign.html.",
    "  lj-vae scan collect -o runs/scan",
)
scan_command(
    "run", "Samples, trains and evaluates on these ranks whatever is not done, without Slurm.",
    "  mpirun -n 8 lj-vae scan run -c configs/scan.yaml -o runs/scan\n"
    "  lj-vae scan run -o runs/scan -s sampling.configurations=2000        more of each γ",
    max_hours,
    click.option("--batch", type=FileName(), hidden=True),  # of jobs/scan.slurm
    click.option("--element", type=click.IntRange(min=0), hidden=True),
    works=True,
)  # fmt: skip


def _run_path(output: Path | None, config_file: Path | None) -> Path:
    """The run folder: as given, else named after the configuration in LJ_VAE_RUNS or runs/."""
    return output or Path(os.environ.get("LJ_VAE_RUNS", "runs")) / (config_file.stem if config_file else "equilibrated")
