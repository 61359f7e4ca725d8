"""Scores the test split and every anomaly suite, divided over ranks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from lj_vae_hpc.config import Corruption, RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.scores import SCORES, Scorer
from lj_vae_hpc.evaluation.suites import NORMAL, Suite, corrupt, sampled_plans
from lj_vae_hpc.evaluation.summary import observables, summarize
from lj_vae_hpc.model.convolution import warm_up
from lj_vae_hpc.model.vae import VAE
from lj_vae_hpc.parallel import World
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.representation.batches import Splits
from lj_vae_hpc.representation.distances import distance_matrix, matrix_side
from lj_vae_hpc.stages.generate import sample
from lj_vae_hpc.stages.rundir import RunDir, write_text
from lj_vae_hpc.stages.train import best_weights, check_data
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.schema import SCHEMA_VERSION
from lj_vae_hpc.training import checkpoint
from lj_vae_hpc.training.hardware import choose_device

BLOCK = 1024
Arrays = dict[str, NDArray[Any]]


def evaluate(world: World, run: RunDir, config: RunConfig) -> None:
    """The command: writes evaluation/scores.h5 and evaluation/summary.json.

    Raises:
        UserError: no data set, no trained weights, or weights of another architecture.
    """
    world.on_root(lambda: check_data(run, config, 1))
    module = load_model(world, run, config)
    for name, plan in sampled_plans(config).items():
        sample(world, plan, run.evaluation / "suites" / name, config, f"suite {name}")
    with Dataset(run.data, check_segments=False) as data:
        splits = Splits.of(data.rows, len(config.sampling.gamma_values), config.training)
        scorer = fitted_scorer(world, module, config, data, splits.training)
        suites = _suites(config, run, data, splits.test)
        results = {}
        with Progress("scoring", sum(s.rows for s in suites), "configurations", world.is_root) as progress:
            for suite in suites:
                results[suite.name] = _score(world, suite, scorer, config, progress.advance)
        examples = _examples(scorer, suites) if world.is_root else {}
        results[NORMAL]["gamma"] = data.read(splits.test, ("gamma",))["gamma"]

    def finish() -> None:
        summary = summarize(results, config)
        _write_scores(run.evaluation / "scores.h5", results | examples)
        write_text(run.evaluation / "summary.json", json.dumps(summary, indent=1))
        _print(summary)

    world.on_root(finish)


def load_model(world: World, run: RunDir, config: RunConfig) -> VAE:
    """The network with its best weights, on this rank's device."""
    torch.set_num_threads(world.threads_per_rank())
    world.node_by_node(warm_up)
    device = choose_device(config.training, world.local_rank, world.local_size)
    module = VAE(matrix_side(config.system.n_particles, config.representation), config.model)
    path = best_weights(run)
    tensors, _ = world.on_root(lambda: checkpoint.load(path))
    world.on_root(lambda: checkpoint.restore(tensors, module, None, path))
    checkpoint.restore(tensors, module, None, path)
    module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


def fitted_scorer(world: World, module: VAE, config: RunConfig, data: Dataset, training: range) -> Scorer:
    """The scorer, with mean and covariance of the latent means of the training split summed over ranks."""

    def encode(positions: torch.Tensor) -> torch.Tensor:
        return distance_matrix(positions, config.system.box_side, config.representation)

    bare = Scorer(module, encode, config.objective)
    d = module.latent_dim
    sums = np.zeros((d + 1, d + 1))
    share = world.shard(len(training))
    for _, block in data.blocks(training[share.start : share.stop], ("positions",)):
        z = bare.latent_means(np.asarray(block["positions"], np.float32))
        z = np.c_[z, np.ones(len(z))]
        sums += z.T @ z
    sums = world.sum(sums)
    mean = sums[:d, d] / sums[d, d]
    return Scorer(module, encode, config.objective, mean, sums[:d, :d] / sums[d, d] - np.outer(mean, mean))


def score_file(world: World, run: RunDir, config: RunConfig, path: Path, target: Path) -> None:
    """The command: scores every configuration of a data set with the trained model, into one HDF5 file.

    Raises:
        UserError: the data set cannot be read, or holds another number of particles than the model was trained on.
    """
    world.on_root(lambda: check_data(run, config, 1))

    def check() -> None:
        with Dataset(path) as foreign:
            if foreign.n_particles != config.system.n_particles:
                raise UserError(
                    f"{path} holds configurations of {foreign.n_particles} particles, the model in {run.path} was "
                    f"trained on {config.system.n_particles}"
                )

    world.on_root(check)
    module = load_model(world, run, config)
    with Dataset(run.data, check_segments=False) as data, Dataset(path, check_segments=False) as foreign:
        splits = Splits.of(data.rows, len(config.sampling.gamma_values), config.training)
        scorer = fitted_scorer(world, module, config, data, splits.training)
        with Progress("scoring", foreign.rows, "configurations", world.is_root) as progress:
            result = _score(world, Suite(path.name, foreign.rows, _reader(foreign)), scorer, config, progress.advance)
    world.on_root(lambda: _write_scores(target, {"scores": result}))
    if world.is_root:
        print(f"scores of {foreign.rows} configurations in {target}: /scores/{{{','.join(SCORES)}}}")


def _reader(source: Dataset, first: int = 0) -> Callable[[range], NDArray[np.float32]]:
    def read(rows: range) -> NDArray[np.float32]:
        part = source.read(range(first + rows.start, first + rows.stop), ("positions",))
        return np.asarray(part["positions"], np.float32)

    return read


def _suites(config: RunConfig, run: RunDir, data: Dataset, test: range) -> list[Suite]:
    normal = _reader(data, test.start)
    suites = [Suite(NORMAL, len(test), normal)]
    for name, plan in sampled_plans(config).items():
        suites.append(Suite(name, plan.rows, _reader(Dataset(run.evaluation / "suites" / name, False))))
    for k, (name, corruption) in enumerate(config.evaluation.corruptions.items()):

        def read(rows: range, k: int = k, corruption: Corruption = corruption) -> NDArray[np.float32]:
            return corrupt(normal(rows), rows, corruption, (config.seed, k))

        suites.append(Suite(name, min(len(test), config.evaluation.configurations), read))
    return suites


def _score(world: World, suite: Suite, scorer: Scorer, config: RunConfig, advance: Callable[[int], None]) -> Arrays:
    """Scores and energies of every row of a suite, on rank 0 in order; each row scored by exactly one rank."""
    mine = world.shard(suite.rows)
    parts: list[Arrays] = []
    for start in range(mine.start, mine.stop, BLOCK):
        rows = range(start, min(start + BLOCK, mine.stop))
        positions = suite.read(rows)
        parts.append(dict(scorer(positions)) | observables(positions, config.system)
                     | {"row": np.arange(rows.start, rows.stop)})  # fmt: skip
        advance(len(rows) * world.size)
    gathered = [part for rank in world.gather(parts) for part in rank]
    result = {name: np.concatenate([part[name] for part in gathered]) for name in gathered[0]}
    if not np.array_equal(result["row"], np.arange(suite.rows)):
        raise RuntimeError(f"suite {suite.name}: some configurations were not scored once and only once")
    return result


def _examples(scorer: Scorer, suites: list[Suite]) -> dict[str, Arrays]:
    """The first configuration of every suite as matrix and reconstruction, in units of L√2, for the report."""
    examples = {}
    for suite in suites:
        original, reconstruction = scorer.reconstruct(suite.read(range(1)))
        examples[f"examples/{suite.name}"] = {"original": original[0], "reconstruction": reconstruction[0]}
    return examples


def _write_scores(path: Path, results: dict[str, Arrays]) -> None:
    """One group per suite, one data set per score or observable; rank 0 calls this."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(partial, "w") as file:
            file.attrs["schema_version"] = SCHEMA_VERSION
            for name, result in results.items():
                for column, values in result.items():
                    file.create_dataset(f"{name}/{column}", data=values)
        partial.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error}") from None


def _print(summary: dict[str, Any]) -> None:
    print(f"{'AUROC':>16} {'ceiling':>8} " + " ".join(f"{score:>22}" for score in SCORES))
    for name, suite in summary["suites"].items():
        cells = [f"{s['auroc']:.3f} [{s['auroc_ci'][0]:.3f}, {s['auroc_ci'][1]:.3f}]" for s in suite["scores"].values()]
        print(f"{name:>16} {suite['ceiling']:8.3f} " + " ".join(f"{cell:>22}" for cell in cells), flush=True)
