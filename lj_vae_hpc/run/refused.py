"""A command that is refused leaves a run as it was."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.files import write_text
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.run.lock import NAME as LOCK
from lj_vae_hpc.run.lock import is_locked


@contextmanager
def unchanged_if_refused(world: World, path: Path) -> Iterator[None]:
    """Leaves a run as it was if a command is refused before it has made anything: its configuration, or no folder.

    Otherwise a key that is refused would be in the way of all later commands.

    Args:
        world: the ranks.
        path: folder of the run.
    """
    run = RunDir(path)
    text, linked, made = _text(run.config), run.data.is_symlink(), _made(run)
    try:
        yield
    except UserError:
        if world.is_root and is_locked(run.path) and made == _made(run):
            if run.data.is_symlink() and not linked:
                run.data.unlink()
            if text is None:
                _remove_if_empty(run)
            elif text != _text(run.config):
                write_text(run.config, text)
        raise


def _text(path: Path) -> str | None:
    if not path.is_file() or not os.access(path, os.R_OK):
        return None
    return path.read_text(encoding="utf-8", errors="replace")  # what is no text is refused by who reads it


def _made(run: RunDir) -> list[tuple[int, int]]:
    """What tells whether the run's own data or weights have changed."""
    files = [run.model / "checkpoint.safetensors", *([] if run.data_owner else [run.dataset])]
    return [(status.st_ino, status.st_mtime_ns) for status in map(Path.stat, filter(Path.exists, files))]


def _remove_if_empty(run: RunDir) -> None:
    """Removes a run that has nothing but its configuration."""
    own = {run.config, run.path / LOCK}
    if set(run.path.iterdir()) <= own:
        for path in own:
            path.unlink(missing_ok=True)
        run.path.rmdir()
