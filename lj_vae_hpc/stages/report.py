"""Writes the page from what the other stages left in the run's folder."""

import json
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.system import System
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.summary import TABLE
from lj_vae_hpc.evaluation.weights import best_weights, digest
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.report import figures, studies
from lj_vae_hpc.report.page import Section, render
from lj_vae_hpc.run.files import write_text
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.sampling.summary import summarize, watch
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.schema import Columns

IMAGES = {
    "coordinates": "distances between its particles in order, in units of L√2",
    "distance_matrix": "distances between its particles in order, in units of L√2",
    "occupancy_grid": "particles per cell",
    "local_environment": "a row for what each of its particles sees",
}

MOST_EXAMPLES = 6  # suites whose first configuration is shown


def report(world: World, run: RunDir, config: RunConfig) -> None:
    """The command: writes report/index.html. One rank works.

    Raises:
        UserError: an earlier stage has not been run.
    """

    def write() -> None:
        try:
            page = _page(run, config)
        except (json.JSONDecodeError, KeyError, OSError) as error:
            message = f"cannot read the results in {run.path} ({error!r:.100}); run `lj-vae evaluate` again"
            raise UserError(message) from None
        write_text(run.report, page)
        print(f"report: open {run.report} in a browser", flush=True)

    world.on_root(write)


def _page(run: RunDir, config: RunConfig) -> str:
    needed = {
        run.metrics: "train",
        run.evaluation / "summary.json": "evaluate",
        run.evaluation / "scores.h5": "evaluate",
    }
    for path, command in needed.items():
        if not path.exists():
            raise UserError(f"{path} does not exist; run `lj-vae {command} -o {run.path}` first")
    history = [json.loads(line) for line in run.metrics.read_text(encoding="utf-8").splitlines()]
    summary = json.loads((run.evaluation / "summary.json").read_text(encoding="utf-8"))
    warning = _outdated(run, summary)
    if warning:
        print(f"report: warning: {warning}", flush=True)
    with Dataset(run.dataset) as data:
        columns, ensembles, attributes, rows = watch(data), data.ensembles(), data.attributes, data.rows
    with h5py.File(run.evaluation / "scores.h5", "r") as file:
        names = [name for name in TABLE if name in summary["mean_auroc"]]
        normal = {name: file[f"normal/{name}"][:] for name in names}
        told = [suite for suite in summary["suites"] if "claim" not in file[suite]]
        scores = {suite: {name: file[f"{suite}/{name}"][:] for name in names} for suite in told}
        latent, gamma = file["normal/latent_mean"][:], file["normal/gamma"][:]
        examples = {n: (g["original"][:], g["reconstruction"][:]) for n, g in file["examples"].items()}
        unit = config.system.box_side * 2**0.5
        points = {n: (unit * g["points"][:], unit * g["reconstructed_points"][:])
                  for n, g in file["examples"].items() if "points" in g}  # fmt: skip
    ordered = dict(list(examples.items())[:MOST_EXAMPLES])
    energy, gammas = np.asarray(columns["energy"], float), np.asarray(columns["gamma"], float)
    published = config.system == System()
    sections = [
        *_severity(summary, config),
        Section(
            "What the scores have learned of the physics",
            "The conditional model of one particle given the others is fitted to positions alone: no energy, no "
            "potential and no temperature. Its pair function times T is the pair potential, its slope times T is γ.",
            figures.learned_physics(summary["learned_physics"]),
        ),
        Section("ROC curves", "The default score, its parts and two classical scores.",
                figures.roc_curves(scores, normal)),
        Section("Training", "Averages over each epoch.", figures.loss_curves(history)),
        Section(
            "Energies", "Total energy of all sampled configurations; the bar is the mean with its standard error."
            + (" The published protocol stops before equilibrium, so an equilibrated sample lies lower."
               if published and config.sampling.protocol != "reference" else ""),
            figures.energy_histograms(energy, gammas, published),
        ),
        *_equilibrium(columns, attributes, ensembles),
        *studies.sections(_studies(run), config.system.box_side),
        Section("Latent space", "Principal components of the latent means of the test split.",
                figures.latent_map(latent, gamma)),
        Section("Reconstructions", f"The first configuration of some suites: {IMAGES[config.representation.kind]}.",
                figures.configurations({n: points[n] for n in ordered if n in points}, config.system.box_side)
                + figures.matrices(ordered)),
    ]  # fmt: skip
    best, s = summary["default_score"], config.system
    swept = np.unique(ensembles.get("sweeps", []))
    facts = {
        "configurations": f"{rows:,} at {len(config.sampling.gamma_values)} values of γ",
        "system": f"N = {s.n_particles}, L = {s.box_side:g} σ, T = {s.temperature:g} ε",
        "protocol": config.sampling.protocol + (f", {swept[0]:,} to {swept[-1]:,} sweeps" if len(swept) else ""),
        "model": f"{config.representation.kind.replace('_', ' ')}, {config.model.encoder} to {config.model.decoder}, "
        f"latent dimension {config.model.latent_dim}",
        "weights": f"of epoch {summary['weights']['epoch']} of {len(history)}",
        "test error": f"RMSE {np.mean(normal['rmse']):.4f}" + " (units of L√2)" * config.representation.has_positions,
        "default score": f"{best.replace('_', ' ')}, mean AUROC {summary['mean_auroc'][best]:.3f}",
    }
    return render(run.path.resolve().name, facts, summary, names, sections, config.to_yaml(), warning)


def _studies(run: RunDir) -> dict[str, Any]:
    """The content of studies.json, if there is any."""
    path = run.evaluation / "studies.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def _severity(summary: dict[str, Any], config: RunConfig) -> Iterator[Section]:
    """How detection depends on how many particles are moved how far; nothing where no suite moves any."""
    ladder: dict[int, list[tuple[float, float, float, float, float]]] = {}
    for name, corruption in config.evaluation.corruptions.items():
        if name in summary["suites"] and corruption.amplitude is not None and corruption.keep_in_box:
            suite = summary["suites"][name]
            found = suite["scores"][summary["default_score"]]
            row = (corruption.amplitude, found["auroc"], *found["auroc_ci"], suite["ceiling"])
            ladder.setdefault(corruption.particles, []).append(row)
    if ladder:
        yield Section(
            "Severity", "The default score on configurations with some particles moved within the box, with 95 % "
            "intervals. A dash is what energy or the smallest distance alone reach.", figures.severity(ladder),
        )  # fmt: skip


def _outdated(run: RunDir, summary: dict[str, Any]) -> str | None:
    """What to say where the evaluation is not that of the weights that are there."""
    weights = best_weights(run)
    if weights.exists() and digest(weights) == summary["weights"]["sha256"]:
        return None
    return (
        f"the scores are older than the weights {weights}; run `lj-vae evaluate -o {run.path}` and then "
        "`lj-vae report` again"
    )


def _equilibrium(columns: Columns, attributes: dict[str, Any], ensembles: dict[str, NDArray[Any]]) -> Iterator[Section]:
    """How the pilots relaxed, and the verdict on every ensemble; nothing where no pilots were run."""
    if "pilot/mean" not in ensembles:
        return
    head = ("γ", "verdict", "burn-in", "sweeps", "R-hat", "τ", "pilot ESS", "pilot's mean U (ε)",
            "data's mean U (ε)")  # fmt: skip
    body = [
        (
            f"{e.gamma:g}", e.verdict, f"{ensembles['pilot/burn_in'][k]:,}", f"{e.sweeps:,}",
            f"{ensembles['pilot/rhat'][k].max():.4f}", f"{ensembles['pilot/tau'][k].max():.0f}",
            f"{ensembles['pilot/ess'][k].min():,.0f}", e.equilibrium, f"{e.mean[0]:.3f} ± {e.error[0]:.3f}",
        )
        for k, e in enumerate(summarize(columns, attributes, ensembles))
    ]  # fmt: skip
    yield Section(
        "Equilibrium",
        "Pilot chains from two opposite starts: the burn-in ends where they agree. R-hat, autocorrelation time τ and "
        "effective sample size are the worst of U, Σy and the number of close pairs; times are in sweeps.",
        figures.relaxation(ensembles),
        (head, *body),
    )
