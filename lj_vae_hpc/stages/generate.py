"""Samples the data set of a run."""

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.sampling.ensemble import ensembles_of
from lj_vae_hpc.sampling.production import assemble, holds, produce


def generate(world: World, run: RunDir, config: RunConfig) -> None:
    """The command: samples what is missing, and writes RUN_DIR/data/dataset.h5 when nothing is.

    Raises:
        UserError: as of produce and assemble; or the data were imported, and are not there.
    """
    if owner := run.data_owner:
        raise UserError(
            f"{run.path} uses the data of {owner.path}; run `lj-vae generate -o {owner.path}`",
            everywhere=world.size > 1,
        )
    ensembles = ensembles_of(config.seed, config.system, config.sampling)
    configurations = config.sampling.configurations
    rows = len(ensembles) * configurations
    if config.sampling.protocol == "imported":
        world.on_root(lambda: _check_imported(run))
    elif world.on_root(lambda: holds(run.dataset, ensembles, configurations)):
        if world.is_root:
            print(f"sampling: {rows} configurations in {run.dataset}, already complete", flush=True)
    else:
        produce(world, ensembles, configurations, run.ensembles, "sampling")
        assemble(world, ensembles, configurations, run.ensembles, run.dataset)
        if world.is_root:
            print(f"sampling: {rows} configurations in {run.dataset}", flush=True)


def _check_imported(run: RunDir) -> None:
    """There is nothing to sample, but all must be there."""
    if not run.dataset.exists():
        raise UserError(f"sampling.protocol is imported, and {run.dataset} is missing; run `lj-vae import -o NEW`")
    print(f"sampling: {run.dataset} was imported, nothing to sample", flush=True)
