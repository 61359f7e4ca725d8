"""Training on 2 and 4 ranks is that on one: the same samples, the same gradients, the same losses."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from mpi4py import MPI

from lj_vae_hpc.config.load import load
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import Stopped
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir, open_run
from lj_vae_hpc.stages.generate import generate
from lj_vae_hpc.stages.train import train
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training import checkpoint
from lj_vae_hpc.training.batches import Configurations, read_rows
from lj_vae_hpc.training.loop import Trainer
from lj_vae_hpc.training.splits import Splits
from tests.conftest import TINY

pytestmark = [pytest.mark.mpi(min_size=2), pytest.mark.timeout(200)]

# 66 rows in batches of 13: no number of ranks divides a batch, and the last batch of an epoch is a single row, so that
# all ranks but one have none of it.
STEPS, EPOCHS, CHECKS = 6, 17, 2
OVERRIDES = (
    "training.validation_fraction=0.25", "training.test_fraction=0.1", "training.batch_size=13",
    f"training.epochs={EPOCHS}",
    "training.precision=fp32", "training.mirror=false", "training.schedule=constant",
)  # fmt: skip

Copy = Callable[[str], RunDir]


@dataclass
class Seen:
    """What this rank did, step by step.

    Attributes:
        losses: sum over its rows.
        rows: digests of the rows of a step.
        validation: digests of all rows that it validated with.
        gradients: after they were averaged.
    """

    losses: list[float] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    validation: list[str] = field(default_factory=list)
    gradients: list[list[torch.Tensor]] = field(default_factory=list)


def digests(positions: np.ndarray) -> list[str]:
    return [hashlib.sha256(np.ascontiguousarray(row, np.float32).tobytes()).hexdigest() for row in positions]


def watched(world: World, run: RunDir, config: RunConfig) -> Seen:
    """Trains, and looks at what the loop does."""
    seen, forward, step = Seen(), Trainer._forward, torch.optim.AdamW.step
    pending: list = []  # of the step that is under way

    def watched_forward(trainer: Trainer, module: object, criterion: object, part: Configurations, *others: object):
        each = forward(trainer, module, criterion, part, *others)
        if torch.is_grad_enabled():
            pending[:] = float(each.loss.detach().sum()), digests(part.positions)
        else:
            seen.validation += digests(part.positions)
        return each

    def watched_step(optimizer: torch.optim.AdamW) -> None:
        seen.losses.append(pending[0])
        seen.rows.append(pending[1])
        seen.gradients.append([p.grad.clone() for p in optimizer.param_groups[0]["params"]])
        step(optimizer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lj_vae_hpc.training.loop.STEPS_BETWEEN_CHECKS", CHECKS)
        patch.setattr(Trainer, "_forward", watched_forward)
        patch.setattr(torch.optim.AdamW, "step", watched_step)
        train(world, run, config)
    return seen


@pytest.fixture(scope="module")
def data(world: World, folder: Path) -> RunDir:
    if world.is_root:
        (folder / "tiny.yaml").write_text(TINY)
    world.barrier()
    run, config = open_run(world, folder / "data", folder / "tiny.yaml", OVERRIDES)
    generate(world, run, config)
    return run


@pytest.fixture(scope="module")
def copy(world: World, folder: Path, data: RunDir) -> Copy:
    def make(name: str) -> RunDir:
        if world.is_root:
            shutil.copytree(data.path, folder / name)
        world.barrier()
        return RunDir(folder / name)

    return make


@pytest.fixture(scope="module")
def config(data: RunDir) -> RunConfig:
    return load(data.config)


@pytest.fixture(scope="module")
def together(world: World, copy: Copy, config: RunConfig) -> tuple[RunDir, Seen]:
    run = copy("together")
    return run, watched(world, run, config)


@pytest.fixture(scope="module")
def alone(world: World, copy: Copy, config: RunConfig) -> Seen:
    """Rank 0 trains while the others wait; every rank gets what it saw."""
    run = copy("alone")
    seen = watched(World(MPI.COMM_SELF), run, config) if world.is_root else Seen()
    return world.broadcast(seen)


def test_loss_curves_agree_step_by_step(world: World, together: tuple[RunDir, Seen], alone: Seen) -> None:
    losses = world.sum(np.array(together[1].losses))
    assert len(losses) == STEPS * EPOCHS > 100
    np.testing.assert_allclose(losses, alone.losses, rtol=1e-4)
    assert losses[-STEPS:].sum() < 0.5 * losses[:STEPS].sum()  # it did learn something


def test_gradients_are_those_of_the_whole_batch(together: tuple[RunDir, Seen], alone: Seen) -> None:
    assert len(together[1].rows[STEPS - 1]) <= 1 == len(alone.rows[STEPS - 1])
    for step in range(STEPS):
        for ours, exact in zip(together[1].gradients[step], alone.gradients[step], strict=True):
            assert (ours - exact).abs().max() <= (1e-5 if step == 0 else 1e-3) * exact.abs().max(), step


def test_every_sample_is_seen_once_in_an_epoch(
    world: World, together: tuple[RunDir, Seen], data: RunDir, config: RunConfig
) -> None:
    with Dataset(data.dataset) as dataset:
        splits = Splits.of(dataset.layout, config.training)
        training, validation = (
            sorted(digests(read_rows(dataset, rows[:]).positions)) for rows in (splits.training, splits.validation)
        )
    assert len(set(training + validation)) == 66 + 30
    everyone = world.gather(together[1])
    for epoch in range(EPOCHS):
        steps = range(STEPS * epoch, STEPS * (epoch + 1))
        assert sorted(row for seen in everyone for step in steps for row in seen.rows[step]) == training
    assert sorted(row for seen in everyone for row in seen.validation) == sorted(validation * EPOCHS)


def test_a_continued_run_ends_in_the_same_weights(
    world: World, together: tuple[RunDir, Seen], copy: Copy, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copy("continued")
    monkeypatch.setattr("lj_vae_hpc.training.loop.STEPS_BETWEEN_CHECKS", CHECKS)
    answers = iter([False, True, True])  # after step 4 of the first epoch, then after two more
    monkeypatch.setattr(world, "should_stop", lambda: next(answers, False))
    for stop in ("epoch 0 step 4", "epoch 0 step 6"):
        with pytest.raises(Stopped, match=stop):
            train(world, run, config)
        torch.distributed.destroy_process_group()  # else the end of the process would
    train(world, run, config)
    if world.is_root:
        for name in ("model/checkpoint.safetensors", "model/best.safetensors", "metrics.jsonl"):
            assert (run.path / name).read_bytes() == (together[0].path / name).read_bytes(), name


def test_every_rank_reads_its_share_of_the_training_split(
    world: World, copy: Copy, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, read = copy("counted"), 0

    def counted(data: Dataset, rows: np.ndarray) -> Configurations:
        nonlocal read
        read += len(rows)
        return read_rows(data, rows)

    monkeypatch.setattr("lj_vae_hpc.stages.train.read_rows", counted)
    short = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 3})})
    train(world, run, short)
    everyone = world.gather(read)
    # Each rank reads one row more, to settle the gradients. Rank 0 reads the training split four times more, to start
    # from principal components and to compare with them, and the validation split once.
    epochs = [count - 1 - (4 * 66 + 30) * (rank == 0) for rank, count in enumerate(everyone)]
    shares = [len(range(n * r // world.size, n * (r + 1) // world.size)) for n in (66, 30) for r in range(world.size)]
    assert epochs == [3 * (a + b) for a, b in zip(shares[: world.size], shares[world.size :], strict=True)]
    assert sum(epochs) == 3 * (66 + 30)


def test_training_goes_on_with_another_number_of_ranks(
    world: World, together: tuple[RunDir, Seen], alone: Seen, copy: Copy, config: RunConfig
) -> None:
    """6 epochs on all ranks, 6 on one less, and the rest on one, against one rank and all ranks uninterrupted.

    The samples, the batches and the noise are the same to the bit. Only sums over ranks are rounded otherwise: the
    losses of a step then differ by less than 1e-4 of themselves, and the weights in the end by less than 1e-3 of the
    largest of their tensor, where in these 102 steps they move by more than 100 times that.
    """
    run, losses = copy("changing"), []
    for epochs, size in ((6, world.size), (12, world.size - 1), (EPOCHS, 1)):
        team = MPI.COMM_WORLD.Split(int(world.rank < size))
        if world.rank < size:
            longer = config.model_copy(update={"training": config.training.model_copy(update={"epochs": epochs})})
            losses.append(team.allreduce(np.array(watched(World(team), run, longer).losses)))
        team.Free()
        world.barrier()
    if not world.is_root:
        return
    np.testing.assert_allclose(np.concatenate(losses), alone.losses, rtol=1e-4)
    weights, facts = checkpoint.load(run.model / "checkpoint.safetensors")
    whole, _ = checkpoint.load(together[0].model / "checkpoint.safetensors")
    assert facts["state"]["epoch"] == EPOCHS and facts["arithmetic"]["ranks"] == 1
    for name, tensor in weights.items():
        if name.startswith("model."):
            assert (tensor - whole[name]).abs().max() <= 1e-3 * whole[name].abs().max(), name


def test_another_number_of_ranks_is_told(
    world: World, together: tuple[RunDir, Seen], copy: Copy, config: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy("fewer")
    longer = config.model_copy(update={"training": config.training.model_copy(update={"epochs": EPOCHS + 1})})
    if world.is_root:
        shutil.copytree(together[0].model, run.model)
        train(World(MPI.COMM_SELF), run, longer)
        assert f"changed since the checkpoint: ranks from {world.size} to 1" in capsys.readouterr().out
    world.barrier()


def test_parameters_that_differ_are_noticed(
    world: World, copy: Copy, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, fit = copy("different"), Trainer.fit

    def spoil(trainer: Trainer, *arguments: object) -> object:
        state = fit(trainer, *arguments)
        if world.rank == world.size - 1:
            next(trainer.network.module.parameters()).data.view(-1)[0] += 1e-6
        return state

    monkeypatch.setattr(Trainer, "fit", spoil)
    short = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 1})})
    with pytest.raises(RuntimeError, match="parameters differ"):
        train(world, run, short)
