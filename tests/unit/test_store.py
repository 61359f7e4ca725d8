"""Segments and index: what is written is read, and damage is named."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.store.reader import Dataset, finished_segments
from lj_vae_hpc.store.schema import COLUMNS, Columns
from lj_vae_hpc.store.verifier import find_damage
from lj_vae_hpc.store.writer import finish_segment, unfinished, write_index, write_segment

ROWS, N = 23, 5
agree = World(None).agree


def columns(rows: range) -> Columns:
    random = np.random.default_rng(1)
    everything = {
        "positions": random.uniform(0, 10, (ROWS, N, 2)).astype("f4"),
        "gamma": random.uniform(size=ROWS),
        "ensemble": np.arange(ROWS, dtype="i4") % 2,
        "chain": np.arange(ROWS, dtype="i8") // 2,
        "acceptance": random.uniform(size=ROWS).astype("f4"),
    }
    everything["energy"] = energy(everything)
    return {name: values[rows.start : rows.stop] for name, values in everything.items()}


def energy(c: Columns) -> np.ndarray:
    return c["positions"].astype(float).sum(axis=(1, 2)) * c["gamma"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "segments").mkdir()
    segments = {0: range(0, 10), 1: range(10, 20), 2: range(20, ROWS)}
    for k, rows in segments.items():
        path = tmp_path / "segments" / f"{k:06d}.h5"
        partial = unfinished(path)
        write_segment(partial, rows, rows, columns(rows), "print", {}, agree)
        assert not path.exists()
        finish_segment(partial, path)
    write_index(tmp_path, segments, ROWS, N, {"gamma": np.array([0.1, 0.2])}, {"fingerprint": "print"})
    return tmp_path


def test_round_trip_from_any_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    with h5py.File(folder / "dataset.h5") as file:  # plain h5py
        for name, values in columns(range(ROWS)).items():
            np.testing.assert_array_equal(file[name][:], values)
            assert file[name].dtype == np.dtype(COLUMNS[name].dtype)
            assert file[name].attrs["unit"] == COLUMNS[name].unit
        assert file.attrs["complete"]
    with Dataset(folder) as data:
        assert (data.rows, data.n_particles) == (ROWS, N)
        np.testing.assert_array_equal(data.read(range(8, 21))["chain"], columns(range(8, 21))["chain"])


def test_segments_are_contiguous_and_of_fixed_size(folder: Path) -> None:
    with h5py.File(folder / "segments" / "000001.h5") as file:
        for name in COLUMNS:
            assert file[name].chunks is None and file[name].maxshape == file[name].shape


def test_intact_segments_verify(folder: Path) -> None:
    assert [find_damage(p, energy, "print") for p in sorted((folder / "segments").iterdir())] == [None] * 3


@pytest.mark.parametrize("name", list(COLUMNS))
def test_one_changed_value_is_found(folder: Path, name: str) -> None:
    path = folder / "segments" / "000001.h5"
    with h5py.File(path, "r+") as file:
        value = file[name][4]
        file[name][4] = value + 1
    assert "row 4" in str(find_damage(path, energy, "print"))


def test_wrong_energy_with_right_checksum_is_found(folder: Path) -> None:
    path = folder / "segments" / "000001.h5"
    assert "energies are wrong, the first in row 0" in str(find_damage(path, lambda c: energy(c) + 1, "print"))


@pytest.mark.parametrize("how", ["missing", "empty", "truncated", "foreign", "text", "schema"])
@pytest.mark.parametrize("which", ["dataset.h5", "segments/000001.h5"])
def test_unreadable_files_are_named(folder: Path, how: str, which: str) -> None:
    path = folder / which
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "text":
        path.write_text("x" * 5000)
    else:
        with h5py.File(path, "w" if how == "foreign" else "r+") as file:
            file.attrs["schema_version" if how == "schema" else "other"] = 99
    with pytest.raises(UserError) as raised:
        Dataset(folder)
    assert str(path) in str(raised.value)


def test_finished_segments_of_another_plan_are_refused(folder: Path) -> None:
    expected = [range(0, 10), range(10, 20), range(20, ROWS), range(ROWS, 30)]
    assert set(finished_segments(folder, "print", expected)) == {0, 1, 2}
    with pytest.raises(UserError, match="another configuration"):
        finished_segments(folder, "other", expected)


def test_no_permission_or_no_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write"):
        write_segment(tmp_path / "no" / "0.h5", range(ROWS), range(ROWS), columns(range(ROWS)), "print", {}, agree)
