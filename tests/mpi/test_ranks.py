"""What must not depend on the number of ranks. Run under mpirun on 2 and on 3 of them, by bin/test."""

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from mpi4py import MPI

from lj_vae_hpc.config.load import load
from lj_vae_hpc.errors import Stopped, UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir, open_run
from lj_vae_hpc.sampling import pilots
from lj_vae_hpc.stages.evaluate import evaluate
from lj_vae_hpc.stages.generate import generate
from lj_vae_hpc.stages.train import train
from tests.conftest import TINY

pytestmark = [pytest.mark.mpi(min_size=2), pytest.mark.timeout(200)]

# 19 rows per segment and batches of 16 out of 72 rows: neither divides by the ranks.
OVERRIDES = ("sampling.segment_rows=19", "training.epochs=2", "training.precision=fp32")


@pytest.fixture(scope="module")
def runs(world: World, folder: Path) -> tuple[RunDir, RunDir]:
    """The same run made by all ranks together, and by rank 0 alone while the others wait."""

    def pipeline(ranks: World, name: str) -> RunDir:
        run, config = open_run(ranks, folder / name, folder / "tiny.yaml", OVERRIDES)
        generate(ranks, run, config)
        train(ranks, run, config)
        evaluate(ranks, run, config)
        return run

    if world.is_root:
        (folder / "tiny.yaml").write_text(TINY)
    world.barrier()
    together = pipeline(world, "together")
    if world.is_root:
        pipeline(World(MPI.COMM_SELF), "alone")
    world.barrier()
    return together, RunDir(folder / "alone")


def digests(folder: Path) -> dict[str, str]:
    """Of every HDF5 file below a folder."""
    files = folder.glob("**/*.h5")
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_data_files_are_byte_identical(runs: tuple[RunDir, RunDir]) -> None:
    together, alone = (digests(run.data) for run in runs)
    assert together == alone and len(together) == 1 + 2 * (4 + 1)


def test_segments_with_fewer_rows_than_ranks(world: World, folder: Path, runs: tuple[RunDir, RunDir]) -> None:
    overrides = ("sampling.configurations=20", "sampling.segment_rows=1", "sampling.sweeps=2")
    run, config = open_run(world, folder / "thin", folder / "tiny.yaml", overrides)
    generate(world, run, config)
    if world.is_root:
        assert len(list(run.ensembles.glob("*/*-*.h5"))) == 40
        with h5py.File(run.data / "dataset.h5") as file:
            assert file["chain"][:].tolist() == [row % 20 for row in range(40)]
            assert np.isfinite(file["energy"][:]).all()


def test_loss_curves_agree(runs: tuple[RunDir, RunDir]) -> None:
    together, alone = ([json.loads(line) for line in run.metrics.read_text().splitlines()] for run in runs)
    assert len(together) == len(alone) == 2
    for a, b in zip(together, alone, strict=True):
        for name in a:
            assert a[name] == pytest.approx(b[name], rel=1e-4), name


def test_scores_agree_and_are_complete(runs: tuple[RunDir, RunDir]) -> None:
    with h5py.File(runs[0].evaluation / "scores.h5") as together, h5py.File(runs[1].evaluation / "scores.h5") as alone:
        for suite in ("normal", "gamma_3", "soft", "uniform", "corrupted", "corrupted_mild"):
            assert together[f"{suite}/row"][:].tolist() == alone[f"{suite}/row"][:].tolist()
            np.testing.assert_array_equal(together[f"{suite}/pair_energy"][:], alone[f"{suite}/pair_energy"][:])
            np.testing.assert_allclose(together[f"{suite}/rmse"][:], alone[f"{suite}/rmse"][:], rtol=2e-3)


def columns(run: RunDir) -> dict[str, np.ndarray]:
    """Every column of scores.h5."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(run.evaluation / "scores.h5") as file:
        file.visititems(lambda name, x: found.update({name: x[()]} if isinstance(x, h5py.Dataset) else {}))
    return found


def test_all_columns_of_the_same_weights_are_equal(
    world: World, folder: Path, runs: tuple[RunDir, RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lj_vae_hpc.evaluation.scoring.BATCH", 7)  # several batches for every rank
    monkeypatch.setattr("lj_vae_hpc.evaluation.conditional.fit.BATCH", 9)
    for name, ranks in (("several", world), ("one", World(MPI.COMM_SELF))):
        if world.is_root:
            shutil.copytree(runs[0].path, folder / name, ignore=shutil.ignore_patterns("evaluation", ".lock"))
        world.barrier()
        if ranks is world or world.is_root:
            evaluate(ranks, RunDir(folder / name), load(folder / name / "config.yaml"))
        world.barrier()
    several, one = columns(RunDir(folder / "several")), columns(RunDir(folder / "one"))
    assert list(several) == list(one) and len(several) > 8 * 25
    for name in one:
        np.testing.assert_array_equal(several[name], one[name], err_msg=name)
    written = digests(folder / "several" / "evaluation")
    assert written == digests(folder / "one" / "evaluation") and len(written) > 8 + 4


def test_a_deadline_on_one_rank_stops_all(
    world: World, folder: Path, runs: tuple[RunDir, RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pilots, "SECONDS_BETWEEN_QUESTIONS", float("inf"))  # they ask only when they are done
    late = World(MPI.COMM_WORLD)
    if late.rank == late.size - 1:
        late.stop.limit_hours(1e-9)
    assert late.should_stop() and not world.should_stop()
    if world.is_root:
        unfinished = shutil.ignore_patterns("*-*.h5", "dataset.h5", "evaluation")
        shutil.copytree(runs[0].path, folder / "late", ignore=unfinished)
    run, config = open_run(world, folder / "late", None, ())
    messages, done = [], False
    while not done:
        try:
            generate(late, run, config)
            evaluate(late, run, config)
            done = True
        except Stopped as stopped:
            messages.append(str(stopped))
    sampled = [message for message in messages if "configurations are kept" in message]
    scored = [message for message in messages if "suites are scored" in message]
    assert len(sampled) == (8 - 1) + (9 - 1) and len(scored) == 8 - 1, "all but the last segment, and the last suite"
    assert any("pilots" in message for message in messages) and any("are sampled" in message for message in messages)
    if world.is_root:
        for file in runs[0].data.glob("**/*.h5"):
            assert file.read_bytes() == (run.path / file.relative_to(runs[0].path)).read_bytes()
        with h5py.File(runs[0].evaluation / "scores.h5") as whole, h5py.File(run.evaluation / "scores.h5") as stopped:
            assert set(whole) == set(stopped)
            assert (whole["soft/rmse"][:] == stopped["soft/rmse"][:]).all()


def test_shards_are_disjoint_and_complete(world: World) -> None:
    for n in (0, 1, world.size, 17):
        assert sorted(sum(world.gather(list(world.shard(n))), [])) == list(range(n))  # noqa: RUF017


def test_sum_broadcast_and_gather(world: World) -> None:
    total = world.sum(np.arange(3.0) + world.rank)
    np.testing.assert_array_equal(total, world.size * np.arange(3.0) + sum(range(world.size)))
    assert world.broadcast(world.rank) == 0
    assert world.gather(world.rank) == list(range(world.size))


def test_an_error_of_rank_0_reaches_every_rank_once(world: World) -> None:
    def action() -> None:
        raise UserError("bad key")

    with pytest.raises(UserError, match="bad key") as raised:
        world.on_root(action)
    assert raised.value.everywhere


def test_more_ranks_than_chains(world: World, folder: Path) -> None:
    few = ("sampling.configurations=10", "sampling.gammas=[0.1]", "sampling.samples_per_chain=1", "sampling.sweeps=2")
    run, config = open_run(world, folder / "few", folder / "tiny.yaml", (*few, "sampling.segment_rows=1"))
    generate(world, run, config)
    if world.is_root:
        with h5py.File(run.dataset) as file:
            assert file["chain"][:].tolist() == list(range(10))


def test_a_batch_smaller_than_the_ranks(world: World, runs: tuple[RunDir, RunDir]) -> None:
    run = runs[0]
    config = load(run.config)
    small = config.model_copy(update={"training": config.training.model_copy(update={"batch_size": 1})})
    with pytest.raises(UserError, match=r"training\.batch_size 1 is smaller"):
        train(world, run, small)


def test_several_ranks_need_an_hdf5_with_mpi(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("h5py.get_config", lambda: SimpleNamespace(mpi=False))
    assert World(MPI.COMM_SELF).hdf5() == {}
    with pytest.raises(UserError, match=r"h5py was built without MPI.* run bin/bootstrap"):
        world.hdf5()
