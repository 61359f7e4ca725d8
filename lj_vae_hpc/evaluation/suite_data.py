"""What is sampled for the suites of a run: what is missing, and not what the run that holds the data has already."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import Stopped
from lj_vae_hpc.evaluation.suites.base import Suite
from lj_vae_hpc.evaluation.suites.registry import configurations_each
from lj_vae_hpc.run.files import point
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.sampling.production import assemble, lacks, produce
from lj_vae_hpc.store.reader import Dataset

if TYPE_CHECKING:
    from lj_vae_hpc.parallel.world import World


def suite_file(run: RunDir, suite: Suite) -> Path:
    """The configurations that were sampled for a suite."""
    return run.evaluation / "suites" / f"{suite.name}.h5"


def with_seed_of_data(run: RunDir, config: RunConfig) -> RunConfig:
    """The configuration that suites follow from: models of any seed on the same data have the same anomalies."""
    with Dataset(run.dataset) as data:
        return config.model_copy(update={"seed": int(data.attributes["seed"])})


def sample_suites(world: "World", run: RunDir, config: RunConfig, suites: Sequence[Suite]) -> None:
    """Samples what is missing of the suites' ensembles, and writes the file of each.

    Raises:
        UserError: as of produce and assemble.
        Stopped: a signal or deadline came; finished segments are kept.
    """
    store = ensemble_store(run)
    counts = {suite: configurations_each(suite, config) for suite in suites if suite.ensembles}
    world.on_root(partial(_share, run, counts))
    missing = False
    for count in dict.fromkeys(counts.values()):
        alike = [suite for suite in counts if counts[suite] == count]
        names = world.on_root(partial(_lacking, alike, count, store))
        if world.is_root and len(names) > 1:
            print(f"evaluation: sampling the suites {', '.join(names)}", flush=True)
        different = {ensemble.key: ensemble for suite in alike for ensemble in suite.ensembles}
        label = f"suite {names[0]}" if len(names) == 1 else "suites"
        missing |= produce(world, list(different.values()), count, store, label)
    for suite, count in counts.items():
        assemble(world, suite.ensembles, count, store, suite_file(run, suite))
    if missing and world.should_stop():
        raise Stopped(f"the suites are sampled in {run.evaluation}")


def ensemble_store(run: RunDir) -> Path:
    """The segments and pilots of each ensemble that suites are made of."""
    return run.evaluation / "ensembles"


def _lacking(suites: Sequence[Suite], count: int, store: Path) -> list[str]:
    """The names of suites of which something has to be sampled, `count` configurations of each ensemble."""
    return [
        suite.name
        for suite in suites
        if any(lacks(ensemble, count, store / ensemble.key) for ensemble in suite.ensembles)
    ]


def _share(run: RunDir, counts: dict[Suite, int]) -> None:
    """Makes links to ensembles that were sampled for the suites of the run that holds the data, which is only read.

    A link to one that does not hold enough (any more) is removed, so that nothing is ever sampled into another run.

    Args:
        run: the run.
        counts: configurations of each ensemble, by suite.
    """
    store, owner = ensemble_store(run), run.data_owner
    if store.is_symlink():  # the models of a campaign share a store as a whole
        return
    fewest_first = sorted(counts.items(), key=lambda one: one[1])
    wanted = {ensemble.key: (ensemble, count) for suite, count in fewest_first for ensemble in suite.ensembles}
    lacking = [key for key, (ensemble, count) in wanted.items() if lacks(ensemble, count, store / key)]
    for key in lacking:
        if (store / key).is_symlink():
            (store / key).unlink()
    if owner is None:
        return
    theirs = ensemble_store(owner)
    found = [key for key in lacking if not (store / key).exists() and not lacks(*wanted[key], theirs / key)]
    for key in found:
        store.mkdir(parents=True, exist_ok=True)
        point(store / key, theirs / key)
    if found:
        names = [suite.name for suite in counts if all((store / one.key).is_symlink() for one in suite.ensembles)]
        print(f"evaluation: {owner.path} has sampled {', '.join(names)}; they are read there", flush=True)
