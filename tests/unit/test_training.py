"""When training writes checkpoints, when it refuses to, and what it says of itself."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lj_vae_hpc.errors import Stopped, UserError
from lj_vae_hpc.evaluation.structure import hexatic_order
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import open_run
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training import checkpoint
from lj_vae_hpc.training.loop import State, Trainer
from tests.training import CONSTANT, Train

PUBLISHED = (
    "representation.kind=distance_matrix", "model={encoder: conv, decoder: conv, channels: [4, 4], linear_path: false}",
    "objective={kind: reference, likelihood: gaussian, kl_weight: 3.5e-4}", "training.warmup_epochs=0",
)  # fmt: skip


@pytest.fixture
def checked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lj_vae_hpc.training.loop.STEPS_BETWEEN_CHECKS", 2)


def load(run: Path) -> tuple[dict[str, torch.Tensor], dict]:
    return checkpoint.load(run / "model/checkpoint.safetensors")


@pytest.mark.usefixtures("checked_often")
@pytest.mark.parametrize(("minutes", "steps"), [("1e-9", [2, 4, 0, 2, 4, 0]), ("60", [0, 0])])
def test_checkpoints_come_as_often_as_wished(
    train_with: Train, minutes: str, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    monkeypatch.setattr(Trainer, "save", lambda self, state: saved.append(state.step))
    train_with(f"training.checkpoint_minutes={minutes}")
    assert saved == steps


def test_how_often_checkpoints_come_may_change(train_with: Train) -> None:
    train_with(CONSTANT)
    train_with(CONSTANT, "training.epochs=3", "training.checkpoint_minutes=5")


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        ("0.2", r"training diverged in epoch \d by step \d: the \w+ squared error is .*, that of an untrained network "
                r"was .*training\.learning_rate.*checkpoint is kept"),
        ("1e6", r"the loss is not finite in epoch 1 by step \d; .*training\.learning_rate"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("checked_often")
def test_a_learning_rate_that_is_too_high(train_with: Train, rate: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as raised:
        train_with(f"training.learning_rate={rate}", *PUBLISHED)
    assert raised.value.everywhere
    assert not list(tmp_path.rglob("*.safetensors*"))


def test_what_comes_after_training_has_small_numbers(train_with: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they are zero, SciPy's trees of points on a wall crash the process."""
    during, epoch = [], Trainer._train_epoch

    def watched(self: Trainer, *state: State) -> State:
        during.append((torch.tensor([1e-310], dtype=torch.float64) * 1.0).item())
        return epoch(self, *state)

    monkeypatch.setattr(Trainer, "_train_epoch", watched)
    train_with()
    assert during == [0.0, 0.0] and (torch.tensor([1e-310], dtype=torch.float64) * 1.0).item() > 0
    wall = np.random.default_rng(0).uniform(0, 5, (1, 30, 2)).astype(np.float32)
    wall[:, :25, 0] = 0
    assert 0 < hexatic_order(wall)[0] < 1


@pytest.mark.usefixtures("checked_often")
def test_points_that_begin_in_one_place_have_not_diverged(train_with: Train) -> None:
    """Their distances vanish, which is a larger error than that of the mean matrix, and then they spread."""
    keys = ("representation.kind=distance_matrix", "representation.landmarks=false", "representation.ordering=origin")
    history = load(train_with(*keys, "model.linear_path=false", "training.epochs=12").path)[1]["state"]["history"]
    assert history[-1]["validation_mse"] < 0.9 * max(epoch["validation_mse"] for epoch in history)


@pytest.mark.usefixtures("checked_often")
def test_a_continued_run_knows_the_untrained_network(train_with: Train) -> None:
    run = train_with(CONSTANT).path
    tensors, facts = load(run)
    assert 0.02 < facts["state"]["untrained"] < 0.2
    output = [name for name in tensors if name.startswith("model.decoder") and name.endswith("bias")][-1]
    tensors[output] += 50.0  # all outputs become 1
    checkpoint.save(run / "model/checkpoint.safetensors", tensors, facts)
    with pytest.raises(UserError, match=r"diverged in epoch 3 by step 2: the mean squared error"):
        train_with(CONSTANT, "training.epochs=30")
    assert load(run)[1]["state"]["epoch"] == 2


@pytest.mark.parametrize("poisoned", ["weight", "moment"])
def test_weights_that_are_not_finite_are_never_written(
    train_with: Train, poisoned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train_with(CONSTANT, "training.epochs=1").path
    before = {path: path.read_bytes() for path in (run / "model").glob("*.safetensors")}
    step, done = torch.optim.AdamW.step, 0

    def poison(optimizer: torch.optim.AdamW) -> None:
        nonlocal done
        step(optimizer)
        done += 1
        if done == 4:  # the last of the epoch: no loss tells
            parameter = optimizer.param_groups[0]["params"][-1]
            target = parameter if poisoned == "weight" else optimizer.state[parameter]["exp_avg_sq"]
            target.data.flatten()[0] = float("nan" if poisoned == "weight" else "inf")

    monkeypatch.setattr(torch.optim.AdamW, "step", poison)
    with pytest.raises(UserError, match=r"is not finite in epoch 2 after step 4; .*training\.learning_rate"):
        train_with(CONSTANT, "training.epochs=2")
    assert {path: path.read_bytes() for path in (run / "model").glob("*.safetensors*")} == before


def test_a_validation_loss_that_is_not_finite(train_with: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "_validate", lambda self: {"loss": float("inf"), "mse": 0.1, "kl": float("inf")})
    with pytest.raises(UserError, match="the loss is not finite in epoch 1 by step 4"):
        train_with()


def test_another_arithmetic_is_told(train_with: Train, capsys: pytest.CaptureFixture[str]) -> None:
    run = train_with(CONSTANT, "training.precision=fp32").path
    train_with(CONSTANT, "training.epochs=3", "training.precision=fp32")
    assert "changed since the checkpoint" not in capsys.readouterr().out
    tensors, facts = load(run)
    assert facts["arithmetic"]["ranks"] == 1 and facts["arithmetic"]["precision"] == "float32"
    facts["arithmetic"]["ranks"] = 3
    checkpoint.save(run / "model/checkpoint.safetensors", tensors, facts)
    train_with(CONSTANT, "training.epochs=4", "training.precision=bf16")
    said = capsys.readouterr().out
    assert said.count("ranks from 3 to 1, precision from float32 to bfloat16. Samples and batches stay the same") == 1
    assert "not bit-identical to those of an uninterrupted run" in said


def test_a_checkpoint_without_arithmetic_says_nothing() -> None:
    assert checkpoint.arithmetic_note({}, {"ranks": 2}) is None


def test_what_killed_runs_left_is_removed(train_with: Train) -> None:
    run = train_with("training.epochs=1").path
    (run / "model/best.safetensors.partial").write_bytes(b"half")
    train_with("training.epochs=1")
    assert not list(run.rglob("*.partial"))


def contents(run: Path) -> dict[str, bytes]:
    """Everything in a run's folder but its configuration."""
    return {str(p): p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name not in ("config.yaml", ".lock")}


@pytest.mark.parametrize("epochs", [1, 2])
def test_fewer_epochs_than_are_done_change_nothing(
    train_with: Train, epochs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_with().path
    before = contents(run)
    train_with(f"training.epochs={epochs}")
    assert contents(run) == before
    said = capsys.readouterr().out
    assert said.endswith(f"training: 2 epochs are done, training.epochs is {epochs}: nothing to do\n")


def test_metrics_that_a_kill_has_lost_come_back(train_with: Train) -> None:
    run = train_with().path
    before = contents(run)
    (run / "metrics.jsonl").write_text("")
    train_with()
    assert contents(run) == before


def test_epochs_may_be_added_under_a_constant_schedule(train_with: Train) -> None:
    run = train_with(CONSTANT, "training.warmup_epochs=0").path
    train_with("training.epochs=4")
    assert [len((run / "metrics.jsonl").read_text().splitlines()), load(run)[1]["state"]["epoch"]] == [4, 4]
    assert load(run)[1]["schedule"] == {}  # under it the number of epochs changes nothing


def test_the_learning_rate_of_a_cosine_schedule_never_jumps(train_with: Train) -> None:
    run = train_with().path
    before = contents(run)
    with pytest.raises(UserError, match=(
        r"training\.epochs is 4, but 2 epochs are done under a cosine schedule of 2: the learning rate would jump from "
        r"0 to 0\.0005\. Set training\.epochs=2, or train again .* `lj-vae run -c .*config.yaml -o NEW --data .*run -s "
        r"training\.epochs=4`\. Under training\.schedule=constant"
    )):  # fmt: skip
        train_with("training.epochs=4")
    assert contents(run) == before


def test_a_cosine_schedule_that_is_stopped_keeps_its_length(train_with: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(World, "should_stop", lambda self: True)
        with pytest.raises(Stopped, match="after epoch 1"):
            train_with("training.epochs=4")
    for epochs in (3, 8):
        with pytest.raises(UserError, match="1 epochs are done under a cosine schedule of 4"):
            train_with(f"training.epochs={epochs}")
    assert load(train_with("training.epochs=4").path)[1]["state"]["epoch"] == 4


def edit_facts(run: Path, edit: Callable[[dict], object]) -> None:
    """Changes what the checkpoint and the weights say of themselves."""
    for name in ("checkpoint", "best"):
        tensors, facts = checkpoint.load(run / f"model/{name}.safetensors")
        edit(facts)
        checkpoint.save(run / f"model/{name}.safetensors", tensors, facts)


def test_weights_know_what_they_were_trained_on(train_with: Train) -> None:
    run = train_with(CONSTANT, "training.epochs=1").path
    with Dataset(run / "data/dataset.h5") as data:
        expected = {"gammas": [0.1, 1.0], "configurations": 60, "ensembles": data.names(), "content": ""}
    for name in ("checkpoint", "best"):
        assert checkpoint.load_facts(run / f"model/{name}.safetensors")["data"] == expected


def test_data_that_have_grown(train_with: Train, capsys: pytest.CaptureFixture[str]) -> None:
    run = train_with(CONSTANT).path
    edit_facts(run, lambda facts: facts["data"].update(configurations=40, gammas=[1.0], ensembles=["other"]))
    older = (
        "the model was trained on 40 configurations at γ = 1; the data set now holds 120 configurations at γ = 0.1, 1. "
        f"To train the same model on all of it: `lj-vae run -c {run}/config.yaml -o NEW --data {run}`"
    )
    with pytest.raises(UserError) as raised:
        train_with("training.epochs=3")
    assert str(raised.value) == ("2 of 3 epochs are done, and more of them cannot continue on other data: " + older)
    capsys.readouterr()
    train_with("training.epochs=2")
    assert f"nothing to do. The weights are older than the data: {older}" in capsys.readouterr().out


def test_a_key_that_is_new_orphans_no_checkpoint(train_with: Train) -> None:
    run = train_with(CONSTANT, "training.epochs=1").path
    edit_facts(run, lambda facts: (facts["objective"].pop("fisher_weight"), facts["model"].pop("conditional")))
    assert load(train_with("training.epochs=2").path)[1]["state"]["epoch"] == 2


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda facts: facts["model"].update(depth=7), r"model\.depth is 7 there, 2 here\. Set these keys"),
        (lambda facts: facts["objective"].update(sigma=3.0), r"objective\.sigma is 3\.0 there, 0\.01 here"),
        (lambda facts: facts["representation"].pop("kind") and facts["system"].pop("box_side"), r"system\.box_side is"),
        (lambda facts: facts["model"].update(flow=3), r"model\.flow: extra inputs are not permitted"),
    ],
)
def test_a_value_that_differs_is_refused_by_its_key(
    train_with: Train, edit: Callable[[dict], object], message: str
) -> None:
    run = train_with(CONSTANT, "training.epochs=1").path
    edit_facts(run, edit)
    with pytest.raises(UserError, match=message):
        train_with("training.epochs=2")


@pytest.mark.parametrize(
    "setting",
    ["batch_size=8", "learning_rate=0.002", "weight_decay=0.1", "warmup_epochs=0", "schedule=cosine", "mirror=false",
     "validation_fraction=0.3", "calibration_fraction=0.2", "test_fraction=0.3"],
)  # fmt: skip
def test_keys_that_a_model_was_trained_with_never_change(tiny_run: Path, setting: str, tmp_path: Path) -> None:
    run, _ = open_run(World(None), tmp_path / "run", tiny_run / "config.yaml", (CONSTANT,))
    run.model.mkdir()
    (run.model / "best.safetensors").touch()
    before = run.config.read_text()
    with pytest.raises(UserError, match=rf"was made with another configuration: training\.{setting.split('=')[0]} is "):
        open_run(World(None), run.path, None, (f"training.{setting}",))
    assert run.config.read_text() == before
