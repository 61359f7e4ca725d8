"""Prints what is inside a data set, and verifies it."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.system import System
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.physics.energies import total_energy
from lj_vae_hpc.sampling.summary import summarize, watch
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.schema import Columns
from lj_vae_hpc.store.verifier import find_damage, row_digest


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
        return total_energy(columns["positions"], columns["gamma"], system.pair_potential)

    share = world.shard(len(places))
    mine = places[share.start : share.stop]
    found = [(p, problem) for p, first in mine if (problem := find_damage(p, energy, fingerprint, first))]

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
