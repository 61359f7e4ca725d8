"""From scores and observables of every suite to summary.json."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.system import System
from lj_vae_hpc.evaluation.ceilings import log_normal_density, relative_free_energies
from lj_vae_hpc.evaluation.metrics import auroc, detection_metrics
from lj_vae_hpc.evaluation.scores import SCORES
from lj_vae_hpc.evaluation.suites import NORMAL, SOFT, UNIFORM, soft_system, unseen_name
from lj_vae_hpc.physics.energies import height_sum, pair_distances_squared, pair_energy

Arrays = dict[str, NDArray[Any]]


def observables(positions: NDArray[np.float32], system: System) -> Arrays:
    """What the best possible detectors look at, each (n,) float64, for positions (n, N, 2) in σ.

    pair_energy under the system's potential and soft_energy under the soft one, in ε; height_sum Σ y and
    smallest_distance, in σ.
    """
    return {
        "pair_energy": pair_energy(positions, system.pair_potential),
        "soft_energy": pair_energy(positions, soft_system(system).pair_potential),
        "height_sum": height_sum(positions),
        "smallest_distance": np.sqrt(pair_distances_squared(positions).min(axis=1)),
    }


def summarize(results: dict[str, Arrays], config: RunConfig) -> dict[str, Any]:
    """The content of summary.json.

    Args:
        results: for the normal configurations and each suite the scores and observables; `gamma` for the normal ones.
        config: the run's configuration.
    """
    normal = results[NORMAL]
    gammas, temperature = config.sampling.gamma_values, config.system.temperature
    which = np.array([gammas.index(g) for g in normal["gamma"]])
    log_z = relative_free_energies(normal["height_sum"], which, gammas, temperature)
    unseen = {unseen_name(gamma): gamma for gamma in config.evaluation.unseen_gammas}

    def log_normal(r: Arrays) -> NDArray[np.float64]:
        return log_normal_density(r["pair_energy"], r["height_sum"], gammas, log_z, temperature)

    def log_anomalous(name: str, r: Arrays) -> NDArray[np.float64]:
        """Log-density of a suite up to a constant."""
        if name == UNIFORM:
            return np.zeros(len(r["row"]))
        pair, gamma = ("soft_energy", config.evaluation.soft_gamma) if name == SOFT else ("pair_energy", unseen[name])
        return np.asarray(-(r[pair] + gamma * r["height_sum"]) / temperature)

    suites: dict[str, Any] = {}
    for name, result in results.items():
        if name == NORMAL:
            continue
        corrupted = name in config.evaluation.corruptions
        if corrupted:  # not a Boltzmann distribution
            by_energy = auroc(-log_normal(normal), -log_normal(result))[0]
            by_distance = auroc(-normal["smallest_distance"], -result["smallest_distance"])[0]
            ceiling, kind = max(by_energy, by_distance), "at least: energy or smallest distance alone"
        else:
            of_normal, of_anomalous = (log_anomalous(name, r) - log_normal(r) for r in (normal, result))
            ceiling, kind = auroc(of_normal, of_anomalous)[0], "likelihood ratio"
        suites[name] = {
            "configurations": len(result["row"]),
            "ceiling": ceiling,
            "ceiling_kind": kind,
            "scores": {score: detection_metrics(normal[score], result[score], corrupted) for score in SCORES},
        }
    mean = {s: float(np.mean([suite["scores"][s]["auroc"] for suite in suites.values()])) for s in SCORES}
    return {
        "suites": suites,
        "best_score": max(mean, key=mean.__getitem__),
        "best_score_rule": "largest AUROC averaged over the suites; descriptive, chosen after the fact",
        "mean_auroc": mean,
        "normal_configurations": len(normal["row"]),
        "protocol": config.sampling.protocol,
        "log_z": {f"{gamma:g}": float(z - log_z[0]) for gamma, z in zip(gammas, log_z, strict=True)},
    }
