"""Data of the user's own, scored with a trained model."""

import csv
import io
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from lj_vae_hpc.config.load import load
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.run.folder import RunDir, open_run
from lj_vae_hpc.stages.score import score
from lj_vae_hpc.stages.train import train
from lj_vae_hpc.store.reader import Dataset
from tests.conftest import ROOT
from tests.files import write_gsd, write_hdf5, write_text, write_xyz
from tests.own import ROWS, SIDE, WORLD, N, scored


@pytest.fixture(scope="module")
def mine(normal: np.ndarray) -> np.ndarray:
    """Normal configurations, but for the last, which has a particle on top of another."""
    positions = normal.copy()
    positions[-1, 3] = positions[-1, 5] + 0.01
    return positions


PACKED = {"compression": "gzip", "shuffle": True}
WRITE: dict[str, Callable[[Path, np.ndarray], None]] = {
    "a.npy": np.save,
    "fortran.npy": lambda path, positions: np.save(path, np.asfortranarray(positions)),
    "flat.npy": lambda path, positions: np.save(path, positions.reshape(ROWS, -1)),
    "flat_fortran.npy": lambda path, positions: np.save(path, np.asfortranarray(positions.reshape(ROWS, -1))),
    "flat.npz": lambda path, positions: np.savez(path, positions=positions.reshape(ROWS, -1)),
    "flat.h5": lambda path, positions: write_hdf5(path, positions.reshape(ROWS, -1)),
    "a.npz": lambda path, positions: np.savez_compressed(path, positions=positions),
    "a.h5": write_hdf5,
    "big_endian.h5": lambda path, positions: write_hdf5(path, positions.astype(">f8")),
    "packed.h5": lambda path, positions: write_hdf5(path, positions, chunks=(5, N, 1), **PACKED),
    "growing.h5": lambda path, positions: write_hdf5(path, positions, maxshape=(None, N, 2)),
    "latest.h5": lambda path, positions: write_hdf5(path, positions, "latest"),
    "latest_chunk.h5": lambda path, positions: write_hdf5(path, positions, "latest", chunks=(ROWS, N, 2), **PACKED),
    "latest_packed.h5": lambda path, positions: write_hdf5(path, positions, "latest", chunks=(5, N, 1), **PACKED),
    "a.xyz": write_xyz,
    "a.gsd": lambda path, positions: write_gsd(path, positions, SIDE),
    "a.txt": write_text,
    "a.csv": lambda path, positions: np.savetxt(path, positions.reshape(ROWS, -1), fmt="%.9g", delimiter=", "),
    "no_suffix": write_text,
    "wrong_suffix.txt": lambda path, positions: np.save(path.open("wb"), positions),
}


@pytest.mark.parametrize("name", WRITE)
def test_every_kind_of_file_gives_the_same_scores(trained: Path, mine: np.ndarray, tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "plain.npy", mine.astype(np.float32))
    WRITE[name](tmp_path / name, mine)
    rows = scored(trained, tmp_path / "plain.npy", tmp_path / name, to=tmp_path / "scores.csv")
    assert [(Path(r["file"]).name, int(r["row"])) for r in rows] == [
        (file, row) for file in ("plain.npy", name) for row in range(ROWS)
    ]
    for column in ("score", "p_value", "rmse", "pair_energy"):
        found = np.array([float(r[column]) for r in rows])
        np.testing.assert_allclose(found[ROWS:], found[:ROWS], rtol=1e-4, err_msg=column)


def test_what_is_odd_is_found(trained: Path, mine: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    np.save(tmp_path / "mine.npy", mine)
    rows = scored(trained, tmp_path / "mine.npy", to=tmp_path / "scores.csv")
    score_of = [float(r["score"]) for r in rows]
    assert np.argmax(score_of) == ROWS - 1
    assert set(rows[-1]["odd_particles"].split()) >= {"3", "5"}
    shown = capsys.readouterr().out
    assert "p < 0.01: 0 configurations; 0.12 expected by chance" in shown
    assert "smallest possible p: 0.077, from 12 calibration configurations" in shown
    assert "neighbours of a moved one may be among them" in shown
    first = next(line for line in shown.splitlines() if line.startswith("     1  "))
    assert first.split()[2] == str(ROWS - 1) and "3" in first.split()[5:]


def test_another_unit_is_noticed(
    trained: Path, mine: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Of the one file that has it."""
    np.save(tmp_path / "sigma.npy", mine)
    np.save(tmp_path / "box.npy", mine / SIDE)
    scored(trained, tmp_path / "sigma.npy", tmp_path / "box.npy", to=tmp_path / "scores.csv")
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1 and "box.npy: every x is between" in warnings[0] and "convert them to σ" in warnings[0]


def test_p_values_count_normal_configurations(trained: Path, tmp_path: Path) -> None:
    """Of the calibration split itself: the k-th oddest of m has p = k / (m + 1) + 1 / (m + 1)."""
    from lj_vae_hpc.training.splits import Splits

    config = load(trained / "config.yaml")
    with Dataset(trained / "data" / "dataset.h5") as data:
        rows = np.sort(Splits.of(data.layout, config.training).calibration[0:])
        positions = data.read(range(data.rows))["positions"][rows]
    np.save(tmp_path / "calibration.npy", positions)
    found = scored(trained, tmp_path / "calibration.npy", to=tmp_path / "scores.csv")
    values = np.array([float(r["score"]) for r in found])
    p_value = np.array([float(r["p_value"]) for r in found])
    wanted = [((values >= one).sum() + 1) / (len(values) + 1) for one in values]
    np.testing.assert_allclose(p_value, wanted, rtol=1e-12)


def test_a_table_in_hdf5(trained: Path, mine: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", mine)
    rows = scored(trained, tmp_path / "mine.npy", to=tmp_path / "scores.csv")
    score(WORLD, RunDir(trained), load(trained / "config.yaml"), (tmp_path / "mine.npy",), tmp_path / "scores.h5")
    with h5py.File(tmp_path / "scores.h5") as file:
        assert file["file"].asstr()[0] == str(tmp_path / "mine.npy") and file["row"][:].tolist() == list(range(ROWS))
        assert file["particle_score"].shape == (ROWS, N) and file["latent_mean"].shape == (ROWS, 4)
        for name in set(rows[0]) - {"file", "odd_particles"}:
            assert [float(r[name]) for r in rows] == pytest.approx(file[name][:].tolist(), rel=1e-7), name


def test_boxes_centred_on_the_origin(trained: Path, mine: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "corner.npy", mine)
    np.save(tmp_path / "centred.npy", mine - SIDE / 2)
    corner = scored(trained, tmp_path / "corner.npy", to=tmp_path / "1.csv")
    centred = scored(trained, tmp_path / "centred.npy", to=tmp_path / "2.csv", center=True)
    for a, b in zip(corner, centred, strict=True):
        assert float(a["score"]) == pytest.approx(float(b["score"]), rel=1e-4)
    with pytest.raises(UserError, match=r"centred.npy, row 0: .* outside the box \[0, 5\].*--center"):
        scored(trained, tmp_path / "centred.npy", to=tmp_path / "3.csv")


def test_standard_input(trained: Path, mine: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k, name in enumerate(("a.txt", "a.npz", "a.xyz")):
        WRITE[name](tmp_path / name, mine)
        wanted = scored(trained, tmp_path / name, to=tmp_path / f"{k}.csv")
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((tmp_path / name).read_bytes())))
        found = scored(trained, Path("-"), to=tmp_path / f"{k}-.csv")
        assert [r | {"file": ""} for r in found] == [r | {"file": ""} for r in wanted]
        assert found[0]["file"] == "-"


def test_two_ranks_write_the_same_bytes(
    trained: Path, mine: np.ndarray, tmp_path: Path, lj_vae: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "mine.npy", np.repeat(mine, 60, axis=0))  # several batches
    for name in ("2.csv", "2.h5", "1.csv", "1.h5"):
        done = lj_vae(
            "score", tmp_path / "mine.npy", "-o", trained, "--to", tmp_path / name, ranks=2 * (name[0] == "2")
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "2.h5").read_bytes()


def test_pieces_change_nothing(
    trained: Path, mine: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lj_vae_hpc.evaluation.scoring.BATCH", 5)
    monkeypatch.setattr("lj_vae_hpc.stages.score.LEVELS", (0.2, 0.6))  # that some are below of so few
    np.save(tmp_path / "a.npy", mine)
    np.save(tmp_path / "b.npy", mine[::-1])
    found, said = [], []
    for batches in (1, 1000):
        monkeypatch.setattr("lj_vae_hpc.stages.score.BATCHES", batches)
        found.append(scored(trained, tmp_path / "b.npy", tmp_path / "a.npy", to=tmp_path / f"{batches}.csv"))
        said.append(capsys.readouterr().out.partition("scored: ")[2].rpartition("every configuration")[0])
    assert found[0] == found[1] and len(found[0]) == 2 * ROWS and said[0] == said[1]
    for level in (0.2, 0.6):
        below = sum(float(row["p_value"]) < level for row in found[0])
        assert below and f"p < {level}: {below} configurations; " in said[0]
    order = sorted(range(2 * ROWS), key=lambda k: -float(found[0][k]["score"]))[:10]
    shown = [line.split()[1:3] for line in said[0].splitlines() if line[:6].strip().isdigit()]
    assert shown == [[found[0][k]["file"], found[0][k]["row"]] for k in order]


@pytest.mark.parametrize("name", ["scores.csv", "scores.h5"])
def test_an_error_in_a_late_piece_leaves_nothing(
    trained: Path, mine: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("lj_vae_hpc.evaluation.scoring.BATCH", 3)
    monkeypatch.setattr("lj_vae_hpc.stages.score.BATCHES", 1)
    monkeypatch.setattr("lj_vae_hpc.evaluation.sources.NUMBERS_AT_ONCE", 3 * N)
    mine = mine.copy()
    mine[9, 0, 0] = np.nan
    np.save(tmp_path / "mine.npy", mine)
    with pytest.raises(UserError, match=r"mine\.npy, row 9: a coordinate is not finite"):
        scored(trained, tmp_path / "mine.npy", to=tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.npy"]


def test_a_run_with_the_data_of_another(trained: Path, mine: np.ndarray, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run, config = open_run(WORLD, other, None, ("model.latent_dim=3",), data=trained, needs_data=True)
    train(WORLD, run, config)
    np.save(tmp_path / "mine.npy", mine)
    assert len(scored(other, tmp_path / "mine.npy", to=tmp_path / "scores.csv")) == ROWS
    assert (other / "evaluation" / "learned").is_dir()


def test_what_is_learned_is_kept(
    trained: Path, mine: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "mine.npy", mine)
    for part in ("learned", "conditional", "scores"):
        shutil.rmtree(trained / "evaluation" / part, ignore_errors=True)
    capsys.readouterr()
    first = scored(trained, tmp_path / "mine.npy", to=tmp_path / "1.csv")
    said = capsys.readouterr().out.splitlines()
    begins = ("learning what scores need, once", "learning the pair potential: ", "learning the scores: 100 %")
    assert [line for line in said if line.startswith("learning")] == [
        line for start in begins for line in said if line.startswith(start)
    ] and sum(line.startswith(begins) for line in said) == 3
    monkeypatch.setattr("lj_vae_hpc.evaluation.scoring.collect", None)  # would learn it again
    assert scored(trained, tmp_path / "mine.npy", to=tmp_path / "2.csv") == first
    assert "learning" not in capsys.readouterr().out


MODES_HOLD = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.getuid() == 0 else []


@pytest.mark.skipif(bool(MODES_HOLD) and not shutil.which("setpriv"), reason="modes do not hold root")
def test_a_run_that_cannot_be_written(trained: Path, mine: np.ndarray, tmp_path: Path) -> None:
    """What was learned there is used, what is missing is learned elsewhere, and nothing stays."""
    np.save(tmp_path / "mine.npy", mine)
    shutil.copytree(trained, tmp_path / "run")
    wanted = scored(tmp_path / "run", tmp_path / "mine.npy", to=tmp_path / "wanted.csv")
    next((tmp_path / "run/evaluation/scores").glob("calibration-*.h5")).unlink()
    (tmp_path / "tmp").mkdir()
    (tmp_path / "run/evaluation/scores/closed.h5").touch(0)
    subprocess.run(["chmod", "-R", "a-w", tmp_path / "run"], check=True)

    def command() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*MODES_HOLD, ROOT / "bin/lj-vae", "score", "mine.npy", "-o", "run", "--to", "scores.csv"],
            cwd=tmp_path, env=os.environ | {"TMPDIR": str(tmp_path / "tmp")},
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip

    refused = command()
    assert refused.returncode == 2 and "closed.h5: Permission denied" in refused.stderr, refused.stderr
    assert not list((tmp_path / "tmp").glob("lj-vae-*"))
    (tmp_path / "run/evaluation/scores/closed.h5").chmod(0o444)
    done = command()
    subprocess.run(["chmod", "-R", "u+w", tmp_path / "run"], check=True)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "scores.csv").open(newline="") as file:
        assert [row | {"file": ""} for row in csv.DictReader(file)] == [row | {"file": ""} for row in wanted]
    assert not list((tmp_path / "tmp").glob("lj-vae-*"))
    assert not list((tmp_path / "run/evaluation/scores").glob("calibration-*.h5")), "modes did not hold"
