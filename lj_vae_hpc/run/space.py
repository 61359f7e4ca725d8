"""Whether there is room for what will be written."""

import shutil
from pathlib import Path

from lj_vae_hpc.errors import UserError

BYTES_PER_ROW = 40  # of a data set, besides positions


def row_bytes(n_particles: int) -> int:
    """Bytes of a configuration in a file."""
    return 8 * n_particles + BYTES_PER_ROW


def check_space(folder: Path, rows: int, n_particles: int, what: str) -> None:
    """Refuses configurations that do not fit onto the disk, before the first is sampled.

    Args:
        folder: where they are written; what is in it counts as room, as it may be a part of them.
        rows: how many configurations.
        n_particles: N.
        what: the keys that ask for them.

    Raises:
        UserError: there is no room.
    """
    needed = rows * row_bytes(n_particles)
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if needed <= free:
        return
    there = sum(file.stat().st_size for file in folder.rglob("*.h5")) if folder.exists() else 0
    if needed > free + there:
        raise UserError(
            f"{what}: {rows:,} configurations of {n_particles} particles take {needed / 1e6:,.0f} MB, and {existing} "
            f"has {free / 1e6:,.0f} MB left"
        )
