"""Writes a data set in the format of another program; rank 0 works alone."""

from pathlib import Path

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.run.files import check_target, new_file
from lj_vae_hpc.sampling.summary import check_system, system_of
from lj_vae_hpc.store.formats import WRITERS
from lj_vae_hpc.store.reader import Dataset


def export(world: World, path: Path, target: Path, config: RunConfig | None = None, overwrite: bool = False) -> None:
    """The command: writes a data set as extended XYZ, GSD or NumPy archive, by the suffix of the target.

    Raises:
        UserError: another suffix, a target that exists or cannot be written, a data set that cannot be read.
    """
    world.on_root(lambda: _export(path, target, config, overwrite))


def _export(path: Path, target: Path, config: RunConfig | None, overwrite: bool) -> None:
    write = WRITERS.get(target.suffix.lower())
    if write is None:
        raise UserError(f"--to {target}: the suffix must be one of {', '.join(WRITERS)}")
    check_target(target, overwrite)
    with Dataset(path) as data:
        check_system(data, config)
        side = system_of(data).box_side
        with (
            new_file(target, overwrite) as partial,
            Progress("exporting", data.rows, "configurations", True) as progress,
        ):
            write(partial, data, side, progress.advance)
        print(f"exported: {data.rows} configurations in {target}")
