"""Makes a run's data set from configurations of other programs; rank 0 works alone."""

import hashlib
import math
import shutil
import tempfile
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.load import load
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.physics.energies import total_energy
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.run.folder import RunDir, open_run
from lj_vae_hpc.sampling.division import divide
from lj_vae_hpc.sampling.ensemble import Ensemble, ensembles_of
from lj_vae_hpc.sampling.production import assemble, together
from lj_vae_hpc.store.foreign import Configuration, read_configurations
from lj_vae_hpc.store.schema import Columns
from lj_vae_hpc.store.segments import write_segment

PARTICLES_AT_ONCE = 1 << 17  # of the configurations in memory


def import_files(
    world: World, files: tuple[Path, ...], path: Path, config_file: Path | None, overrides: tuple[str, ...],
    center: bool = False,
) -> None:  # fmt: skip
    """The command: makes the data set of a new run from files of configurations.

    Checked configurations wait in the temporary folder (TMPDIR), sorted by γ; the run
    folder is touched only when all are good, and its data appears by rename.

    Raises:
        UserError: the run has data, or a configuration is not one of the run's system; names file and place.
    """
    with tempfile.TemporaryDirectory(prefix="lj-vae-import-") as scratch:
        count = world.on_root(lambda: _collect(files, center, RunDir(path), config_file, overrides, Path(scratch)))
        found = ("sampling.protocol=imported", f"sampling.configurations={count}")
        run, config = open_run(world, path, config_file, (*overrides, *found))
        world.on_root(lambda: _write(run, config, Path(scratch)))


def _check_new(run: RunDir) -> None:
    if run.data.exists():
        raise UserError(f"{run.path} already has data; choose another output folder (-o)")


def _record(n_particles: int) -> np.dtype[np.void]:
    """A checked configuration in the scratch folder, which has one file of them per γ."""
    return np.dtype([("positions", "<f4", (n_particles, 2)), ("energy", "<f8")])


def _collect(
    files: tuple[Path, ...], center: bool, run: RunDir, config_file: Path | None, overrides: tuple[str, ...],
    scratch: Path,
) -> int:  # fmt: skip
    """Checks every configuration and adds it to its ensemble's file; returns the number per γ."""
    _check_new(run)
    config = load(config_file or (run.config if run.config.exists() else None), overrides)
    gammas = config.sampling.gamma_values
    at_once = max(1, PARTICLES_AT_ONCE // config.system.n_particles)
    counts = np.zeros(len(gammas), np.int64)
    with Progress("importing", len(files), "files", True) as progress:
        for k, path in enumerate(files):
            default = gammas[k] if len(files) == len(gammas) else None
            configurations = read_configurations(path, config.system.n_particles, config.system.box_side, center)
            while block := list(islice(configurations, at_once)):
                ensembles, records = _checked(path, block, default, config)
                counts += np.bincount(ensembles, minlength=len(gammas))
                for e in np.unique(ensembles):
                    with (scratch / str(e)).open("ab") as file:
                        file.write(records[ensembles == e].tobytes())
            progress.advance(1)
    if len(set(counts.tolist())) > 1:
        text = ", ".join(f"{n} of gamma {gamma:g}" for n, gamma in zip(counts, gammas, strict=True))
        raise UserError(f"every value of sampling.gammas needs equally many configurations; the files hold {text}")
    return int(counts[0])


def _checked(
    path: Path, block: list[Configuration], default: float | None, config: RunConfig
) -> tuple[NDArray[np.intp], NDArray[np.void]]:
    """Ensemble and record of each configuration of a block."""
    system, gammas = config.system, config.sampling.gamma_values

    @cache
    def ensemble(gamma: float) -> int:
        return [math.isclose(g, gamma, rel_tol=1e-6) for g in gammas].index(True)

    ensembles = np.empty(len(block), np.intp)
    records = np.empty(len(block), _record(system.n_particles))
    for k, c in enumerate(block):
        gamma = default if c.gamma is None else c.gamma
        if gamma is None:
            raise UserError(f"{path} contains no gamma: give one file per value of sampling.gammas, in their order")
        try:
            ensembles[k] = ensemble(gamma)
        except (TypeError, ValueError):
            raise UserError(f"{path}, {c.place}: gamma {gamma} is not in sampling.gammas {list(gammas)}") from None
        records["positions"][k] = c.positions
    with np.errstate(all="ignore"):
        records["energy"] = total_energy(records["positions"], np.array(gammas)[ensembles], system.pair_potential)
    for k in np.flatnonzero(~np.isfinite(records["energy"]))[:1]:
        raise UserError(f"{path}, {block[k].place}: the energy is not finite: two particles at the same point")
    return ensembles, records


def _write(run: RunDir, config: RunConfig, scratch: Path) -> None:
    """Writes the data set; its folder gets its name last."""
    folder, configurations = run.path / "data.partial", config.sampling.configurations
    ensembles = ensembles_of(config.seed, config.system, config.sampling)
    _check_new(run)  # another import may have ended meanwhile
    shutil.rmtree(folder, ignore_errors=True)
    world, content = World(), hashlib.sha256()
    for ensemble in ensembles:
        records = scratch / str(config.sampling.gamma_values.index(ensemble.gamma))
        (folder / "ensembles" / ensemble.key).mkdir(parents=True)
        for rows in divide(range(configurations), config.sampling.segment_rows, 1):
            columns = _columns(ensemble, rows, records)
            write_segment(folder / "ensembles" / ensemble.key, rows, rows, columns, {}, together(world))
        with records.open("rb") as file:
            while piece := file.read(1 << 24):
                content.update(piece)
    assemble(world, ensembles, configurations, folder / "ensembles", folder / "dataset.h5", content.hexdigest())
    shutil.rmtree(folder / "ensembles")  # nothing will be sampled from here on
    folder.rename(run.data)
    print(f"imported: {len(ensembles) * configurations} configurations in {run.dataset}")


def _columns(ensemble: Ensemble, rows: range, path: Path) -> Columns:
    """The columns of some rows of an ensemble's file in the scratch folder."""
    record = _record(ensemble.system.n_particles)
    records = np.fromfile(path, record, len(rows), offset=rows.start * record.itemsize)
    return {
        "positions": records["positions"], "energy": records["energy"], "gamma": np.full(len(rows), ensemble.gamma),
        "ensemble": np.full(len(rows), ensemble.number, np.int32), "chain": np.arange(rows.start, rows.stop),
        "acceptance": np.full(len(rows), np.nan, np.float32),
    }  # fmt: skip
