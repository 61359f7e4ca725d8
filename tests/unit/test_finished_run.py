"""A finished run: what it holds, and what commands do with it."""

import json
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from lj_vae_hpc.cli import cli
from lj_vae_hpc.config.load import load
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.run.refused import unchanged_if_refused
from lj_vae_hpc.stages.report import report
from tests.conftest import ROOT, TINY, sampled_run

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run, complete."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.yaml").write_text(TINY)
    done = subprocess.run(
        [ROOT / "bin" / "lj-vae", "run", "-c", folder / "tiny.yaml", "-o", folder / "run"],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_the_contract_of_a_finished_run(finished: Path) -> None:
    config = load(finished / "config.yaml")
    with h5py.File(finished / "data" / "dataset.h5") as file:
        n = 120
        shapes = {name: (file[name].shape, file[name].dtype.str) for name in file if name != "ensembles"}
        assert shapes == {
            "positions": ((n, 8, 2), "<f4"), "energy": ((n,), "<f8"), "gamma": ((n,), "<f8"),
            "ensemble": ((n,), "<i4"), "chain": ((n,), "<i8"), "acceptance": ((n,), "<f4"),
            "checksum": ((n,), "<u4"),
        }  # fmt: skip
        stored, expected = yaml.safe_load(file.attrs["config"]), config.model_dump(mode="json")
        assert set(stored) == {"seed", "system", "sampling"} and stored["system"] == expected["system"]
        assert stored["sampling"].items() <= expected["sampling"].items()
        assert file.attrs["schema_version"] == 3
    epochs = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [e["epoch"] for e in epochs] == [1, 2]
    assert list((finished / "model").glob("*.safetensors")) and list((finished / "model/tensorboard").iterdir())
    summary = json.loads((finished / "evaluation" / "summary.json").read_text())
    assert set(summary["suites"]) == {"gamma_3", "soft", "uniform", "corrupted", "corrupted_mild"}
    for suite in summary["suites"].values():
        assert 0.5 < suite["ceiling"] <= 1
        for score in suite["scores"].values():
            assert score["auroc_ci"][0] <= score["auroc"] <= score["auroc_ci"][1]
            assert 0 <= score["fpr_at_95_tpr"] <= 1 and 0 <= score["average_precision"] <= 1
    assert summary["weights"]["epoch"] in (1, 2)


def test_scores_hold_each_configuration_once(finished: Path) -> None:
    with h5py.File(finished / "evaluation" / "scores.h5") as file:
        for suite in ("normal", "gamma_3", "soft", "uniform", "corrupted"):
            rows = file[f"{suite}/row"][:]
            assert rows.tolist() == list(range(24 if suite in ("normal", "corrupted") else 40))
            assert np.isfinite(file[f"{suite}/rmse"][:]).all()


class Links(HTMLParser):
    """Collects everything a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "srcset") and v is not None]


def test_the_page_needs_nothing_else(finished: Path) -> None:
    text = (finished / "report" / "index.html").read_text()
    page = Links()
    page.feed(text)
    assert page.links and all(link.startswith(("data:", "#")) for link in page.links)
    assert "@import" not in text
    assert [title in text for title in ("<h2>Latent plane", "<h2>Anomaly detection", "<h2>Energies")] == [True] * 3


def test_a_page_that_cannot_be_written(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, _: str) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("lj_vae_hpc.stages.report.write_text", full)
    with pytest.raises(OSError, match="No space left"):  # which main tells as it is; the results are good
        report(World(), RunDir(finished), load(finished / "config.yaml"))


def test_a_second_call_redoes_nothing(finished: Path, lj_vae: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*.h5")}
    done = lj_vae("run", "-o", finished)
    assert done.returncode == 0 and "already complete" in done.stdout, done.stderr
    assert "2 epochs are done, training.epochs is 2: nothing to do" in done.stdout
    after = {path: path.stat().st_mtime_ns for path in finished.rglob("*.h5")}
    assert after.items() >= {path: when for path, when in before.items() if path.name != "scores.h5"}.items()


def test_inspect_verify_and_score(finished: Path, lj_vae: Run, tmp_path: Path) -> None:
    inspected = lj_vae("inspect", "-o", finished)
    assert "120 configurations, N = 8" in inspected.stdout and "content sha256" in inspected.stdout
    with h5py.File(finished / "data/dataset.h5") as file:
        energies = dict(zip((0.1, 1.0), file["energy"][:].reshape(2, 60), strict=True))
    for gamma, energy in energies.items():
        said = next(line for line in inspected.stdout.splitlines() if line.split()[:2] == [f"{gamma:g}", "60"])
        assert f" {energy.mean():.3f} ± {energy.std(ddof=1) / np.sqrt(60):.3f} " in said
    assert "verified: 120 configurations" in lj_vae("verify", "-o", finished).stdout
    soft = finished / "evaluation/suites/soft.h5"
    assert "verified: 40 configurations" in lj_vae("verify", soft).stdout
    target = tmp_path / "scores.h5"
    assert lj_vae("score", soft, "-o", finished, "--to", target).returncode == 0
    with h5py.File(target) as file, h5py.File(finished / "evaluation/scores.h5") as scores:
        np.testing.assert_allclose(file["rmse"][:], scores["soft/rmse"][:], rtol=1e-5)


def test_the_configuration_that_data_must_agree_with(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soft = str(finished / "evaluation/suites/soft.h5")

    def inspected(*arguments: str) -> None:
        cli.main(["inspect", *arguments], standalone_mode=False, obj=World())

    inspected("-o", str(finished), "-s", "system.n_particles=8")
    for arguments in ((soft, "-c", str(finished / "config.yaml")), (soft, "-s", "system.n_particles=9")):
        with pytest.raises(UserError, match="another system than the configuration's"):
            inspected(*arguments)
    with pytest.raises(UserError, match=r"unknown key system\.nonsense"):
        inspected(soft, "-s", "system.nonsense=9")
    monkeypatch.setenv("LJ_VAE_CONFIG", str(finished / "config.yaml"))
    inspected(soft)


def test_a_second_model_on_the_same_data(finished: Path, lj_vae: Run, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file() and path.name != ".lock"}
    (tmp_path / "wide.yaml").write_text("model: {width: 24, latent_dim: 4}\ntraining: {epochs: 1, batch_size: 16, "
                                        "validation_fraction: 0.2, test_fraction: 0.2}\n")  # fmt: skip
    wide = tmp_path / "wide"
    done = lj_vae("train", "-c", tmp_path / "wide.yaml", "-o", wide, "--data", finished)
    assert done.returncode == 0, done.stderr
    config = load(wide / "config.yaml")
    assert config.system.n_particles == 8 and config.sampling.gamma_values == (0.1, 1.0) and config.model.width == 24
    done = lj_vae("evaluate", "-o", wide, "-s", "evaluation.configurations=20")  # which remembers whose data it uses
    assert done.returncode == 0, done.stderr
    assert (wide / "data").is_symlink() and (wide / "data/dataset.h5").read_bytes() == before[
        finished / "data/dataset.h5"
    ]
    assert {path: path.read_bytes() for path in before} == before
    for arguments, message in (
        (("generate", "-o", wide), f"uses the data of {finished}"),
        (("train", "-o", wide, "-s", "system.n_particles=9"), "the data are those of"),
        (("train", "-o", wide, "--data", tmp_path), "no data set there"),
        (("train", "-o", tmp_path / "new", "--data", tmp_path / "none"), "no data set there"),
        (("train", "-o", tmp_path / "new", "--data", finished / "data"), f"the run's folder, --data {finished}\n"),
        (("train", "-o", tmp_path / "new", "--data", finished / "data/dataset.h5"), f"--data {finished}\n"),
        (("train", "-o", tmp_path / "new", "--data", f"{finished}x"), f"; here are {finished}"),
    ):
        done = lj_vae(*arguments)
        assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "new").exists()
    other = sampled_run(tmp_path / "other")
    done = lj_vae("train", "-o", wide, "--data", other)
    assert done.returncode == 2 and "was trained on the data of" in done.stderr
    done = lj_vae("train", "-o", other, "--data", finished)
    assert done.returncode == 2 and "has data of its own" in done.stderr


def test_a_folder_belongs_to_its_configuration(finished: Path, lj_vae: Run) -> None:
    before = (finished / "config.yaml").read_bytes()
    done = lj_vae("train", "-o", finished, "-s", "model.latent_dim=5")
    assert done.returncode == 2
    assert "model.latent_dim is 4 there, 5 here" in done.stderr and "uses the same data there" in done.stderr
    done = lj_vae("train", "-o", finished, "-s", "system.box_side=6")
    assert "system.box_side is 5.0 there, 6.0 here" in done.stderr and "--data" not in done.stderr
    assert (finished / "config.yaml").read_bytes() == before


def test_a_refused_command_leaves_the_configuration(finished: Path, lj_vae: Run, tmp_path: Path) -> None:
    """Whatever refuses it, so that the next command is not in its way."""
    before = (finished / "config.yaml").read_bytes()
    np.save(tmp_path / "five.npy", np.zeros((20, 5, 2)))
    for arguments, message in (
        (("train", "-s", "training.epochs=7"), "under a cosine schedule of"),
        (("run", "-s", "training.epochs=7"), "under a cosine schedule of"),
        (("evaluate", "-s", f"evaluation.files={{five: {tmp_path / 'five.npy'}}}"), "has 5 particles"),
    ):
        done = lj_vae(*arguments, "-o", finished)
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert (finished / "config.yaml").read_bytes() == before, arguments
    done = lj_vae("train", "-o", tmp_path / "new", "--data", finished, "-s", "model.decoder=conv")
    assert done.returncode == 2 and "conv" in done.stderr and not (tmp_path / "new").exists(), done.stderr


def test_what_another_command_has_begun_stays(tmp_path: Path) -> None:
    """It was not there when this one started, and this one is refused for it."""
    run = RunDir(tmp_path / "run")
    with pytest.raises(UserError, match="in use"), unchanged_if_refused(World(None), run.path):
        run.path.mkdir()
        run.config.write_text("seed: 1\n")
        raise UserError("in use")
    assert run.config.read_text() == "seed: 1\n"


def test_a_checkpoint_of_another_architecture(finished: Path, lj_vae: Run, tmp_path: Path) -> None:
    path = sampled_run(tmp_path / "run", "model.latent_dim=6") / "model/checkpoint.safetensors"
    path.parent.mkdir()
    stolen = (finished / "model/checkpoint.safetensors").read_bytes()
    path.write_bytes(stolen)
    done = lj_vae("train", "-o", tmp_path / "run")
    assert done.returncode == 2 and "another architecture" in done.stderr and "Traceback" not in done.stderr
    assert path.read_bytes() == stolen


def test_data_of_another_number_of_particles(finished: Path, lj_vae: Run, tmp_path: Path) -> None:
    other = sampled_run(tmp_path / "run", "system.n_particles=9")
    done = lj_vae("score", other / "data/dataset.h5", "-o", finished)
    assert done.returncode == 2 and "9 particles" in done.stderr


def test_data_of_another_box(finished: Path, lj_vae: Run, tmp_path: Path) -> None:
    other = sampled_run(tmp_path / "run", "system.box_side=6")
    done = lj_vae("score", other / "data/dataset.h5", "-o", finished)
    assert done.returncode == 2 and "box has side 6.0, system.box_side is 5" in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "command", "words"),
    [
        ("config.yaml", b"# caf\xe9\n", "generate", "config.yaml is not valid YAML"),
        ("metrics.jsonl", b"junk\n", "evaluate", "metrics.jsonl is damaged .*lj-vae train -o .*writes it again"),
        ("model/best.safetensors", b"junk", "evaluate", "move .*/model away and run `lj-vae train -o .*/run`"),
        ("data/dataset.h5", b"junk", "verify", "delete what is damaged and run `lj-vae generate -o .*/run`"),
        ("tuning/journal.log", b"junk\n", "tune", "journal.log is damaged"),
        ("tuning/journal.log", b'{"op_code": 99, "worker_id": "a"}\n', "tune", "journal.log is damaged"),
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(
    finished: Path, tmp_path: Path, name: str, content: bytes, command: str, words: str
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        cli.main([command, "-o", str(run)], standalone_mode=False, obj=World())
    assert (run / name).read_bytes() == content


def test_curves_are_written_again_from_the_checkpoint(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    (run / "metrics.jsonl").write_text("junk\n")
    cli.main(["train", "-o", str(run)], standalone_mode=False, obj=World())
    assert (run / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()


def test_data_without_a_configuration_are_not_replaced(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    (run / "config.yaml").unlink()
    before = (run / "data/dataset.h5").read_bytes()
    with pytest.raises(UserError, match=r"holds a data set or a model, but no config\.yaml"):
        cli.main(["generate", "-o", str(run)], standalone_mode=False, obj=World())
    assert (run / "data/dataset.h5").read_bytes() == before
    shutil.rmtree(run / "model")
    with pytest.raises(UserError, match=r"holds a data set or a model, but no config\.yaml"):
        cli.main(["generate", "-o", str(run)], standalone_mode=False, obj=World())


def test_a_file_is_no_output_folder(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(UserError, match="run is a file; choose another output folder"):
        cli.main(["generate", "-o", str(tmp_path / "run")], standalone_mode=False, obj=World())
