"""Scores the test split and every anomaly suite, divided over ranks."""

import hashlib
import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py

from lj_vae_hpc import __version__
from lj_vae_hpc.config.evaluation import Corruption
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import Stopped
from lj_vae_hpc.evaluation.scores import SCORES, Scorer
from lj_vae_hpc.evaluation.suites import NORMAL, Suite, corrupt, sampled_plans
from lj_vae_hpc.evaluation.summary import summarize
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.run.files import write_text
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.sampling.pilots import run_pilots
from lj_vae_hpc.stages.generate import placed, sample
from lj_vae_hpc.stages.score import Arrays, fitted_scorer, load_network, score_suite, write_scores
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.schema import SEGMENT_FOLDER
from lj_vae_hpc.training import checkpoint
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.setup import check_data, reader
from lj_vae_hpc.training.splits import Splits


def evaluate(world: World, run: RunDir, config: RunConfig) -> None:
    """The command: writes evaluation/scores.h5 and evaluation/summary.json; what was scored before a stop is kept.

    Raises:
        UserError: no data set, no trained weights, or weights of another architecture.
    """
    world.on_root(lambda: check_data(run, config, 1))
    network = load_network(world, run, config)
    plans = {run.evaluation / "suites" / name: placed(world, plan) for name, plan in sampled_plans(config).items()}
    missing = world.on_root(lambda: [f for f in plans if not list(f.glob(f"{SEGMENT_FOLDER}/*.h5"))])
    needed = {f: plans[f] for f in missing if plans[f].sampling.protocol == "equilibrated"}
    run_pilots(world, needed, "suites")  # of all together, since each suite has but one
    for folder, plan in plans.items():
        name = folder.name
        sampled = sample(world, plan, folder, config, f"suite {name}")
        if sampled and world.should_stop():
            raise Stopped(f"suite {name} is sampled in {run.evaluation}")
    kept = world.on_root(lambda: _folder_of_scores(run, config))
    with ExitStack() as files, Dataset(run.data, check_segments=False) as data:
        splits = Splits.of(data.rows, config.sampling.turn, config.training)
        scorer = fitted_scorer(world, network, data, splits.training)
        suites = _suites(config, run, data, splits.test, files)
        results = {}
        with Progress("scoring", sum(s.rows for s in suites), "configurations", world.is_root) as progress:
            for suite in suites:
                path = kept / f"{suite.name}.h5"
                if world.on_root(path.exists):
                    results[suite.name] = _read_scores(path, suite.name) if world.is_root else {}
                    progress.advance(suite.rows)
                    continue
                result = results[suite.name] = score_suite(world, suite, scorer, config, progress.advance)
                world.on_root(lambda p=path, r={suite.name: result}: write_scores(p, r))  # type: ignore[misc]
                if world.should_stop():
                    raise Stopped(f"{len(results)} of {len(suites)} suites are scored in {run.evaluation}")
        examples = _examples(scorer, suites) if world.is_root else {}
        if world.is_root:
            results[NORMAL]["gamma"] = data.read(splits.test, ("gamma",))["gamma"]

    def finish() -> None:
        _, weights = checkpoint.load(run.model / "best.safetensors")
        summary = summarize(results, config) | {"weights_epoch": weights["epoch"]}
        write_scores(run.evaluation / "scores.h5", results | examples)
        write_text(run.evaluation / "summary.json", json.dumps(summary, indent=1))
        shutil.rmtree(kept.parent)
        _print(summary)

    world.on_root(finish)


def _folder_of_scores(run: RunDir, config: RunConfig) -> Path:
    """Where the scores of each suite wait for the others; named after all they depend on. Others' are removed."""
    weights = (run.model / "best.safetensors").read_bytes()
    name = hashlib.sha256(weights + f"{__version__} {config.to_yaml()}".encode()).hexdigest()
    folder = run.evaluation / "unfinished" / name
    for other in folder.parent.glob("*"):
        if other != folder:
            shutil.rmtree(other)
    return folder


def _read_scores(path: Path, name: str) -> Arrays:
    """The scores of a suite, as write_scores wrote them."""
    with h5py.File(path, "r") as file:
        return {column: values[:] for column, values in file[name].items()}


def _suites(config: RunConfig, run: RunDir, data: Dataset, test: range, files: ExitStack) -> list[Suite]:
    normal = reader(data, test.start)
    suites = [Suite(NORMAL, len(test), normal)]
    for name, plan in sampled_plans(config).items():
        source = files.enter_context(Dataset(run.evaluation / "suites" / name, check_segments=False))
        suites.append(Suite(name, plan.rows, reader(source)))
    for k, (name, corruption) in enumerate(config.evaluation.corruptions.items()):

        def read(rows: range, k: int = k, corruption: Corruption = corruption) -> Configurations:
            positions, gamma = normal(rows)
            return Configurations(corrupt(positions, rows, corruption, (config.seed, k)), gamma)

        suites.append(Suite(name, min(len(test), config.evaluation.configurations), read))
    return suites


def _examples(scorer: Scorer, suites: list[Suite]) -> dict[str, Arrays]:
    """The first configuration of every suite and its reconstruction, as images and maybe as points, for the report."""
    examples = {}
    for suite in suites:
        first = suite.read(range(1))
        shown = dict(zip(("original", "reconstruction"), scorer.reconstruct(first), strict=True))
        shown |= dict(zip(("points", "reconstructed_points"), scorer.place(first) or (), strict=False))
        examples[f"examples/{suite.name}"] = {name: values[0] for name, values in shown.items()}
    return examples


def _print(summary: dict[str, Any]) -> None:
    print(f"{'AUROC':>16} {'ceiling':>8} " + " ".join(f"{score:>22}" for score in SCORES))
    for name, suite in summary["suites"].items():
        cells = [f"{s['auroc']:.3f} [{s['auroc_ci'][0]:.3f}, {s['auroc_ci'][1]:.3f}]" for s in suite["scores"].values()]
        print(f"{name:>16} {suite['ceiling']:8.3f} " + " ".join(f"{cell:>22}" for cell in cells), flush=True)
