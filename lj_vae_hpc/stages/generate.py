"""Samples a data set: every segment is divided over all ranks and written by them together."""

import shutil
from dataclasses import asdict, replace
from functools import partial as bind
from pathlib import Path

import numpy as np

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import Stopped, UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.physics.energies import total_energy
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.sampling.chains import choose_device, sample_rows, warm_up
from lj_vae_hpc.sampling.pilot import schedule, table
from lj_vae_hpc.sampling.pilots import run_pilots
from lj_vae_hpc.sampling.plan import Plan
from lj_vae_hpc.store.reader import Dataset, finished_segments
from lj_vae_hpc.store.schema import SEGMENT_FOLDER, segment_name
from lj_vae_hpc.store.writer import finish_segment, unfinished, write_index, write_segment


def generate(world: World, run: RunDir, config: RunConfig) -> None:
    """The command: samples the run's data set into RUN_DIR/data, or what of it is still missing."""
    plan = placed(world, Plan(config.seed, config.system, config.sampling))
    if config.sampling.protocol == "imported":
        world.on_root(lambda: _check_imported(plan, run.data))
    else:
        sample(world, plan, run.data, config, "sampling", pilots_always=True)


def placed(world: World, plan: Plan) -> Plan:
    """The plan, to be sampled where sampling.device says.

    Raises:
        UserError: some rank finds no GPU although one is demanded.
    """
    device, problem = "cpu", None
    try:
        device = choose_device(plan.sampling.device, plan.system.n_particles, world.local_rank)
    except UserError as error:
        problem = str(error)
    world.agree(problem)
    return replace(plan, device=device)


def sample(
    world: World, plan: Plan, folder: Path, config: RunConfig, label: str, *, pilots_always: bool = False
) -> bool:
    """Samples a plan into a folder; segments that are finished there are kept. Tells whether any was missing.

    Args:
        world: the ranks.
        plan: what to sample.
        folder: where.
        config: stored with the data.
        label: of messages.
        pilots_always: runs the pilots also for protocol `reference`, whose data are then judged against them.

    Raises:
        UserError: more ranks than rows, not enough disk, a folder that cannot be written or holds other data, no proof
            of equilibrium.
    """
    segments = plan.segments()
    done = world.on_root(lambda: _prepare(world, plan, folder, segments))
    todo = [k for k in range(len(segments)) if k not in done]
    if not todo and world.on_root(lambda: _indexed(folder, plan)):
        if world.is_root:
            print(f"{label}: {plan.rows} configurations in {folder}, already complete", flush=True)
        return False
    if done and world.is_root:
        print(f"{label}: {sum(map(len, done.values()))} of {plan.rows} configurations in {folder} are kept", flush=True)
    world.node_by_node(lambda: warm_up(plan))
    wanted = pilots_always or plan.sampling.protocol == "equilibrated"
    begun = bool(done) and plan.sampling.protocol == "equilibrated"
    pilots = run_pilots(world, {folder: plan}, label, begun)[folder] if wanted else []
    how = schedule(plan, pilots)
    ensembles = {"gamma": np.array(plan.gammas), **asdict(how), **table(pilots)}

    def index() -> None:
        write_index(folder, done, plan.rows, plan.system.n_particles, ensembles, plan.facts(config))

    if not todo:  # killed after the last segment
        world.on_root(index)
    moves = sum(how.moves(plan, segments[k]) for k in todo)
    world.begin()
    with Progress(label, moves, "trial moves", world.is_root) as progress:
        for k in todo:
            shard = world.shard(len(segments[k]) // plan.unit)
            mine = segments[k][shard.start * plan.unit : shard.stop * plan.unit]
            # Rank 0 speaks for all: equal shares of equal work.
            scale = len(segments[k]) / max(1, len(mine))
            columns = sample_rows(plan, mine, how, lambda n, scale=scale: progress.advance(n * scale))  # type: ignore[misc]
            columns["energy"] = total_energy(columns["positions"], columns["gamma"], plan.system.pair_potential)
            path = folder / SEGMENT_FOLDER / segment_name(k)
            partial = world.on_root(bind(unfinished, path))
            write_segment(partial, segments[k], mine, columns, plan.fingerprint(), world.hdf5(), world.agree)
            world.on_root(bind(finish_segment, partial, path))
            done[k] = segments[k]
            world.on_root(index)
            if len(done) < len(segments) and world.stop_requested():
                raise Stopped(f"{sum(map(len, done.values()))} of {plan.rows} configurations are in {folder}")
    if world.is_root:
        shutil.rmtree(folder / "pilots", ignore_errors=True)  # they are in the index now
        print(f"{label}: {plan.rows} configurations in {folder}", flush=True)
    return True


def _indexed(folder: Path, plan: Plan) -> bool:
    """Whether the index is that of the whole plan; it is not after a kill between the last segment and the index."""
    try:
        with Dataset(folder, check_segments=False) as data:
            return bool(data.attributes["complete"]) and data.attributes["fingerprint"] == plan.fingerprint()
    except (UserError, KeyError):
        return False


def _check_imported(plan: Plan, folder: Path) -> None:
    """There is nothing to sample, but all must be there."""
    if len(finished_segments(folder, plan.fingerprint(), plan.segments())) < len(plan.segments()):
        raise UserError(
            f"sampling.protocol is imported, and {folder} is missing or incomplete: delete it and give `lj-vae import`"
        )
    print(f"sampling: {plan.rows} configurations in {folder} were imported, nothing to sample", flush=True)


def _prepare(world: World, plan: Plan, folder: Path, segments: list[range]) -> dict[int, range]:
    """Checks everything that can be checked before any work; returns the finished segments."""
    if world.size > plan.rows:
        raise UserError(
            f"{world.size} ranks for {plan.rows} configurations ({folder.name}): start at most {plan.rows} ranks or "
            "increase the number of configurations"
        )
    try:
        (folder / SEGMENT_FOLDER).mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("**/*.partial*"):  # with what Open MPI puts beside them
            leftover.unlink()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}") from None
    done = finished_segments(folder, plan.fingerprint(), segments)
    row_bytes = plan.system.n_particles * 8 + 40
    needed = sum(len(s) for k, s in enumerate(segments) if k not in done) * row_bytes
    if needed > free:
        raise UserError(f"the disk is full: {folder} needs {needed / 1e6:.1f} MB, {free / 1e6:.1f} MB are free")
    return done
