"""What an epoch of training does: which weights are kept, what the network sees, and the learning rate."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from lj_vae_hpc.config.training import Training
from lj_vae_hpc.evaluation.weights import load_network
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import open_run
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training import checkpoint
from lj_vae_hpc.training.batches import read_rows
from lj_vae_hpc.training.loop import Trainer
from lj_vae_hpc.training.objective import Criterion, Terms
from lj_vae_hpc.training.splits import Splits
from tests.training import CONSTANT, Train


def test_the_best_weights_are_those_of_the_least_validation_loss(
    train_with: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a rate so high that the last epoch is better than the one before it, but not the best."""
    keys = ("training.learning_rate=0.3", "training.warmup_epochs=0", "training.epochs=5", "training.precision=fp32")
    run = train_with(CONSTANT, *keys)
    state = checkpoint.load_facts(run.model / "checkpoint.safetensors")["state"]
    losses = [epoch["validation_loss"] for epoch in state["history"]]
    assert min(losses) < losses[-1] < losses[-2]
    best = losses.index(min(losses)) + 1
    facts = checkpoint.load_facts(run.model / "best.safetensors")
    assert (facts["epoch"], facts["validation"]["validation_loss"], state["best"]) == (best, min(losses), min(losses))
    network, _ = load_network(World(None), run, config := open_run(World(None), run.path, None)[1])
    with Dataset(run.dataset) as data, torch.no_grad():
        x, condition = network.inputs(read_rows(data, Splits.of(data.layout, config.training).validation[:]))
        error = (network.module.decode(network.module.encode(x, condition)[0], condition) - x).square().sum(dim=-1)
    rms = 5 * 2**0.5 * float(error.mean()) ** 0.5
    assert f"training: best weights of epoch {best}: position error {rms:.3g} σ;" in capsys.readouterr().out


def test_configurations_are_reflected_at_the_middle_of_the_width(
    train_with: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, forward = Counter[bytes](), Trainer._forward

    def watched(self: Trainer, module: torch.nn.Module, criterion: Criterion, *rest: Any) -> Terms:
        if module.training:
            seen.update(one.tobytes() for one in rest[0].positions)
        return forward(self, module, criterion, *rest)

    monkeypatch.setattr(Trainer, "_forward", watched)
    run = train_with("training.epochs=4")
    with Dataset(run.dataset) as data:
        rows = Splits.of(data.layout, Training(validation_fraction=0.2, test_fraction=0.2)).training[:]
        plain = read_rows(data, rows).positions
    other = plain.copy()
    other[..., 0] = 5 - plain[..., 0]
    pairs = [(seen[one.tobytes()], seen[two.tobytes()]) for one, two in zip(plain, other, strict=True)]
    assert {sum(pair) for pair in pairs} == {4} and seen.total() == 4 * len(plain)
    assert abs(sum(two for _, two in pairs) / seen.total() - 0.5) < 0.15  # 4.6 standard errors


def test_the_learning_rate_of_every_step(train_with: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    rates, step = [], torch.optim.AdamW.step

    def watched(optimizer: torch.optim.AdamW) -> None:
        rates.append(optimizer.param_groups[0]["lr"])
        step(optimizer)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    train_with("training.learning_rate=0.002")
    epochs = np.arange(1, 9) / 4  # four steps in each of two epochs; the first is the warm-up
    assert rates == pytest.approx(0.001 * (1 + np.cos(np.pi * epochs / 2)) * np.minimum(1, epochs), abs=1e-12)


def test_the_reference_state_is_the_row_of_that_number(train_with: Train) -> None:
    run = train_with("model.reference_state=70", "training.epochs=1", "training.device=cpu")
    network, _ = load_network(World(None), run, open_run(World(None), run.path, None)[1])
    with Dataset(run.dataset) as data:
        positions = data.read(range(data.rows))["positions"]
    samples = np.stack([one[np.argsort(one[:, 1])] for one in positions]) / (5 * 2**0.5)
    assert network.module.reference.numpy()[0] == pytest.approx(samples[70], abs=1e-6)
    x, nothing = torch.from_numpy(samples).float(), torch.empty(len(samples), 0)
    with torch.no_grad():
        errors = (network.module.decode(network.module.encode(x, nothing)[0], nothing) - x).abs().amax(dim=(1, 2))
    assert errors.argmin() == 70 and errors[70] < 1e-5 < errors[:70].min()


# --- continuing ----------------------------------------------------------------------------------------------------
