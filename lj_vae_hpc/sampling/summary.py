"""What a data set holds of each ensemble, with the verdict on its equilibrium."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.system import System
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.physics.energies import height_sum
from lj_vae_hpc.sampling.equilibration import CHAINS, verdict
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.schema import Columns

WATCHED = ("energy", "gamma", "chain", "acceptance")


def system_of(data: Dataset) -> System:
    """The fluid that a data set was sampled from; a data set of a suite has its own, unlike its run."""
    if "system" not in data.attributes:
        raise UserError(f"{data.path} does not say which system it was sampled from")
    try:
        return System.model_validate_json(data.attributes["system"])
    except ValueError:
        raise UserError(f"cannot read {data.path}: its attribute system is damaged") from None


def check_system(data: Dataset, config: RunConfig | None) -> None:
    """Where a configuration is given, the data set must be one of its system."""
    if config and system_of(data) != config.system:
        raise UserError(f"{data.path} was sampled from another system than the configuration's: {system_of(data)}")


def watch(data: Dataset, seen: Callable[[Columns], None] = lambda block: None) -> Columns:
    """The columns that summarize needs; the whole data set is read and checked in blocks, which `seen` is shown."""
    parts: list[Columns] = []
    for _, block in data.checked_blocks():
        seen(block)
        parts.append({name: block[name] for name in WATCHED} | {"height": height_sum(block["positions"])})
    return {name: np.concatenate([part[name] for part in parts]) for name in (*WATCHED, "height")}


@dataclass(frozen=True)
class EnsembleSummary:
    """What is in a data set of one ensemble; mean and error are of U (ε) and Σy (σ)."""

    gamma: float
    count: int
    mean: NDArray[np.float64]
    error: NDArray[np.float64]
    deviation: float
    acceptance: float
    step: float
    sweeps: int
    equilibrium: str
    verdict: str


def _error(chain_means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard errors of the means over independent chains, (observables, chains)."""
    chains = chain_means.shape[1]
    return chain_means.std(axis=1, ddof=1) / np.sqrt(chains) if chains > 1 else np.full(len(chain_means), np.nan)


def summarize(
    columns: Columns, attributes: dict[str, Any], ensembles: dict[str, NDArray[Any]]
) -> Iterator[EnsembleSummary]:
    """Every ensemble of a data set, with the verdict on its equilibrium where pilots were run.

    Args:
        columns: energy, gamma, chain, acceptance and height (Σy) of every configuration.
        attributes: the data set's.
        ensembles: what is stored of each ensemble.
    """
    order = np.argsort(columns["gamma"], kind="stable")  # one look at every row, however many γ there are
    gammas, first = np.unique(columns["gamma"][order], return_index=True)
    for k, (gamma, here) in enumerate(zip(gammas, np.split(order, first[1:]), strict=True)):
        watched = np.stack([columns["energy"][here], columns["height"][here]])
        # Chains are independent, the configurations of one chain are not.
        numbers, chain, sizes = np.unique(columns["chain"][here], return_inverse=True, return_counts=True)
        chain_means = np.stack([np.bincount(chain, series) / sizes for series in watched])
        mean, error = watched.mean(axis=1), _error(chain_means)
        equilibrium, judged = "", ""
        if "pilot/mean" in ensembles:
            pilot = ensembles["pilot/mean"][k], ensembles["pilot/error"][k]
            equilibrium = f"{pilot[0][0]:.3f} ± {pilot[1][0]:.3f}"
            converged = bool(ensembles["pilot/converged"][k])
            # The pilot's own chains would be compared with themselves.
            others = (
                chain_means[:, numbers.astype(np.int64) >= CHAINS]
                if attributes["protocol"] == "equilibrated"
                else chain_means
            )
            judged = verdict(attributes["protocol"], converged, pilot, others)
        yield EnsembleSummary(
            gamma=float(gamma),
            count=len(here),
            mean=mean,
            error=error,
            deviation=float(watched[0].std()),
            acceptance=float(columns["acceptance"][here].mean()),
            step=float(ensembles["step"][k]) if "step" in ensembles else np.nan,
            sweeps=int(ensembles["sweeps"][k]) if "sweeps" in ensembles else 0,
            equilibrium=equilibrium,
            verdict=judged,
        )
