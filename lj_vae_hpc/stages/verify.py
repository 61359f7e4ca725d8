"""Verifies a data set: checksums, and energies recomputed."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.system import System
from lj_vae_hpc.errors import COMMAND, UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.physics.energies import total_energy
from lj_vae_hpc.sampling.summary import check_system, system_of
from lj_vae_hpc.store.reader import ROWS_AT_ONCE, Dataset
from lj_vae_hpc.store.schema import Columns
from lj_vae_hpc.store.structure import Damaged
from lj_vae_hpc.store.verifier import find_damage
from lj_vae_hpc.store.writer import read_small_hdf5


def verify(world: World, path: Path, config: RunConfig | None = None) -> None:
    """The command: recomputes checksums and energies of every row of a data set, divided over ranks.

    The segments beside a run's dataset.h5 are checked too, since it would be made of them again.

    Raises:
        UserError: names each damaged file.
    """
    system, rows, pieces, broken = world.on_root(lambda: _pieces(path, config))

    def energy(columns: Columns) -> NDArray[np.float64]:
        return total_energy(columns["positions"], columns["gamma"], system.pair_potential)

    share = world.shard(len(pieces))
    found = [(file, find_damage(file, part, energy)) for file, part in pieces[share.start : share.stop]]
    problems = broken + [problem for rank in world.gather(found) for problem in rank if problem[1]]
    world.on_root(lambda: _conclude(problems, rows, path))


def _pieces(
    path: Path, config: RunConfig | None
) -> tuple[System, int, list[tuple[Path, range]], list[tuple[Path, str | None]]]:
    """The fluid, rows of the data set, what is to be checked in parts, and the files that cannot be opened."""
    try:
        data = Dataset(path)
    except UserError as error:
        raise UserError(f"{error}{_remedy(path)}") from None
    with data:
        check_system(data, config)
        system, rows = system_of(data), data.rows
    pieces: list[tuple[Path, range]] = []
    broken: list[tuple[Path, str | None]] = []
    for file in [path, *sorted(path.parent.glob("ensembles/*/*-*.h5"))]:
        try:
            with Dataset(file) as data:
                pieces += [
                    (file, range(k, min(k + ROWS_AT_ONCE, data.rows))) for k in range(0, data.rows, ROWS_AT_ONCE)
                ]
        except UserError as error:
            broken.append((file, str(error)))
    for file in sorted(path.parent.glob("ensembles/*/pilot.h5")):
        try:
            read_small_hdf5(file)
        except (Damaged, OSError) as error:
            broken.append((file, str(error)))
    return system, rows, pieces, broken


def _conclude(problems: list[tuple[Path, str | None]], rows: int, path: Path) -> None:
    if problems:
        text = "\n".join(f"damaged file {file}: {problem}" for file, problem in problems)
        raise UserError(text + _remedy(path))
    print(f"verified: {rows} configurations in {path}, checksums and energies agree")


def _remedy(path: Path) -> str:
    if not path.exists() or not (path.parent / "ensembles").is_dir():
        return ""
    return f"\ndelete what is damaged and run `{COMMAND} generate -o {path.parent.parent}`: only that is made again"
