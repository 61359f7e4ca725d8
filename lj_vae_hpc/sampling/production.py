"""Samples ensembles: what is missing of each, in segments that all ranks write together, and the file made of them."""

import shutil
from collections.abc import Sequence
from functools import partial as bind
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.base import to_yaml
from lj_vae_hpc.errors import Stopped, UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.physics.energies import total_energy
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.run.files import remove_unfinished
from lj_vae_hpc.run.space import row_bytes
from lj_vae_hpc.sampling.chains import Begun, Schedule, choose_device, sample_rows, start_numba, warm_up
from lj_vae_hpc.sampling.claims import claimed
from lj_vae_hpc.sampling.division import Task, batches, divide, divide_work
from lj_vae_hpc.sampling.ensemble import Ensemble, fingerprint
from lj_vae_hpc.sampling.equilibration import CHAINS
from lj_vae_hpc.sampling.pilot import pilot_table, schedule
from lj_vae_hpc.sampling.pilots import begun_chains, kept_pilot, needs_pilot, pilot_file, run_pilots, stored_pilot
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.schema import Columns
from lj_vae_hpc.store.segments import Together, finished_segments, missing_rows, write_segment
from lj_vae_hpc.store.writer import write_dataset


def produce(world: World, ensembles: Sequence[Ensemble], configurations: int, store: Path, label: str) -> bool:
    """Samples what is missing of some ensembles, each to the given number of configurations.

    Args:
        world: the ranks.
        ensembles: what to sample.
        configurations: of each ensemble.
        store: folder of the ensembles' segments and pilots, one folder each.
        label: of messages.

    Returns:
        Whether anything was missing.

    Raises:
        UserError: not enough disk, a folder that cannot be written, no proof of equilibrium, an ensemble that another
            process samples.
        Stopped: a signal or deadline came; finished segments are kept.
    """
    lacking = world.on_root(lambda: [k for k, e in enumerate(ensembles) if lacks(e, configurations, store / e.key)])
    if not lacking:
        return False
    with claimed(world, [ensembles[k] for k in lacking], store):
        return _produce(world, ensembles, configurations, store, label)


def lacks(ensemble: Ensemble, configurations: int, folder: Path) -> bool:
    """Whether configurations of an ensemble are missing in its folder, or its pilot; one rank calls this."""
    rows = missing_rows(finished_segments(folder), configurations)
    return bool(rows) or (has_pilot(ensemble) and needs_pilot(ensemble, folder))


def is_complete(ensemble: Ensemble, configurations: int, folder: Path) -> bool:
    """Whether every configuration is in a finished segment, and the pilot there if one belongs to them."""
    missing = missing_rows(finished_segments(folder), configurations)
    return not missing and (not has_pilot(ensemble) or pilot_file(folder).exists())


def _produce(world: World, ensembles: Sequence[Ensemble], configurations: int, store: Path, label: str) -> bool:
    folders = [store / ensemble.key for ensemble in ensembles]
    missing = world.on_root(lambda: _prepare(store, folders, ensembles, configurations))
    device = sampling_device(world, ensembles, configurations)
    wanted = [k for k, ensemble in enumerate(ensembles) if has_pilot(ensemble)]
    if not any(missing) and not world.on_root(lambda: any(needs_pilot(ensembles[k], folders[k]) for k in wanted)):
        return False
    if world.size > 1:
        start_numba()  # all at once
    for system in dict.fromkeys(ensemble.system for ensemble in ensembles):
        world.node_by_node(bind(warm_up, system, device))
    run_pilots(world, [ensembles[k] for k in wanted], [folders[k] for k in wanted], label)
    schedules = world.on_root(
        lambda: [schedule(e, stored_pilot(e, f)) for e, f in zip(ensembles, folders, strict=True)]
    )
    tasks = [
        Task(ensembles[k], folders[k], rows, schedules[k])
        for k, gaps in enumerate(missing)
        for gap in gaps
        for rows in divide(gap, ensembles[k].sampling.segment_rows, ensembles[k].samples_per_chain)
    ]
    Production(world, device, label, tasks, configurations * len(ensembles)).run()
    return True


class Production:
    """Samples segments, some at once, so that every rank has something to do.

    Args:
        world: the ranks.
        device: `cpu` or `cuda`.
        label: of messages.
        tasks: the segments.
        total: configurations in all, also those that are there already.
    """

    def __init__(self, world: World, device: str, label: str, tasks: list[Task], total: int) -> None:
        self._world, self._device, self._label, self._total = world, device, label, total
        self._batches = batches(tasks)
        self._left, self._moves = sum(len(task.rows) for task in tasks), sum(int(task.work.sum()) for task in tasks)

    def run(self) -> None:
        """Samples and writes every segment; asks after each batch whether to stop."""
        if self._world.is_root and self._left < self._total:
            print(f"{self._label}: {self._total - self._left} of {self._total} configurations are kept", flush=True)
        self._world.stop.start_piece()
        with Progress(self._label, self._moves, "trial moves", self._world.is_root) as progress:
            for batch in self._batches:
                self._run_batch(batch, progress)
                if self._left and self._world.should_stop():
                    raise Stopped(f"{self._total - self._left} of {self._total} configurations are kept")

    def _run_batch(self, batch: list[Task], progress: Progress) -> None:
        shares = divide_work(batch, self._world.rank, self._world.size)
        own = sum(task.moves_of(rows) for task, rows in zip(batch, shares, strict=True))
        scale = sum(int(task.work.sum()) for task in batch) / own if own else 0.0  # rank 0 speaks for all
        begun = self._world.on_root(lambda: [_begun(task) for task in batch])
        parts = [self._sample(*one, progress, scale) for one in zip(batch, shares, begun, strict=True)]
        for task, rows, columns in zip(batch, shares, parts, strict=True):
            attributes = {"system": task.ensemble.system.model_dump_json(), "identity": task.ensemble.identity}
            write_segment(task.folder, task.rows, rows, columns, attributes, together(self._world))
            self._left -= len(task.rows)

    def _sample(self, task: Task, rows: range, begun: Begun | None, progress: Progress, scale: float) -> Columns:
        def advance(moves: int) -> None:
            progress.advance(scale * moves)

        columns = sample_rows(task.ensemble, rows, task.schedule, self._device, advance, begun)
        columns["energy"] = total_energy(columns["positions"], task.ensemble.gamma, task.ensemble.system.pair_potential)
        return columns


def _begun(task: Task) -> Begun | None:
    """The pilot's chains, if some of the rows come from them."""
    return (
        begun_chains(task.ensemble, task.folder) if task.rows.start < CHAINS * task.ensemble.samples_per_chain else None
    )


def has_pilot(ensemble: Ensemble) -> bool:
    """Whether a pilot belongs to the ensemble: to prove equilibrium, or because the user wants to know of it."""
    return ensemble.sampling.protocol == "equilibrated" or ensemble.sampling.check_equilibrium


def sampling_device(world: World, ensembles: Sequence[Ensemble], configurations: int) -> str:
    """Where to sample, `cpu` or `cuda`, as sampling.device says.

    Raises:
        UserError: some rank finds no GPU although one is demanded.
    """
    device, problem = "cpu", None
    try:
        most = max(ensemble.system.n_particles for ensemble in ensembles)
        sampling = ensembles[0].sampling
        chains = max(min(configurations, sampling.segment_rows) // e.samples_per_chain for e in ensembles)
        device = choose_device(sampling.device, most, chains // world.size, world.local_rank)
    except UserError as error:
        problem = str(error)
    world.agree(problem)
    return device if all(other == device for other in world.gather(device)) else "cpu"


def assemble(
    world: World, ensembles: Sequence[Ensemble], configurations: int, store: Path, target: Path, content: str = ""
) -> None:
    """Writes the one file of some sampled ensembles, unless the target already is that file.

    Args:
        world: the ranks.
        ensembles: in order of γ.
        configurations: of each ensemble.
        store: as of produce.
        target: the file.
        content: a digest of imported configurations.

    Raises:
        UserError: the file cannot be written, or a segment cannot be read.
    """
    if world.on_root(lambda: holds(target, ensembles, configurations, content)):
        return
    folders = [store / ensemble.key for ensemble in ensembles]
    rows = len(ensembles) * configurations
    shard = world.shard(rows)
    attributes, table = world.on_root(lambda: describe(ensembles, folders, configurations, content))
    write_dataset(
        target, folders, configurations, ensembles[0].system.n_particles, attributes, table, shard, together(world)
    )


def together(world: World) -> Together:
    """What the ranks need to write a file together."""
    return Together(world.hdf5(), world.agree, world.on_root)


def holds(target: Path, ensembles: Sequence[Ensemble], configurations: int, content: str = "") -> bool:
    """Whether a file is the data set of these ensembles, with their pilots where there are any."""
    try:
        with Dataset(target) as data:
            same = data.attributes["fingerprint"] == fingerprint(ensembles, configurations, content)
            return same and ("pilot/mean" in data.ensembles() or not all(map(has_pilot, ensembles)))
    except (UserError, KeyError, OSError):
        return False


def describe(
    ensembles: Sequence[Ensemble], folders: Sequence[Path], configurations: int, content: str
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Attributes of a data set and what it holds of each ensemble.

    Raises:
        UserError: a pilot is gone or damaged.
    """
    first, gammas = ensembles[0], [ensemble.gamma for ensemble in ensembles]
    sampling = first.sampling.model_copy(update={"gammas": tuple(gammas), "configurations": configurations})
    described = {
        "seed": first.seed, "system": first.system.model_dump(mode="json"),
        "sampling": sampling.model_dump(mode="json", exclude=set(first.sampling.FREE) - {"gammas", "configurations"}),
    }  # fmt: skip
    attributes = {
        "config": to_yaml(described),
        "system": first.system.model_dump_json(), "protocol": first.sampling.protocol,
        "fingerprint": fingerprint(ensembles, configurations, content), "content": content,
        "seed": np.uint64(first.seed), "configurations": configurations, "samples_per_chain": first.samples_per_chain,
    }  # fmt: skip
    table: dict[str, NDArray[Any]] = {
        "gamma": np.array(gammas), "ensemble": np.array([ensemble.number for ensemble in ensembles], np.int32),
        "key": np.array([ensemble.key.encode() for ensemble in ensembles]),
    }  # fmt: skip
    if first.sampling.protocol == "imported":
        return attributes, table
    pilots = [kept_pilot(e, f) for e, f in zip(ensembles, folders, strict=True)] if has_pilot(first) else []
    how = [schedule(e, pilot) for e, pilot in zip_longest(ensembles, pilots)]
    table |= {name: np.array([getattr(one, name) for one in how]) for name in Schedule._fields}
    return attributes, table | pilot_table(pilots)


def _prepare(
    store: Path, folders: Sequence[Path], ensembles: Sequence[Ensemble], configurations: int
) -> list[list[range]]:
    """Checks everything that can be checked before any work; returns the missing rows of each ensemble."""
    missing = [missing_rows(finished_segments(folder), configurations) for folder in folders]
    try:
        for folder, gaps in zip(folders, missing, strict=True):
            folder.mkdir(parents=True, exist_ok=True)
            if gaps:  # else another process may be adding to it
                remove_unfinished(folder)
        free = shutil.disk_usage(store).free
    except OSError as error:
        raise UserError(f"cannot write {store}: {error.strerror}") from None
    # For segments, and for the file that is made of them.
    needed = 2 * sum(
        sum(map(len, gaps)) * row_bytes(ensemble.system.n_particles)
        for ensemble, gaps in zip(ensembles, missing, strict=True)
    )
    if needed > free:
        raise UserError(f"the disk is full: {store} needs {needed / 1e6:.1f} MB, {free / 1e6:.1f} MB are free")
    return missing
