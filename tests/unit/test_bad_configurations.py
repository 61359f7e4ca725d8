"""What people give by mistake, or on purpose: one message that says what is accepted, at once."""

import re
import time
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner

from lj_vae_hpc.cli import cli
from lj_vae_hpc.cli.options import FileName
from lj_vae_hpc.config.load import load
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.checks import check_evaluation
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.run.space import check_space
from lj_vae_hpc.training.memory import check_memory, needed_bytes
from lj_vae_hpc.training.setup import check_splits, new_network

DIGITS, HUGE = "9" * 400, 2**31


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("sampling.gammas=" + "[" * 3000 + "]" * 3000, "nested more than 16 levels deep"),
        ("sampling.gammas=" + "{a: " * 500 + "1" + "}" * 500, "nested more than 16 levels deep"),
        ("a." * 5000 + "a=1", "expected section.key=value"),
        (".seed=1", "-s .seed=1: expected section.key=value"),
        ("seed.=1", "expected section.key=value"),
        ("seed=" + "9" * 6000, "a number of thousands of digits"),
        (f"seed={DIGITS}", "seed: input should be less than 18446744073709551616"),
        ("seed=[&a 1, *a]", "aliases (*name) are not accepted"),
        ("seed=!!python/object:os.system {}", "not accepted"),
        ("sampling={sweeps: 3, sweeps: 4}", "'sweeps' is given twice (line 1, column 13)"),
        (f"sampling.gammas={{start: 0, stop: 1, num: {DIGITS}}}", "sampling.gammas.num"),
        ("sampling.gammas={start: 0, stop: 1, num: 1000000}", "not between 1 and 100,000: each value has an ensemble"),
        (f"sampling.gammas=[{DIGITS}]", "sampling.gammas.0: input should be a valid number"),
        ("sampling.gammas=[1e300]", "sampling.gammas.0: 1e+300 is not between -10,000 and 10,000"),
        ("sampling.gammas=[0.1, 0.10000000000000002]", "0.1 given more than once, exactly or but for rounding"),
        ("evaluation.unseen_gammas=[0.4000000000000001]", "0.4 is also in sampling.gammas"),
        ("sampling.gammas=0.5", "sampling.gammas: expected a list such as [0.5], not 0.5"),
        ("evaluation.studies=latent", "evaluation.studies: expected a list such as [latent], not 'latent'"),
        ("system=3", "system: expected a map {key: value} with the keys n_particles, box_side"),
        ("evaluation.fluids={a: {gama: 1}}", "unknown key evaluation.fluids.a.gama, did you mean evaluation."),
        ("evaluation.claims=[{from: 1}]", "valid keys of evaluation.claims.0: claimed, true"),
        ("system.box_side=1e300", "system.box_side: 1e+300 is not between 0.001 and 10,000"),
        ("system.cutoff=1e300", "system.cutoff: 1e+300 is not between"),
        ("system.temperature=1e300", "system.temperature: 1e+300 is not between"),
        (f"system.potential={{kind: mie, repulsive: {DIGITS}, attractive: 6}}", "repulsive must be a number below"),
        ("objective.sigma=1e-300", "objective.sigma: 1e-300 is not between"),
        ("objective.kl_weight=9e15", "objective.kl_weight: 9000000000000000.0 is not between"),
        ("training.weight_decay=9e15", "training.weight_decay: 9000000000000000.0 is not between"),
        ("representation.radius=1e300", "representation.radius: 1e+300 is not between"),
        ("representation.radius=1e-30", "representation.radius: 1e-30 is not between"),
        *((f"{key}={HUGE}", f"{key}: {HUGE} is not between 1 and") for key in (
            "representation.cells", "representation.neighbours", "model.width", "model.depth", "model.latent_dim",
            "training.epochs", "training.batch_size", "tuning.trials", "tuning.epochs", "sampling.segment_rows",
            "sampling.samples_per_chain")),
        (f"evaluation.configurations={HUGE}", "evaluation.configurations: input should be less than"),
        ("training.warmup_epochs=41", "training.warmup_epochs: 41 epochs of warm-up are longer than the training"),
        ("objective.warmup_epochs=40.5", "objective.warmup_epochs: 40.5 epochs of warm-up are longer"),
        ("evaluation.corruptions={.: {amplitude: 1}}", "'.' cannot name a suite"),
        ('evaluation.corruptions={"a\\0b": {amplitude: 1}}', "cannot name a suite"),
        ('evaluation.fluids={"a\\nb": {gamma: 1}}', "cannot name a suite"),
        ("evaluation.files={../a: x.xyz}", "'../a' cannot name a suite"),
        ("evaluation.files={my.partial: x.xyz}", "without `.partial`, which marks unfinished files"),
        ('evaluation.files={a: "x\\n.xyz"}', "characters that no path should have"),
        ("evaluation.corruptions={" + "a" * 65 + ": {amplitude: 1}}", "1 to 64 letters"),
    ],
    ids=lambda text: text[:50],
)  # fmt: skip
def test_one_message_names_the_key(override: str, words: str) -> None:
    started = time.monotonic()
    with pytest.raises(UserError) as raised:
        load(None, (override,))
    assert words in str(raised.value)
    assert len(str(raised.value)) < 600
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "found nothing"),
        ("# nothing\n", "found nothing"),
        ("{}", "found nothing"),
        ("a: &a [1, 1]\nb: &b [*a, *a]\n", "aliases"),
        ("- " * 4000, "nested more than"),
        ("seed: 1\nseed: 2\n", "'seed' is given twice (line 2, column 1)"),
        ("seed: 1 #" + "x" * (5 << 20), "larger than 4 MB"),
    ],
    ids=lambda text: text[:20],
)
def test_files_are_bounded(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(content)
    with pytest.raises(UserError) as raised:
        load(path)
    assert words in str(raised.value)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "/", "/dev/null/x", "x" * 300])
def test_what_is_no_file_is_refused(path: str) -> None:
    with pytest.raises(UserError):
        load(Path(path))


def test_many_faults_make_a_short_message() -> None:
    with pytest.raises(UserError, match=r"sampling\.gammas\.4.*; and 9,995 more$") as raised:
        load(None, ("sampling.gammas=[" + "x, " * 9999 + "x]",))
    assert len(str(raised.value)) < 1000


def test_long_scans_load_quickly() -> None:
    started = time.monotonic()
    config = load(None, ("sampling.gammas={start: 0, stop: 1, num: 100000}", "evaluation.unseen_gammas=[3.0]"))
    assert len(config.sampling.gamma_values) == 100_000
    choices = ", ".join(map(str, range(1, 10_001)))
    assert load(None, (f"tuning.space.model.width=[{choices}]",))
    gammas = ", ".join(f"{2 + k / 1000:.3f}" for k in range(20_000))
    assert load(None, (f"evaluation.unseen_gammas=[{gammas}]",))
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("path", ["x" * 300, "a/" * 2500, "a\nb", "a\x1bb", "", "\udcff\n"])
def test_paths_that_no_file_should_have(path: str) -> None:
    with pytest.raises(click.BadParameter):
        FileName().convert(path, None, None)


def test_other_paths_are_paths() -> None:
    assert FileName().convert("runs/größe 2", None, None) == Path("runs/größe 2")


def test_the_help_lists_whole_summaries_in_the_order_of_use() -> None:
    shown = CliRunner().invoke(cli, ["--help"]).output
    listed = re.findall(r"^  ([a-z]+) +[A-Z](.*)", shown.partition("Commands:")[2].partition("Examples:")[0], re.M)
    names = [name for name, _ in listed]
    assert names[:7] == ["doctor", "generate", "import", "tune", "train", "evaluate", "report"]
    assert sorted(names) == sorted(cli.commands)
    assert not [summary for _, summary in listed if "..." in summary]
    for name in names:
        assert "Examples:\n" in CliRunner().invoke(cli, [name, "--help"]).output
    listed = re.findall(r"^  ([a-z]+) +[A-Z]", CliRunner().invoke(cli, ["scan", "--help"]).output, re.M)
    assert listed == ["plan", "submit", "status", "collect", "run"]


def test_memory_is_estimated_before_it_is_taken() -> None:
    config = load(None, ("model.width=64", "training.batch_size=100"))
    network, _ = new_network(config, torch.device("cpu"))
    weights, batch = needed_bytes(config)
    assert weights == 16 * sum(weight.numel() for weight in network.module.parameters())
    assert batch == 100 * 3 * 30**2 * 4  # distances of the samples, of their reconstructions, and between the two
    assert needed_bytes(config, ranks=4)[1] == batch / 4
    check_memory(config)
    with pytest.raises(UserError, match="on 1000000 ranks of this machine"):
        check_memory(config, ranks_here=1_000_000)
    for keys in (("model.width=65536", "model.depth=200"), ("system.n_particles=90000", "system.box_side=800")):
        with pytest.raises(
            UserError, match=r"training needs at least [\d,.]+ GB for the weights.*this machine, which has"
        ):
            check_memory(load(None, keys))


def test_room_is_checked_before_anything_is_written(tmp_path: Path) -> None:
    check_space(tmp_path / "new/folder", 1000, 30, "sampling.configurations")
    with pytest.raises(
        UserError, match=r"sampling\.configurations: 2,147,483,648 configurations of 100000 particles take"
    ):
        check_space(tmp_path / "new/folder", 2**31, 100_000, "sampling.configurations")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (("evaluation.studies=[latnt]",), "there is no latnt; choose from completion"),
        (("evaluation.extra_scores=[regret]",), "there is no regret; choose from"),
        (("evaluation.files={mine: /nowhere/x.xyz}",), "evaluation.files.mine: there is no file /nowhere/x.xyz"),
        (("evaluation.configurations=2",), "too few for the suite early, which has 4 values"),
        (("evaluation.configurations=2147483647", "system.n_particles=1000", "system.box_side=100"), " MB left"),
    ],
)
def test_an_evaluation_is_refused_before_the_training(tmp_path: Path, keys: tuple[str, ...], words: str) -> None:
    config = load(None, keys)
    with pytest.raises(UserError, match=words):
        check_evaluation(RunDir(tmp_path), config, config.sampling.gamma_values)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (("sampling.configurations=100", "training.test_fraction=0.005"), "test_fraction: 1 of 100 chains"),
        (("sampling.configurations=10", "training.validation_fraction=0.44", "training.test_fraction=0.44",
          "training.calibration_fraction=0.01"), "is left for training, which needs at least 2"),
    ],
)  # fmt: skip
def test_splits_are_checked_before_anything_is_sampled(keys: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_splits(load(None, keys))
