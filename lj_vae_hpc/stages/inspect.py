"""Prints what is inside a data set, and verifies it."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config import RunConfig, System
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel import World
from lj_vae_hpc.physics.energies import height_sum, total_energy
from lj_vae_hpc.sampling.equilibration import verdict
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.schema import COLUMNS, Columns
from lj_vae_hpc.store.verifier import damage, row_digest

WATCHED = ("energy", "gamma", "ensemble", "chain", "acceptance")


def inspect(world: World, path: Path, config: RunConfig | None = None) -> None:
    """The command: per ensemble the number of configurations, γ, energy and acceptance; and a digest of the content."""
    world.on_root(lambda: _inspect(path, config))


def verify(world: World, path: Path, config: RunConfig | None = None) -> None:
    """The command: recomputes checksums and energies of every segment, divided over ranks.

    Raises:
        UserError: names each damaged segment.
    """

    def segments() -> tuple[list[tuple[Path, int | None]], System, int, str]:
        with Dataset(path, check_segments=False) as data:
            check_system(data, config)
            if not data.segments():
                raise UserError(f"{data.path} is a segment or has none; give its dataset.h5")
            # Only in a complete data set is a segment's place in the index that of its rows.
            places = [(p, first if data.attributes["complete"] else None) for p, first in data.segments().items()]
            return places, system_of(data), data.rows, data.attributes["fingerprint"]

    places, system, rows, fingerprint = world.on_root(segments)

    def energy(columns: Columns) -> NDArray[np.float64]:
        return total_energy(columns["positions"], columns["gamma"], system.mie)

    share = world.shard(len(places))
    mine = places[share.start : share.stop]
    found = [(p, problem) for p, first in mine if (problem := damage(p, energy, fingerprint, first))]

    def judge(problems: list[tuple[Path, str]]) -> None:
        if problems:
            raise UserError(
                "\n".join(f"damaged segment {p}: {problem}" for p, problem in problems)
                + "\ndelete the damaged segments and give `lj-vae generate` again: only they are redone"
            )
        print(f"verified: {rows} configurations in {len(places)} segments, checksums and energies agree")

    everything = [problem for rank in world.gather(found) for problem in rank]
    world.on_root(lambda: judge(everything))


def system_of(data: Dataset) -> System:
    """The fluid that a data set was sampled from; a data set of a suite has its own, unlike its run."""
    if "system" not in data.attributes:
        raise UserError(f"{data.path} does not tell its system: give the dataset.h5 of a data set")
    return System.model_validate_json(data.attributes["system"])


def check_system(data: Dataset, config: RunConfig | None) -> None:
    """Where a configuration is given, the data set must be one of its system."""
    if config and system_of(data) != config.system:
        raise UserError(f"{data.path} was sampled from another system than the configuration's: {system_of(data)}")


def _inspect(path: Path, config: RunConfig | None) -> None:
    with Dataset(path) as data:
        check_system(data, config)
        a = data.attributes
        print(f"{data.path}: {data.rows} of {a.get('total_rows', data.rows)} configurations, N = {data.n_particles}")
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


def watch(data: Dataset, seen: Callable[[Columns], None] = lambda block: None) -> Columns:
    """The columns that summarize needs; the whole data set is read in blocks, which `seen` is shown."""
    parts: list[Columns] = []
    for _, block in data.blocks(range(data.rows), tuple(COLUMNS)):
        seen(block)
        parts.append({name: block[name] for name in WATCHED} | {"height": height_sum(block["positions"])})
    return {name: np.concatenate([part[name] for part in parts]) for name in (*WATCHED, "height")}


@dataclass(frozen=True)
class Ensemble:
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


def summarize(columns: Columns, attributes: dict[str, Any], ensembles: dict[str, NDArray[Any]]) -> Iterator[Ensemble]:
    """Every ensemble of a data set, with the verdict on its equilibrium where pilots were run.

    Args:
        columns: energy, gamma, ensemble, chain, acceptance and height (Σy) of every configuration.
        attributes: the data set's.
        ensembles: what is stored of each ensemble.
    """
    first = columns["ensemble"].min() if len(columns["ensemble"]) else 0
    for number in np.unique(columns["ensemble"]):
        k, here = int(number - first), columns["ensemble"] == number
        watched = np.stack([columns["energy"][here], columns["height"][here]])
        # Chains are independent, the configurations of one chain are not.
        _, chain, sizes = np.unique(columns["chain"][here], return_inverse=True, return_counts=True)
        chain_means = np.stack([np.bincount(chain, series) / sizes for series in watched])
        mean = watched.mean(axis=1)
        error = chain_means.std(axis=1, ddof=1) / np.sqrt(len(sizes)) if len(sizes) > 1 else np.full(2, np.nan)
        equilibrium, judged = "", ""
        if "pilot/mean" in ensembles:
            pilot = ensembles["pilot/mean"][k], ensembles["pilot/error"][k]
            equilibrium = f"{pilot[0][0]:.3f} ± {pilot[1][0]:.3f}"
            converged = bool(ensembles["pilot/converged"][k])
            judged = verdict(attributes["protocol"], converged, pilot, (mean, error), len(sizes))
        yield Ensemble(
            gamma=float(columns["gamma"][here][0]),
            count=int(here.sum()),
            mean=mean,
            error=error,
            deviation=float(watched[0].std()),
            acceptance=float(columns["acceptance"][here].mean()),
            step=float(ensembles["step"][k]) if "step" in ensembles else np.nan,
            sweeps=int(ensembles["sweeps"][k]) if "sweeps" in ensembles else 0,
            equilibrium=equilibrium,
            verdict=judged,
        )
