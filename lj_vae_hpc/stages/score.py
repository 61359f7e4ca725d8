"""Scores configurations with a trained network, divided over ranks."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.scores import SCORES, Scorer
from lj_vae_hpc.evaluation.suites import Suite
from lj_vae_hpc.evaluation.summary import observables
from lj_vae_hpc.model.convolution import warm_up
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.stages.inspect import system_of
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.writer import write_small_hdf5
from lj_vae_hpc.training import checkpoint
from lj_vae_hpc.training.hardware import choose_device
from lj_vae_hpc.training.network import Network
from lj_vae_hpc.training.setup import check_data, model_facts, reader
from lj_vae_hpc.training.splits import Splits

BLOCK, DISTANCES = 1024, 1 << 25  # at most so many configurations and so many of their distances at once
Arrays = dict[str, NDArray[Any]]


def score(world: World, run: RunDir, config: RunConfig, path: Path, target: Path) -> None:
    """The command: scores every configuration of a data set with the trained model, into one HDF5 file.

    Raises:
        UserError: the data set cannot be read, or holds another number of particles than the model was trained on.
    """
    world.on_root(lambda: check_data(run, config, 1))

    def check() -> None:
        with Dataset(path) as foreign:
            if target.exists() and not _holds_scores(target):
                raise UserError(f"--to {target} exists and holds no scores; choose another file")
            if foreign.n_particles != config.system.n_particles:
                raise UserError(
                    f"{path} holds configurations of {foreign.n_particles} particles, the model in {run.path} was "
                    f"trained on {config.system.n_particles}"
                )
            if "system" in foreign.attributes and (side := system_of(foreign).box_side) != config.system.box_side:
                raise UserError(
                    f"{path} was sampled in a box of side {side:g}, the model in {run.path} was trained on one of "
                    f"{config.system.box_side:g}: distances are scaled by it"
                )

    world.on_root(check)
    network = load_network(world, run, config)
    with Dataset(run.data, check_segments=False) as data, Dataset(path, check_segments=False) as foreign:
        splits = Splits.of(data.rows, config.sampling.turn, config.training)
        scorer = fitted_scorer(world, network, data, splits.training)
        with Progress("scoring", foreign.rows, "configurations", world.is_root) as progress:
            suite = Suite(path.name, foreign.rows, reader(foreign))
            result = score_suite(world, suite, scorer, config, progress.advance)
    world.on_root(lambda: write_scores(target, {"scores": result}))
    if world.is_root:
        print(f"scores of {foreign.rows} configurations in {target}: /scores/{{{','.join(SCORES)}}}")


def _holds_scores(path: Path) -> bool:
    try:
        with h5py.File(path) as file:
            return "scores" in file
    except OSError:
        return False


def load_network(world: World, run: RunDir, config: RunConfig) -> Network:
    """The network with its best weights, on this rank's device."""
    torch.set_num_threads(world.threads_per_rank())
    device = choose_device(config.training, world)
    network = Network.of(config)
    world.node_by_node(lambda: warm_up(network.module))
    path = run.model / "best.safetensors"
    tensors, stored = world.on_root(lambda: checkpoint.load(path))
    world.on_root(lambda: checkpoint.check_facts(stored, model_facts(config), path))
    world.on_root(lambda: checkpoint.restore(tensors, network.module, None, path))
    checkpoint.restore(tensors, network.module, None, path)
    network.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def fitted_scorer(world: World, network: Network, data: Dataset, training: range) -> Scorer:
    """The scorer, with mean and covariance of the latent means of the training split summed over ranks."""
    bare, read = Scorer(network), reader(data)
    d = network.module.latent_dim
    sums = np.zeros((d + 1, d + 1))
    share = world.shard(len(training))
    mine = training[share.start : share.stop]
    for rows in _blocks(mine, data.n_particles):
        z = bare.latent_means(read(rows))
        z = np.c_[z, np.ones(len(z))]
        sums += z.T @ z
    sums = world.sum(sums)
    mean = sums[:d, d] / sums[d, d]
    return Scorer(network, mean, sums[:d, :d] / sums[d, d] - np.outer(mean, mean))


def score_suite(
    world: World, suite: Suite, scorer: Scorer, config: RunConfig, advance: Callable[[int], None]
) -> Arrays:
    """Scores and energies of every row of a suite, in order, on rank 0; each row is scored by exactly one rank."""
    mine = world.shard(suite.rows)
    parts: list[Arrays] = []
    for rows in _blocks(mine, config.system.n_particles):
        configurations = suite.read(rows)
        parts.append(dict(scorer(configurations)) | observables(configurations.positions, config.system)
                     | {"row": np.arange(rows.start, rows.stop)})  # fmt: skip
        advance(len(rows) * world.size)
    gathered = [part for rank in world.gather_to_root(parts) for part in rank]
    if not gathered:
        return {}
    result = {name: np.concatenate([part[name] for part in gathered]) for name in gathered[0]}
    if not np.array_equal(result["row"], np.arange(suite.rows)):
        raise RuntimeError(f"suite {suite.name}: some configurations were not scored once and only once")
    return result


def _blocks(rows: range, n_particles: int) -> Iterator[range]:
    """Rows that are in memory at once."""
    size = max(1, min(BLOCK, DISTANCES // n_particles**2))
    for start in range(rows.start, rows.stop, size):
        yield range(start, min(start + size, rows.stop))


def write_scores(path: Path, results: dict[str, Arrays]) -> None:
    """One group per suite, one data set per score or observable; rank 0 calls this."""

    def fill(file: h5py.File) -> None:
        for name, result in results.items():
            for column, values in result.items():
                file.create_dataset(f"{name}/{column}", data=values)

    write_small_hdf5(path, fill)
