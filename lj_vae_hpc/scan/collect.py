"""Collects a campaign into two tidy tables, from whatever is finished of it.

The files:

    tables/ensembles.parquet, .csv   a row per ensemble, in order of γ (ENSEMBLE_COLUMNS)
    tables/scores.parquet, .csv      a row per model, suite and score (MODEL_COLUMNS and SCORE_COLUMNS)

In units of ε and σ. `energy` is U and `height` is Σ y of a configuration; `..._error` is the standard error of a mean
from independent chains, `..._sd` the standard deviation over configurations. `rmse` is that of the validation split at
the epoch of the weights that are evaluated, in units of L√2 for distances and coordinates. `ensemble` names the folder
data/ensembles/KEY, `model` the folder models/NAME.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from lj_vae_hpc.run.files import publish, unfinished
from lj_vae_hpc.sampling.production import describe
from lj_vae_hpc.sampling.summary import summarize, watch
from lj_vae_hpc.scan.campaign import Campaign
from lj_vae_hpc.scan.tasks import ModelTask, SampleTask
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.segments import finished_segments, segment_path

Row = dict[str, Any]

ENSEMBLE_COLUMNS = {
    "gamma": pa.float64(), "ensemble": pa.string(), "seed": pa.uint64(), "n_particles": pa.int64(),
    "box_side": pa.float64(), "temperature": pa.float64(), "potential": pa.string(), "protocol": pa.string(),
    "configurations": pa.int64(), "energy_mean": pa.float64(), "energy_error": pa.float64(), "energy_sd": pa.float64(),
    "height_mean": pa.float64(), "height_error": pa.float64(), "height_sd": pa.float64(), "acceptance": pa.float64(),
    "step": pa.float64(), "sweeps": pa.int64(), "converged": pa.bool_(), "rhat": pa.float64(), "tau": pa.float64(),
    "verdict": pa.string(),
}  # fmt: skip
MODEL_COLUMNS = {
    "model": pa.string(), "label": pa.string(), "representation": pa.string(), "encoder": pa.string(),
    "decoder": pa.string(), "latent_dim": pa.int64(), "conditional": pa.bool_(), "objective": pa.string(),
    "likelihood": pa.string(), "kl_weight": pa.float64(), "seed": pa.uint64(), "gammas": pa.int64(),
    "gamma_min": pa.float64(), "gamma_max": pa.float64(), "configurations": pa.int64(), "epochs": pa.int64(),
    "best_epoch": pa.int64(), "rmse": pa.float64(), "kl": pa.float64(), "core_seconds": pa.float64(),
}  # fmt: skip
SCORE_COLUMNS = {
    "suite": pa.string(), "anomalies": pa.int64(), "ceiling": pa.float64(), "score": pa.string(),
    "is_default": pa.bool_(), "auroc": pa.float64(), "auroc_low": pa.float64(), "auroc_high": pa.float64(),
    "average_precision": pa.float64(), "fpr_at_95_tpr": pa.float64(),
}  # fmt: skip


def collect(campaign: Campaign) -> list[Path]:
    """Writes both tables; the files. One rank calls this."""
    samples = [task for task in campaign.samples if task.is_done()]
    models = [task for task in campaign.models if task.is_done()]
    ensembles = write_table(campaign.tables / "ensembles", map(ensemble_row, samples), ENSEMBLE_COLUMNS)
    rows = (row for task in models for row in score_rows(task))
    return [*ensembles, *write_table(campaign.tables / "scores", rows, MODEL_COLUMNS | SCORE_COLUMNS)]


def ensemble_row(task: SampleTask) -> Row:
    """What is known of a sampled ensemble. Its segments are read in blocks."""
    ensemble, system = task.ensemble, task.ensemble.system
    parts = []
    for rows in finished_segments(task.folder):
        with Dataset(segment_path(task.folder, rows)) as segment:
            parts.append({name: values[: max(0, task.configurations - rows.start)]
                          for name, values in watch(segment).items()})  # fmt: skip
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    attributes, table = describe([ensemble], [task.folder], task.configurations, "")
    found = next(iter(summarize(columns, attributes, table)))
    row = {
        "gamma": ensemble.gamma, "ensemble": ensemble.key, "seed": ensemble.seed, "n_particles": system.n_particles,
        "box_side": system.box_side, "temperature": system.temperature, "potential": repr(system.pair_potential),
        "protocol": ensemble.sampling.protocol, "configurations": found.count, "energy_mean": found.mean[0],
        "energy_error": found.error[0], "energy_sd": found.deviation, "height_mean": found.mean[1],
        "height_error": found.error[1], "height_sd": columns["height"].std(), "acceptance": found.acceptance,
        "step": found.step, "sweeps": found.sweeps, "verdict": found.verdict,
    }  # fmt: skip
    if "pilot/converged" in table:
        row |= {"converged": bool(table["pilot/converged"][0]), "rhat": table["pilot/rhat"][0].max(),
                "tau": table["pilot/tau"][0].max()}  # fmt: skip
    return row


def model_row(task: ModelTask, best_epoch: int) -> Row:
    """What is known of a model, but for its detection."""
    config, gammas = task.config, task.config.sampling.gamma_values
    epochs = [json.loads(line) for line in task.run.metrics.read_text(encoding="utf-8").splitlines()]
    best: Row = next((epoch for epoch in epochs if epoch["epoch"] == best_epoch), {})
    return {
        "model": task.name, "label": task.label, "representation": config.representation.kind,
        "encoder": config.model.encoder, "decoder": config.model.decoder, "latent_dim": config.model.latent_dim,
        "conditional": config.model.conditional, "objective": config.objective.kind,
        "likelihood": config.objective.likelihood, "kl_weight": config.objective.kl_weight, "seed": config.seed,
        "gammas": len(gammas), "gamma_min": min(gammas), "gamma_max": max(gammas),
        "configurations": config.sampling.configurations, "epochs": len(epochs), "best_epoch": best_epoch,
        "rmse": math.sqrt(best.get("validation_mse", math.nan)), "kl": best.get("validation_kl"),
        "core_seconds": task.finished().get("core_seconds"),
    }  # fmt: skip


def score_rows(task: ModelTask) -> Iterator[Row]:
    """A row for every suite and score of an evaluated model."""
    summary = json.loads((task.run.evaluation / "summary.json").read_text(encoding="utf-8"))
    model = model_row(task, summary["weights"]["epoch"])
    for suite, found in summary["suites"].items():
        for score, measured in found["scores"].items():
            low, high = measured["auroc_ci"]
            yield model | {
                "suite": suite, "anomalies": found["configurations"], "ceiling": found["ceiling"], "score": score,
                "is_default": score == summary["default_score"], "auroc": measured["auroc"], "auroc_low": low,
                "auroc_high": high, "average_precision": measured["average_precision"],
                "fpr_at_95_tpr": measured["fpr_at_95_tpr"],
            }  # fmt: skip


def write_table(path: Path, rows: Iterator[Row] | Sequence[Row], columns: dict[str, pa.DataType]) -> list[Path]:
    """Writes a table as path.parquet and path.csv, each of which appears when complete; the files.

    Args:
        path: without a suffix.
        rows: a dictionary each; what one does not have is empty.
        columns: names and types.
    """
    table = pa.Table.from_pylist(list(rows), schema=pa.schema(list(columns.items())))
    path.parent.mkdir(parents=True, exist_ok=True)
    writers: dict[str, Callable[[pa.Table, Path], None]] = {".parquet": parquet.write_table, ".csv": csv.write_csv}
    files = []
    for suffix, write in writers.items():
        target = path.with_name(path.name + suffix)
        partial = unfinished(target)
        write(table, partial)
        publish(partial, target)
        files.append(target)
    return files
