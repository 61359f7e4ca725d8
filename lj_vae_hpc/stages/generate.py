"""Samples the data set of a run."""

from collections.abc import Sequence
from contextlib import suppress
from math import isclose

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.system import System
from lj_vae_hpc.errors import COMMAND, UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.run.provenance import leaving
from lj_vae_hpc.sampling.ensemble import Ensemble, ensembles_of
from lj_vae_hpc.sampling.production import assemble, holds, is_complete, produce
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.segments import finished_segments


def generate(world: World, run: RunDir, config: RunConfig) -> None:
    """The command: samples what is missing, and writes RUN_DIR/data/dataset.h5 when nothing is.

    Raises:
        UserError: as of produce and assemble; or the data were imported, and are not there.
    """
    if owner := run.data_owner:
        raise UserError(
            f"{run.path} uses the data of {owner.path}; run `{COMMAND} generate -o {owner.path}`",
            everywhere=world.size > 1,
        )
    ensembles = ensembles_of(config.seed, config.system, config.sampling)
    configurations = config.sampling.configurations
    rows = len(ensembles) * configurations
    if config.sampling.protocol == "imported":
        world.on_root(lambda: _check_imported(run))
    elif world.on_root(lambda: holds(run.dataset, ensembles, configurations)):
        if lacking := world.on_root(lambda: _with_deleted_files(run, ensembles, configurations)):
            produce(world, [ensembles[k] for k in lacking], configurations, run.ensembles, "sampling what was deleted")
        if world.is_root:
            print(f"sampling: {rows} configurations in {run.dataset}, already complete", flush=True)
    else:
        if world.is_root:
            print(f"sampling: {_density(config.system)}", flush=True)
            _say_what_changes(run, config)
        produce(world, ensembles, configurations, run.ensembles, "sampling")
        assemble(world, ensembles, configurations, run.ensembles, run.dataset)
        if world.is_root:
            print(f"sampling: {rows} configurations in {run.dataset}", flush=True)


def _with_deleted_files(run: RunDir, ensembles: Sequence[Ensemble], configurations: int) -> list[int]:
    """Numbers of the ensembles of which a segment or the pilot was deleted, but not all segments to save the space."""
    folders = ((ensemble, run.ensembles / ensemble.key) for ensemble in ensembles)
    return [k for k, (e, f) in enumerate(folders) if finished_segments(f) and not is_complete(e, configurations, f)]


def _say_what_changes(run: RunDir, config: RunConfig) -> None:
    """Prints what leaves the data set, and that a model does not follow."""
    with suppress(UserError), Dataset(run.dataset) as data:
        extent = {"gammas": data.layout.gammas, "configurations": data.layout.configurations}
        if lost := leaving(config.sampling.model_copy(update=extent), config.sampling):
            print(f"sampling: the data set in {run.path} {lost}", flush=True)
        if run.has_model:
            print(f"sampling: the model in {run.path} stays that of the data set as it was", flush=True)


def _density(system: System) -> str:
    """The density of a fluid, and the box that has that of the default one, if it is another."""
    n, side, default = system.n_particles, system.box_side, System()
    text = f"{n} particles in a box of side {side:g} σ, density {n / side**2:.3g} σ⁻²"
    same = default.box_side * (n / default.n_particles) ** 0.5
    if isclose(same, side, rel_tol=1e-3):
        return text
    usual = default.n_particles / default.box_side**2
    return f"{text}; system.box_side={same:.4g} has the {usual:g} σ⁻² of the default"


def _check_imported(run: RunDir) -> None:
    """There is nothing to sample, but all must be there."""
    if not run.dataset.exists():
        raise UserError(
            f"sampling.protocol is imported, and {run.dataset} is missing; run `{COMMAND} import FILE... -o NEW`"
        )
    print(f"sampling: {run.dataset} was imported, nothing to sample", flush=True)
