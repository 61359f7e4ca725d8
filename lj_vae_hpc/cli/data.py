"""The commands on a data set: import, inspect, verify, export."""

from pathlib import Path

import click
from click.core import ParameterSource

from lj_vae_hpc.cli.options import FileName, center, force, options, run_path
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir, check_has_data, load_for
from lj_vae_hpc.stages import call


def data_command(name: str, text: str, examples: str) -> click.Command:
    """A command that looks at a data set and changes nothing."""

    @click.command(name, help=text, epilog=f"\b\nExamples:\n{examples}")
    @click.argument("data", required=False, type=FileName(), metavar="[DATA.h5]")
    @options
    @click.pass_obj
    def command(
        world: World, data: Path | None, config_file: Path | None, output: Path | None, overrides: tuple[str, ...]
    ) -> None:
        call(name, world, *_data_of(world, data, config_file, output, overrides))

    return command


def _data_of(
    world: World, data: Path | None, config_file: Path | None, output: Path | None, overrides: tuple[str, ...]
) -> tuple[Path, RunConfig | None]:
    """The data set given, or the run's; and the configuration it must agree with, if one is given.

    What the environment names is that of the run, and says nothing of a data set given by itself.
    """
    source = click.get_current_context().get_parameter_source("config_file")
    if data and source is ParameterSource.ENVIRONMENT:
        config_file = None
    run = RunDir(run_path(output, config_file))
    world.on_root(lambda: _check_there(data, run))
    wanted = config_file or overrides
    return data or run.dataset, world.on_root(lambda: load_for(run, config_file, overrides)) if wanted else None


def _check_there(data: Path | None, run: RunDir) -> None:
    if data is None:
        check_has_data(run, writing=False)
    elif data.is_dir():
        raise UserError(f"{data} is a folder, not a file; the data set of a run is given as -o {data}")


inspect = data_command(
    "inspect", "Prints what is inside a data set: RUN_DIR's, or the file given.",
    "  lj-vae inspect -o runs/quick\n  lj-vae inspect runs/quick/evaluation/suites/soft.h5",
)  # fmt: skip
verify = data_command(
    "verify", "Recomputes checksums and energies of a data set and names damaged files.",
    "  mpirun -n 8 lj-vae verify -o runs/equilibrated",
)  # fmt: skip


@click.command(epilog="\b\nExamples:\n  lj-vae export -o runs/quick --to quick.gsd")
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


@click.command(
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
    may contain gamma.
    """
    path = run_path(output, config_file)
    call("import_files", world, files, path, config_file, overrides, center, module="import_data")
