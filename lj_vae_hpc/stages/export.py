"""Writes a data set in the format of another program; rank 0 works alone."""

from contextlib import suppress
from pathlib import Path

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.run.files import publish
from lj_vae_hpc.sampling.summary import check_system, system_of
from lj_vae_hpc.store.formats import WRITERS
from lj_vae_hpc.store.reader import Dataset


def export(world: World, path: Path, target: Path, config: RunConfig | None = None) -> None:
    """The command: writes a data set as extended XYZ, GSD or NumPy archive, by the suffix of the target.

    Raises:
        UserError: another suffix, a target that exists or cannot be written, a data set that cannot be read.
    """
    world.on_root(lambda: _export(path, target, config))


def _export(path: Path, target: Path, config: RunConfig | None) -> None:
    write = WRITERS.get(target.suffix.lower())
    if write is None:
        raise UserError(f"--to {target}: the suffix must be one of {', '.join(WRITERS)}")
    if target.exists():
        raise UserError(f"--to {target} exists; delete it or choose another file")
    partial = target.with_name(target.name + ".partial")
    with Dataset(path) as data:
        check_system(data, config)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.touch()  # gsd alone would make a file that others cannot read
            with Progress("exporting", data.rows, "configurations", True) as progress:
                write(partial, data, system_of(data).box_side, progress.advance)
            publish(partial, target)
        except BaseException as error:
            with suppress(OSError):
                partial.unlink()
            if isinstance(error, OSError):
                raise UserError(f"cannot write {target}: {error.strerror or error}") from None
            raise
        print(f"exported: {data.rows} configurations in {target}")
