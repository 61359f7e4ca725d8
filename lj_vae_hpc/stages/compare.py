"""Puts several runs side by side on one page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lj_vae_hpc.errors import COMMAND, UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.files import check_target, new_file
from lj_vae_hpc.run.folder import RunDir, load_for

if TYPE_CHECKING:
    from lj_vae_hpc.report.results import Results


def compare(world: World, folders: Sequence[Path], target: Path, overwrite: bool) -> None:
    """The command: writes one page about several runs, which are only read. One rank works.

    Args:
        world: the ranks.
        folders: of the runs.
        target: the page.
        overwrite: whether a target that exists is replaced.

    Raises:
        UserError: a run has no data or cannot be read, or the target exists or cannot be written.
    """

    def write() -> None:
        check_target(target, overwrite)
        runs = [RunDir(folder) for folder in folders]
        for run in runs:
            _check(run)
        from lj_vae_hpc.report.compare import comparison  # late, as in _read: they load torch and more

        page = comparison([_read(run) for run in runs])
        with new_file(target, overwrite) as partial:
            partial.write_text(page.render(), encoding="utf-8")
        print(f"compare: open {target} in a browser", flush=True)
        for warning in page.warnings:
            print(f"compare: warning: {warning}", flush=True)

    world.on_root(write)


def _check(run: RunDir) -> None:
    if not run.dataset.exists() or not run.config.exists():
        raise UserError(
            f"{run.path} holds no run with a data set; each RUN is a folder that `{COMMAND} generate` has filled"
        )


def _read(run: RunDir) -> "Results":
    from lj_vae_hpc.report.results import Results, readable

    with readable(run):
        return Results.read(run, load_for(run, None, ()))
