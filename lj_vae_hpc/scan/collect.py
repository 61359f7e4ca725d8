"""Collects a campaign into tidy tables, from whatever is finished of it.

The files:

    tables/ensembles.parquet, .csv        a row per ensemble, in order of γ (ENSEMBLE_COLUMNS)
    tables/thermodynamics.parquet, .csv   a row per point of the curves over γ (CURVE_COLUMNS; thermodynamics.curves)
    tables/profiles.parquet, .csv         a row per γ, quantity and bin (PROFILE_COLUMNS; profiles.profile_rows)
    tables/order.parquet, .csv            a row per model and γ: the order parameter in its latent space (ORDER_COLUMNS)
    tables/scores.parquet, .csv           a row per model, suite and score (MODEL_COLUMNS and SCORE_COLUMNS)

In units of ε and σ. `energy` is U and `height` is Σ y of a configuration; `..._error` is the standard error of a mean
from independent chains, `..._sd` the standard deviation over configurations. `rmse` is that of the validation split at
the epoch of the weights that are evaluated, in units of L√2 for distances and coordinates. `ensemble` names the folder
data/ensembles/KEY, `model` the folder models/NAME.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv, parquet

from lj_vae_hpc.config.system import System
from lj_vae_hpc.errors import COMMAND
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.run.files import publish, read_json, unfinished
from lj_vae_hpc.sampling.equilibration import NOT_EQUILIBRATED, NOT_PROVED, TOO_FEW_CHAINS
from lj_vae_hpc.sampling.production import describe
from lj_vae_hpc.sampling.summary import summarize, watch
from lj_vae_hpc.scan.campaign import Campaign
from lj_vae_hpc.scan.profiles import most_profiled, profile_rows
from lj_vae_hpc.scan.reweighting import Observed, merged, observed_of
from lj_vae_hpc.scan.tasks import ModelTask, SampleTask
from lj_vae_hpc.scan.thermodynamics import Thermodynamics, thermodynamics
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.schema import Columns
from lj_vae_hpc.store.segments import finished_segments, segment_path
from lj_vae_hpc.training.curves import read_metrics

Row = dict[str, Any]

ENSEMBLE_COLUMNS = {
    "gamma": pa.float64(), "ensemble": pa.string(), "seed": pa.uint64(), "n_particles": pa.int64(),
    "box_side": pa.float64(), "temperature": pa.float64(), "potential": pa.string(), "protocol": pa.string(),
    "configurations": pa.int64(), "energy_mean": pa.float64(), "energy_error": pa.float64(), "energy_sd": pa.float64(),
    "height_sum_mean": pa.float64(), "height_sum_error": pa.float64(), "height_sum_sd": pa.float64(),
    "acceptance": pa.float64(), "step": pa.float64(), "sweeps": pa.int64(), "converged": pa.bool_(),
    "rhat": pa.float64(), "tau": pa.float64(),
    "verdict": pa.string(),
}  # fmt: skip
MODEL_COLUMNS = {
    "model": pa.string(), "label": pa.string(), "representation": pa.string(), "encoder": pa.string(),
    "decoder": pa.string(), "latent_dim": pa.int64(), "conditional": pa.bool_(), "objective": pa.string(),
    "likelihood": pa.string(), "kl_weight": pa.float64(), "seed": pa.uint64(), "gammas": pa.int64(),
    "gamma_min": pa.float64(), "gamma_max": pa.float64(), "configurations": pa.int64(), "epochs": pa.int64(),
    "best_epoch": pa.int64(), "rmse": pa.float64(), "kl": pa.float64(), "reconstruction": pa.string(),
    "reconstruction_error": pa.float64(), "pca_error": pa.float64(), "core_seconds": pa.float64(),
}  # fmt: skip
SCORE_COLUMNS = {
    "suite": pa.string(), "anomalies": pa.int64(), "ceiling": pa.float64(), "score": pa.string(),
    "is_default": pa.bool_(), "auroc": pa.float64(), "auroc_low": pa.float64(), "auroc_high": pa.float64(),
    "average_precision": pa.float64(), "fpr_at_95_tpr": pa.float64(),
}  # fmt: skip

_ERRORS = {f"{name}{suffix}": pa.float64() for name in ("energy", "heat_capacity", "height", "free_energy")
           for suffix in ("", "_error")}  # fmt: skip
CURVE_COLUMNS = {
    "gamma": pa.float64(), "sampled": pa.bool_(), "group": pa.int64(), "effective": pa.float64(),
} | _ERRORS  # fmt: skip
PROFILE_COLUMNS = {
    "gamma": pa.float64(), "quantity": pa.string(), "x": pa.float64(), "value": pa.float64(), "error": pa.float64(),
}  # fmt: skip
ORDER_COLUMNS = {
    "model": pa.string(), "label": pa.string(), "gamma": pa.float64(), "order_mean": pa.float64(),
    "order_sd": pa.float64(), "configurations": pa.int64(),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Collected:
    """What is finished of a campaign.

    Attributes:
        ensembles: rows of ENSEMBLE_COLUMNS.
        thermodynamics: curves over γ and checks; None if nothing is sampled to equilibrium.
        left_out: γ that are not in equilibrium, or not proved to be; they are not part of the curves.
        unchecked: γ whose equilibrium nobody has looked at; they are.
        profiles, order, scores: rows of PROFILE_COLUMNS, ORDER_COLUMNS, and MODEL_COLUMNS and SCORE_COLUMNS.
    """

    ensembles: list[Row]
    thermodynamics: Thermodynamics | None
    left_out: list[float]
    unchecked: list[float]
    profiles: list[Row]
    order: list[Row]
    scores: list[Row]

    def write(self, folder: Path) -> list[Path]:
        """Writes the tables; the files."""
        curves = self.thermodynamics.rows if self.thermodynamics else []
        tables = {
            "ensembles": (self.ensembles, ENSEMBLE_COLUMNS), "thermodynamics": (curves, CURVE_COLUMNS),
            "profiles": (self.profiles, PROFILE_COLUMNS), "order": (self.order, ORDER_COLUMNS),
            "scores": (self.scores, MODEL_COLUMNS | SCORE_COLUMNS),
        }  # fmt: skip
        return [file for name, (rows, columns) in tables.items() for file in write_table(folder / name, rows, columns)]

    @property
    def text(self) -> str:
        """What the thermodynamics are made from, and the checks."""
        lines = [self.thermodynamics.text] if self.thermodynamics else []
        for what, gammas in (
            ("left out of the thermodynamics, as they are not in equilibrium or not proved to be", self.left_out),
            ("part of the thermodynamics, though nobody has looked at their equilibrium", self.unchecked),
        ):
            if gammas:
                lines.append(f"{what}: γ = {', '.join(f'{gamma:g}' for gamma in gammas)}")
        return "\n".join(lines)


def collect(campaign: Campaign) -> Collected:
    """Everything that is finished. One rank calls this."""
    samples = [task for task in campaign.samples if task.is_done()]
    models = [task for task in campaign.models if task.is_done()]
    ensembles: list[Row] = []
    observed: list[Observed] = []
    profiles: list[Row] = []
    left_out: list[float] = []
    unchecked: list[float] = []
    with Progress("reading", len(samples), "γ", True) as progress:
        for task in samples:
            row, columns, positions = read_ensemble(task)
            ensembles.append(row)
            profiles += profile_rows(row["gamma"], positions, task.ensemble.system)
            if row["verdict"] in ("", TOO_FEW_CHAINS):
                unchecked.append(row["gamma"])
            if row["verdict"] != NOT_PROVED and not row["verdict"].startswith(NOT_EQUILIBRATED):
                own = observed_of(columns, row["temperature"])
                observed.append(own.thinned(len(samples)))  # memory does not grow with the number of configurations
            else:
                left_out.append(row["gamma"])
            progress.advance(1.0)
    total = sum(row["configurations"] for row in ensembles if row["gamma"] not in left_out)
    if observed:
        print(f"thermodynamics: reweighting between {len(observed)} γ (MBAR)", flush=True)
    found = thermodynamics(merged(observed), campaign.config.system.n_particles, total) if observed else None
    order = [row for task in models for row in order_rows(task)]
    scores = [row for task in models for row in score_rows(task)]
    return Collected(ensembles, found, left_out, unchecked, profiles, order, scores)


def read_ensemble(task: SampleTask) -> tuple[Row, Columns, NDArray[np.float32]]:
    """What is known of a sampled ensemble, its columns as of `watch`, and the positions of its first configurations.

    Its segments are read in blocks.
    """
    ensemble, system = task.ensemble, task.ensemble.system
    parts: list[Columns] = []
    positions: list[NDArray[np.float32]] = []

    def keep(block: Columns) -> None:
        wanted = min(most_profiled(system), task.configurations) - sum(map(len, positions))
        positions.append(block["positions"][: max(0, wanted)].astype(np.float32))

    for rows in finished_segments(task.folder):
        with Dataset(segment_path(task.folder, rows)) as segment:
            parts.append({name: values[: max(0, task.configurations - rows.start)]
                          for name, values in watch(segment, keep).items()})  # fmt: skip
    columns: Columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    attributes, table = describe([ensemble], [task.folder], task.configurations, "")
    found = next(iter(summarize(columns, attributes, table)))
    row = {
        "gamma": ensemble.gamma, "ensemble": ensemble.key, "seed": ensemble.seed, "n_particles": system.n_particles,
        "box_side": system.box_side, "temperature": system.temperature, "potential": potential_name(system),
        "protocol": ensemble.sampling.protocol, "configurations": found.count, "energy_mean": found.mean[0],
        "energy_error": found.error[0], "energy_sd": found.deviation, "height_sum_mean": found.mean[1],
        "height_sum_error": found.error[1], "height_sum_sd": columns["height"].std(), "acceptance": found.acceptance,
        "step": found.step, "sweeps": found.sweeps, "verdict": found.verdict,
    }  # fmt: skip
    if "pilot/converged" in table:
        row |= {"converged": bool(table["pilot/converged"][0]), "rhat": table["pilot/rhat"][0].max(),
                "tau": table["pilot/tau"][0].max()}  # fmt: skip
    return row, columns, np.concatenate(positions)


def potential_name(system: System) -> str:
    """The pair potential as the configuration gives it: lennard_jones, [12, 6] or {"kind": "yukawa", ...}."""
    given = system.model_dump(mode="json")["potential"]
    return given if isinstance(given, str) else json.dumps(given)


def order_rows(task: ModelTask) -> Iterator[Row]:
    """Mean and standard deviation of the order parameter of the test split, a row per γ."""
    with h5py.File(task.run.evaluation / "scores.h5", "r") as file:
        order, gamma = file["normal/order"][:].astype(np.float64), file["normal/gamma"][:]
    for value in np.unique(gamma):
        own = order[gamma == value]
        yield {"model": task.name, "label": task.label, "gamma": value, "order_mean": own.mean(),
               "order_sd": own.std(), "configurations": len(own)}  # fmt: skip


def model_row(task: ModelTask, best_epoch: int, accuracy: Row) -> Row:
    """What is known of a model, but for its detection.

    Args:
        task: a finished one.
        best_epoch: whose weights are evaluated.
        accuracy: what the network and principal components lose, as `summary.json` has it.
    """
    config, gammas = task.config, task.config.sampling.gamma_values
    epochs = read_metrics(task.run.metrics)
    best: Row = next((epoch for epoch in epochs if epoch["epoch"] == best_epoch), {})
    return {
        "model": task.name, "label": task.label, "representation": config.representation.kind,
        "encoder": config.model.encoder, "decoder": config.model.decoder, "latent_dim": config.model.latent_dim,
        "conditional": config.model.conditional, "objective": config.objective.kind,
        "likelihood": config.objective.likelihood, "kl_weight": config.objective.kl_weight, "seed": config.seed,
        "gammas": len(gammas), "gamma_min": min(gammas), "gamma_max": max(gammas),
        "configurations": config.sampling.configurations, "epochs": len(epochs), "best_epoch": best_epoch,
        "rmse": math.sqrt(best.get("validation_mse", math.nan)), "kl": best.get("validation_kl"),
        "reconstruction": accuracy["quantity"] + f" ({accuracy['unit']})" * bool(accuracy["unit"]),
        "reconstruction_error": accuracy["network"], "pca_error": accuracy["components"],
        "core_seconds": task.finished().get("core_seconds"),
    }  # fmt: skip


def score_rows(task: ModelTask) -> Iterator[Row]:
    """A row for every suite and score of an evaluated model."""
    again = f"run `{COMMAND} evaluate -o {task.run.path}` again"
    summary = read_json(task.run.evaluation / "summary.json", again)
    model = model_row(task, summary["weights"]["epoch"], summary["accuracy"])
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
