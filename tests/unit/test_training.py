"""When training writes checkpoints, when it refuses to, and what it says of itself."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir, open_run
from lj_vae_hpc.stages.generate import generate
from lj_vae_hpc.stages.train import train
from lj_vae_hpc.training import checkpoint
from lj_vae_hpc.training.loop import Trainer
from tests.conftest import TINY

Train = Callable[..., RunDir]
PUBLISHED = (
    "representation.kind=distance_matrix", "model={encoder: conv, decoder: conv, channels: [4, 4], linear_path: false}",
    "objective={kind: reference, likelihood: gaussian, kl_weight: 3.5e-4}", "training.warmup_epochs=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "tiny.yaml").write_text(TINY)
    generate(World(None), *open_run(World(None), folder / "run", folder / "tiny.yaml", ()))
    return folder / "run"


@pytest.fixture
def train_with(data: Path, tmp_path: Path) -> Train:
    """Trains with some settings, five steps an epoch; again, it continues."""

    def run(*settings: str) -> RunDir:
        if not (tmp_path / "run").exists():
            shutil.copytree(data, tmp_path / "run")
        folder, config = open_run(World(None), tmp_path / "run", None, settings)
        train(World(None), folder, config)
        return folder

    return run


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
    train_with()
    train_with("training.epochs=3", "training.checkpoint_minutes=5")


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


@pytest.mark.usefixtures("checked_often")
def test_a_continued_run_knows_the_untrained_network(train_with: Train) -> None:
    run = train_with().path
    tensors, facts = load(run)
    assert 0.02 < facts["state"]["untrained"] < 0.2
    output = [name for name in tensors if name.startswith("model.decoder") and name.endswith("bias")][-1]
    tensors[output] += 50.0  # all outputs become 1
    checkpoint.save(run / "model/checkpoint.safetensors", tensors, facts)
    with pytest.raises(UserError, match=r"diverged in epoch 3 by step 2: the mean squared error"):
        train_with("training.epochs=30")
    assert load(run)[1]["state"]["epoch"] == 2


@pytest.mark.parametrize("poisoned", ["weight", "moment"])
def test_weights_that_are_not_finite_are_never_written(
    train_with: Train, poisoned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train_with("training.epochs=1").path
    before = {path: path.read_bytes() for path in (run / "model").glob("*.safetensors")}
    step, done = torch.optim.AdamW.step, 0

    def poison(optimizer: torch.optim.AdamW) -> None:
        nonlocal done
        step(optimizer)
        done += 1
        if done == 5:  # the last of the epoch: no loss tells
            parameter = optimizer.param_groups[0]["params"][-1]
            target = parameter if poisoned == "weight" else optimizer.state[parameter]["exp_avg_sq"]
            target.data.flatten()[0] = float("nan" if poisoned == "weight" else "inf")

    monkeypatch.setattr(torch.optim.AdamW, "step", poison)
    with pytest.raises(UserError, match=r"is not finite in epoch 2 after step 5; .*training\.learning_rate"):
        train_with("training.epochs=2")
    assert {path: path.read_bytes() for path in (run / "model").glob("*.safetensors*")} == before


def test_a_validation_loss_that_is_not_finite(train_with: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "_validate", lambda self: {"loss": float("inf"), "mse": 0.1, "kl": float("inf")})
    with pytest.raises(UserError, match="the loss is not finite in epoch 1 by step 5"):
        train_with()


def test_another_arithmetic_is_told(train_with: Train, capsys: pytest.CaptureFixture[str]) -> None:
    run = train_with("training.precision=fp32").path
    train_with("training.epochs=3", "training.precision=fp32")
    assert "changed since the checkpoint" not in capsys.readouterr().out
    tensors, facts = load(run)
    assert facts["arithmetic"]["ranks"] == 1 and facts["arithmetic"]["precision"] == "float32"
    facts["arithmetic"]["ranks"] = 3
    checkpoint.save(run / "model/checkpoint.safetensors", tensors, facts)
    train_with("training.epochs=4", "training.precision=bf16")
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


def test_weights_are_as_readable_as_other_files(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "weights", {"x": torch.ones(2)}, {})
    (tmp_path / "other").touch()
    assert (tmp_path / "weights").stat().st_mode == (tmp_path / "other").stat().st_mode
