"""Prints what is inside a data set."""

import hashlib
from pathlib import Path

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.sampling.summary import check_system, summarize, system_of, watch
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.verifier import row_digest


def inspect(world: World, path: Path, config: RunConfig | None = None) -> None:
    """The command: per ensemble the number of configurations, γ, energy and acceptance; and a digest of the content."""
    world.on_root(lambda: _inspect(path, config))


def _inspect(path: Path, config: RunConfig | None) -> None:
    with Dataset(path) as data:
        check_system(data, config)
        a = data.attributes
        print(f"{data.path}: {data.rows} configurations, N = {data.n_particles}")
        if "protocol" in a:
            print(f"protocol {a['protocol']}; {system_of(data)}")
        digest = hashlib.sha256()
        columns = watch(data, lambda block: digest.update(row_digest(block)))
        print(
            f"{'gamma':>8} {'count':>8} {'mean U (eps)':>18} {'s.d.':>7} {'acceptance':>10} {'step':>7} "
            f"{'sweeps':>7} {'equilibrium U':>18}  verdict"
        )
        for e in summarize(columns, a, data.ensembles()):
            print(
                f"{e.gamma:8.4g} {e.count:8d} {f'{e.mean[0]:.3f} ± {e.error[0]:.3f}':>18} {e.deviation:7.3f} "
                f"{e.acceptance:10.3f} {e.step:7.4g} {e.sweeps:7d} {e.equilibrium:>18}  {e.verdict}"
            )
        print(f"content sha256 {digest.hexdigest()}")
