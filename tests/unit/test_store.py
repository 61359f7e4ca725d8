"""Segments and the data set made of them: what is written is read, and damage is named."""

import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.schema import COLUMNS, Columns, row_checksums
from lj_vae_hpc.store.segments import Together, finished_segments, missing_rows, segment_path, write_segment
from lj_vae_hpc.store.structure import Damaged
from lj_vae_hpc.store.tables import Layout, Piece, Table, plan, write_table
from lj_vae_hpc.store.verifier import find_damage, row_digest
from lj_vae_hpc.store.writer import read_small_hdf5, write_dataset, write_small_hdf5

ENSEMBLES, EACH, N = 3, 23, 5
ROWS = ENSEMBLES * EACH
world = World(None)
TOGETHER = Together({}, world.agree, world.on_root)


def columns(rows: range) -> Columns:
    random = np.random.default_rng(1)
    everything = {
        "positions": random.uniform(0, 10, (ROWS, N, 2)).astype("f4"),
        "gamma": np.repeat([0.1, 0.2, 0.3], EACH),
        "ensemble": np.repeat([5, 2, 9], EACH).astype("i4"),
        "chain": np.tile(np.arange(EACH), ENSEMBLES),
        "acceptance": random.uniform(size=ROWS).astype("f4"),
    }
    everything["energy"] = energy(everything)
    return {name: values[rows.start : rows.stop] for name, values in everything.items()}


def energy(c: Columns) -> np.ndarray:
    return c["positions"].astype(float).sum(axis=(1, 2)) * c["gamma"]


def write_segments(folder: Path, width: int = 10) -> list[Path]:
    folders = [folder / "ensembles" / name for name in "abc"]
    for k, path in enumerate(folders):
        path.mkdir(parents=True)
        for start in range(0, EACH, width):
            rows = range(start, min(start + width, EACH))
            here = columns(range(k * EACH + rows.start, k * EACH + rows.stop))
            write_segment(path, rows, rows, here, {"system": "{}"}, TOGETHER)
    return folders


def assemble(folder: Path, folders: list[Path], configurations: int = EACH) -> Path:
    attributes = {"fingerprint": "print", "configurations": configurations, "samples_per_chain": 1}
    rows = range(len(folders) * configurations)
    table = {"gamma": np.array([0.1, 0.2, 0.3])}
    write_dataset(folder / "dataset.h5", folders, configurations, N, attributes, table, rows, TOGETHER)
    return folder / "dataset.h5"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return assemble(tmp_path, write_segments(tmp_path))


def test_the_file_alone_holds_everything(path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    moved = tmp_path_factory.mktemp("elsewhere") / "moved.h5"
    shutil.move(path, moved)
    shutil.rmtree(path.parent)
    with h5py.File(moved) as file:  # plain h5py
        for name, values in columns(range(ROWS)).items():
            np.testing.assert_array_equal(file[name][:], values)
            assert file[name].dtype == np.dtype(COLUMNS[name].dtype)
            assert file[name].attrs["unit"] == COLUMNS[name].unit
            assert not file[name].is_virtual and file[name].chunks is None
            assert file[name].maxshape == file[name].shape
    with Dataset(moved) as data:
        assert (data.rows, data.n_particles) == (ROWS, N)
        assert (data.layout.gammas, data.layout.configurations) == ((0.1, 0.2, 0.3), EACH)
        np.testing.assert_array_equal(data.read(range(8, 61))["chain"], columns(range(8, 61))["chain"])


def test_more_segments_than_a_process_may_open(tmp_path: Path) -> None:
    """What a file over the segments would silently give as zeros."""
    folders = write_segments(tmp_path, width=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 8, hard))
    try:
        with Dataset(assemble(tmp_path, folders)) as data:
            np.testing.assert_array_equal(data.read(range(ROWS))["energy"], columns(range(ROWS))["energy"])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_bytes_do_not_depend_on_the_segments(path: Path, tmp_path: Path) -> None:
    other = assemble(tmp_path / "other", write_segments(tmp_path / "other", width=7))
    assert other.read_bytes() == path.read_bytes()


def test_fewer_configurations_than_the_segments_hold(path: Path) -> None:
    with Dataset(assemble(path.parent, sorted(path.parent.glob("ensembles/*")), 12)) as data:
        kept = np.concatenate([columns(range(ROWS))["energy"][k * EACH : k * EACH + 12] for k in range(ENSEMBLES)])
        np.testing.assert_array_equal(data.read(range(data.rows))["energy"], kept)


def test_missing_rows(tmp_path: Path) -> None:
    folder = write_segments(tmp_path)[0]
    assert finished_segments(folder) == [range(0, 10), range(10, 20), range(20, 23)]
    assert missing_rows(finished_segments(folder), EACH) == []
    assert missing_rows(finished_segments(folder), 30) == [range(23, 30)]
    assert missing_rows(finished_segments(folder), 15) == []
    segment_path(folder, range(10, 20)).unlink()
    (folder / "0000000010-0000000020.h5.abcd.partial").touch()
    assert missing_rows(finished_segments(folder), 30) == [range(10, 20), range(23, 30)]
    assert missing_rows(finished_segments(folder), 15) == [range(10, 15)]
    assert missing_rows([], 4) == [range(0, 4)]


def test_a_segment_that_is_missing_is_never_read_as_zeros(path: Path) -> None:
    folders = sorted(path.parent.glob("ensembles/*"))
    segment_path(folders[1], range(10, 20)).unlink()
    before = path.read_bytes()
    with pytest.raises(UserError, match=f"{folders[1]} misses configurations"):
        assemble(path.parent, folders)
    assert path.read_bytes() == before


def test_intact_files_verify(path: Path) -> None:
    assert find_damage(path, range(ROWS), energy) is None
    for segment in path.parent.glob("ensembles/*/*.h5"):
        with Dataset(segment) as data:
            assert find_damage(segment, range(data.rows), energy) is None


@pytest.mark.parametrize("name", list(COLUMNS))
def test_one_changed_value_is_found(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as file:
        value = file[name][44]
        file[name][44] = value + 1
    assert "row 44" in str(find_damage(path, range(ROWS), energy))
    assert find_damage(path, range(44), energy) is None
    with Dataset(path) as data:
        assert row_digest(data.read(range(44))) == row_digest(columns(range(44)))
        assert row_digest(data.read(range(ROWS))) != row_digest(columns(range(ROWS)))


def test_wrong_energy_with_right_checksum_is_found(path: Path) -> None:
    found = find_damage(path, range(7, 9), lambda c: energy(c) * (1 + 1e-8))
    assert "energies are wrong, the first in row 7" in str(found)


def test_a_row_of_another_gamma_than_its_ensemble_is_found(path: Path) -> None:
    """Also where its energy and its checksum are right."""
    row = columns(range(44, 45))
    row["gamma"][:] = 0.1
    row["energy"] = energy(row)
    with h5py.File(path, "r+") as file:
        file["gamma"][44], file["energy"][44], file["checksum"][44] = 0.1, row["energy"][0], row_checksums(row)[0]
    found = find_damage(path, range(ROWS), energy)
    assert "1 rows are not of the γ of their ensemble, the first is row 44" in str(found)


@pytest.mark.parametrize("how", ["missing", "empty", "truncated", "foreign", "text", "schema"])
def test_unreadable_files_are_named(path: Path, how: str) -> None:
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
        Dataset(path)
    assert str(path) in str(raised.value)


def test_no_permission_or_no_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write"):
        write_segment(tmp_path / "no", range(EACH), range(EACH), columns(range(EACH)), {}, TOGETHER)


def test_a_small_file_with_one_changed_bit_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "small.h5"

    def fill(file: h5py.File) -> None:
        file.attrs["pilot"] = "which"
        file.create_dataset("group/mean", data=np.arange(50.0))

    write_small_hdf5(path, fill)
    attributes, arrays = read_small_hdf5(path)
    assert attributes["pilot"] == "which" and arrays["group/mean"].tolist() == list(range(50))
    whole = bytearray(path.read_bytes())
    at = whole.find(np.arange(50.0).tobytes())
    for place in (at, at + 399, whole.find(b"which")):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(Damaged, match="differs from its checksum"):
            read_small_hdf5(path)


LAYOUT: Layout = {"a/x": ("<f4", (10, 3)), "a/which": ("|b1", (10,)), "y": ("<f8", (4,))}


def table_pieces() -> list[Piece]:
    x, which = np.arange(30, dtype=np.float32).reshape(10, 3), np.arange(10) % 3 == 0
    parts = [
        Piece(start, 10, {"a/x": x[start:stop], "a/which": which[start:stop]}) for start, stop in ((6, 10), (0, 6))
    ]
    return [*parts, Piece(0, 4, {"y": np.arange(4.0)})]


def test_a_table_that_is_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = table_pieces()
    layout, again = plan(iter(whole[:2]), lambda value: [None, value])
    assert layout == {name: LAYOUT[name] for name in ("a/x", "a/which")} and list(again) == whole[:2]
    assert plan(iter(()), lambda value: [value])[0] == {}
    paths = [tmp_path / "1.h5", tmp_path / "2.h5"]
    write_table(paths[0], LAYOUT, {"facts": "which"}, whole, TOGETHER)
    write_table(paths[1], LAYOUT, {"facts": "which"}, whole[::-1], TOGETHER)
    assert paths[0].read_bytes() == paths[1].read_bytes() and len(list(tmp_path.iterdir())) == 2
    with Table(paths[0]) as table:
        group = table.group("a", range(2, 4))
        assert set(group) == {"x", "which"} and group["x"].tolist() == [[6, 7, 8], [9, 10, 11]]
        assert "y" not in group and table.attributes["facts"] == "which" and len(table.read("y", range(0))) == 0
    monkeypatch.setattr("lj_vae_hpc.store.schema.CHECKED_AT_ONCE", 24)
    arrays = read_small_hdf5(paths[0])[1]
    np.testing.assert_array_equal(arrays["a/x"], np.arange(30.0).reshape(10, 3))
    damaged = bytearray(paths[0].read_bytes())
    damaged[damaged.find(np.arange(4.0).tobytes()) + 9] ^= 1
    paths[0].write_bytes(damaged)
    with pytest.raises(Damaged, match="differs from its checksum"):
        Table(paths[0])


def test_a_fault_while_pieces_are_made_is_no_matter_of_writing(tmp_path: Path) -> None:
    def pieces() -> Iterator[Piece]:
        yield table_pieces()[0]
        raise RuntimeError("CUDA error")

    with pytest.raises(RuntimeError, match=r"^CUDA error$"):
        write_table(tmp_path / "a.h5", LAYOUT, {}, pieces(), TOGETHER)
    assert not list(tmp_path.iterdir())


def test_an_error_in_a_late_piece_leaves_no_table(tmp_path: Path) -> None:
    def pieces() -> Iterator[Piece]:
        yield table_pieces()[0]
        raise UserError("damaged")

    with pytest.raises(UserError, match="damaged"):
        write_table(tmp_path / "a.h5", LAYOUT, {}, pieces(), TOGETHER)
    assert not list(tmp_path.iterdir())


def test_a_small_file_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    path, limits = tmp_path / "small.h5", resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(file: h5py.File) -> None:
        for k in range(8):
            file.create_dataset(f"group/{k}", data=np.arange(20_000.0))

    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write .*small\.h5"):
            write_small_hdf5(path, fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_data_of_very_many_ensembles(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the file says of its ensembles may be as large as they are many."""
    monkeypatch.setattr("lj_vae_hpc.store.reader.BYTES_AT_ONCE", 8)
    with Dataset(path) as data:
        assert list(data.ensembles()["gamma"]) == [0.1, 0.2, 0.3]
    monkeypatch.setattr("lj_vae_hpc.store.reader.BYTES_PER_ENSEMBLE", 4)
    with pytest.raises(UserError, match="ensembles/gamma has a wrong shape or type"):
        Dataset(path)
