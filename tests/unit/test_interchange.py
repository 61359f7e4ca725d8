"""Data sets in the formats of other programs, there and back."""

import hashlib
import resource
from collections.abc import Callable
from pathlib import Path

import extxyz
import gsd.hoomd
import h5py
import numpy as np
import pytest

from lj_vae_hpc.config.load import load
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.physics.energies import total_energy
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.sampling.ensemble import ensembles_of, fingerprint
from lj_vae_hpc.stages import import_data
from lj_vae_hpc.stages.export import export
from lj_vae_hpc.stages.generate import generate
from lj_vae_hpc.stages.import_data import import_files
from lj_vae_hpc.stages.verify import verify
from lj_vae_hpc.store.foreign import read_configurations
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.schema import COLUMNS, Columns, row_checksums
from tests.conftest import TINY
from tests.files import repacked, write_hdf5, write_text

N, SIDE, GAMMAS, CHAINS = 8, 5.0, (0.1, 1.0), 60
WORLD = World()


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of the sampler with hard cases: coordinates that need all digits, large identities, no acceptance."""
    folder = tmp_path_factory.mktemp("sampled")
    (folder / "tiny.yaml").write_text(TINY)
    config = load(folder / "tiny.yaml")
    generate(WORLD, RunDir(folder), config)
    with h5py.File(folder / "data" / "dataset.h5", "r+") as file:
        file["positions"][0, 0] = 1e-7 / 3, np.nextafter(np.float32(SIDE), np.float32(0))
        file["acceptance"][1], file["chain"][2] = np.nan, 2**40
        file["energy"][:1] = total_energy(file["positions"][:1], file["gamma"][:1], config.system.pair_potential)
        file["checksum"][:3] = row_checksums({name: file[name][:3] for name in COLUMNS})
    return folder


@pytest.fixture
def files(sampled: Path, tmp_path: Path) -> tuple[Path, ...]:
    """The same configurations as text, one file per γ."""
    positions = np.split(columns(sampled / "data" / "dataset.h5")["positions"], 2)
    for e in range(2):
        write_text(tmp_path / f"{e}.txt", positions[e])
    return tmp_path / "0.txt", tmp_path / "1.txt"


def columns(path: Path) -> Columns:
    with Dataset(path) as data:
        return data.read(range(data.rows))


def take(files: tuple[Path, ...], run: Path, *overrides: str) -> None:
    (run.parent / "tiny.yaml").write_text(TINY)
    import_files(WORLD, files, run, run.parent / "tiny.yaml", overrides)


def read_extxyz(path: Path) -> dict[str, np.ndarray]:
    frames = list(extxyz.iread_dicts(path))
    assert all((f.cell == np.diag([SIDE, SIDE, 1])).all() and not f.pbc.any() for f in frames)
    assert not any(f.arrays["pos"][:, 2].any() or (f.arrays["species"] != "X").any() for f in frames)  # X: for ASE
    found = {name: np.array([float(f.info[name]) for f in frames]) for name in COLUMNS if name != "positions"}
    words = [line for line in path.read_text().splitlines() if "chain=" in line]
    found["chain"] = np.array([int(w.split("chain=")[1].split()[0]) for w in words])  # more than the library's 32 bits
    return found | {"positions": np.array([f.arrays["pos"][:, :2] for f in frames])}


def read_gsd(path: Path) -> dict[str, np.ndarray]:
    with gsd.hoomd.open(path) as file:
        frames = list(file)
    for row, frame in enumerate(frames):
        assert (frame.particles.N, frame.configuration.step, frame.configuration.dimensions) == (N, row, 2)
        assert frame.configuration.box.tolist() == [SIDE, SIDE, 0, 0, 0, 0]
        assert (np.abs(frame.particles.position) <= [SIDE / 2, SIDE / 2, 0]).all()
    found = {name: np.concatenate([f.log[name] for f in frames]) for name in COLUMNS if name != "positions"}
    return found | {"positions": np.array([f.particles.position[:, :2] for f in frames]) + SIDE / 2}


def read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        assert file["box_side"] == SIDE
        return {name: file[name] for name in COLUMNS}


@pytest.mark.parametrize(
    ("name", "read"), [("a.xyz", read_extxyz), ("a.EXTXYZ", read_extxyz), ("a.gsd", read_gsd), ("a.npz", read_npz)]
)
def test_every_column_survives_bit_for_bit(
    sampled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, read: Callable[[Path], Columns]
) -> None:
    monkeypatch.setattr("lj_vae_hpc.store.reader.ROWS_AT_ONCE", 7)  # many blocks, the last one shorter
    export(WORLD, sampled / "data" / "dataset.h5", tmp_path / "new" / name)
    found, wanted = read(tmp_path / "new" / name), columns(sampled / "data" / "dataset.h5")
    for column, values in wanted.items():
        np.testing.assert_array_equal(found[column].astype(values.dtype), values, err_msg=column, strict=True)
    assert [p.name for p in (tmp_path / "new").iterdir()] == [name]


@pytest.mark.parametrize("suffix", ["txt", "npy", "xyz", "npz", "gsd", "h5", "packed.h5", "latest.h5"])
def test_an_import_of_an_export_is_the_same_data(
    sampled: Path, tmp_path: Path, files: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr("lj_vae_hpc.stages.import_data.PARTICLES_AT_ONCE", 7 * N)
    source = sampled / "data" / "dataset.h5"
    if suffix == "h5":
        files = (source,)
    elif suffix == "packed.h5":
        files = (repacked(source, tmp_path / "packed.h5"),)
    elif suffix == "latest.h5":
        files = (tmp_path / "latest.h5",)
        with h5py.File(*files, "w", libver="latest") as file:
            for name in ("positions", "gamma"):
                file.create_dataset(name, data=columns(source)[name], chunks=True, compression="gzip", shuffle=True)
    elif suffix == "npy":
        files = tuple(file.with_suffix(".npy") for file in files)
        for file, positions in zip(files, np.split(columns(source)["positions"], 2), strict=True):
            np.save(file, positions)
    elif suffix != "txt":
        files = (tmp_path / f"a.{suffix}",)
        export(WORLD, source, *files)
    take(files, tmp_path / "run")
    found, wanted = columns(tmp_path / "run" / "data" / "dataset.h5"), columns(sampled / "data" / "dataset.h5")
    for name in ("positions", "energy", "gamma"):
        assert found[name].tobytes() == wanted[name].tobytes(), name
    np.testing.assert_array_equal(found["chain"], np.tile(np.arange(CHAINS), 2))
    assert np.isnan(found["acceptance"]).all()
    verify(WORLD, tmp_path / "run" / "data" / "dataset.h5")


def test_a_data_set_that_others_have_packed(sampled: Path, tmp_path: Path) -> None:
    source = sampled / "data" / "dataset.h5"
    path = repacked(source, tmp_path / "dataset.h5")
    wanted = columns(source)
    with Dataset(path) as data:
        for rows in (range(data.rows), range(5, 6), range(6, 22), range(7, 7)):
            for name, values in data.read(rows).items():
                np.testing.assert_array_equal(values, wanted[name][rows.start : rows.stop], err_msg=name)
        for name, values in data.mapped().items():
            np.testing.assert_array_equal(values, wanted[name], err_msg=name)
    verify(WORLD, path)
    export(WORLD, path, tmp_path / "a.npz")
    assert read_npz(tmp_path / "a.npz")["positions"].tobytes() == wanted["positions"].tobytes()


def test_many_chunks(tmp_path: Path) -> None:
    """In trees of several levels, and in pages."""
    positions = np.random.default_rng(1).random((3000, N, 2), np.float32)
    for libver in ("earliest", "latest"):
        write_hdf5(tmp_path / "a.h5", positions, libver, chunks=(1, N, 2), compression="gzip", shuffle=True)
        found = [one.positions for one in read_configurations(tmp_path / "a.h5", N, SIDE)]
        assert np.array_equal(found, positions)


def test_what_a_refused_file_is_told_to_do_works(
    sampled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    positions = columns(sampled / "data" / "dataset.h5")["positions"]
    write_hdf5(tmp_path / "old.h5", positions, compression="lzf")
    with pytest.raises(UserError) as raised:
        next(read_configurations(tmp_path / "old.h5", N, SIDE))
    monkeypatch.chdir(tmp_path)
    exec(str(raised.value).split("copy it with h5py: ")[1], {"h5py": h5py})
    found = [one.positions for one in read_configurations(tmp_path / "new.h5", N, SIDE)]
    assert np.array_equal(found, positions)


@pytest.mark.parametrize("count", [2, 3])
def test_rows_are_ordered_by_gamma_whatever_the_order_of_the_files(sampled: Path, tmp_path: Path, count: int) -> None:
    """Also where there are as many files as γ, as they say γ themselves."""
    wanted = columns(sampled / "data" / "dataset.h5")
    order = np.argsort(wanted["gamma"], kind="stable")[::-1]  # all of γ = 1, then all of γ = 0.1
    parts = [tmp_path / name for name in ("first.npz", "second.npz", "third.npz")[:count]]
    for path, rows in zip(parts, np.array_split(order, count), strict=True):
        np.savez(path, positions=wanted["positions"][rows], gamma=wanted["gamma"][rows].astype("f4"))
    take(tuple(parts), tmp_path / "run")
    found = columns(tmp_path / "run" / "data" / "dataset.h5")
    np.testing.assert_array_equal(found["gamma"], np.repeat(GAMMAS, CHAINS))
    for e in (slice(0, CHAINS), slice(CHAINS, None)):
        np.testing.assert_array_equal(found["positions"][e], wanted["positions"][e][::-1])
    with Dataset(tmp_path / "run" / "data" / "dataset.h5") as data:
        rows = zip(found["positions"], found["energy"], strict=True)
        content = hashlib.sha256(b"".join(r.tobytes() + u.tobytes() for r, u in rows))
        assert data.attributes["content"] == content.hexdigest()


def test_a_run_goes_on_from_imported_data(tmp_path: Path, files: tuple[Path, ...], lj_vae: Callable) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    run, few = tmp_path / "run", "sampling.configurations=11"  # the files say how many there are
    done = lj_vae("import", *files, "-c", tmp_path / "tiny.yaml", "-o", run, "-s", few, ranks=2)
    assert done.returncode == 0 and done.stdout.count("imported: 120 configurations") == 1, done.stderr
    config = load(run / "config.yaml")
    assert (config.sampling.protocol, config.sampling.configurations) == ("imported", CHAINS)
    with h5py.File(run / "data" / "dataset.h5") as file:
        ensembles = ensembles_of(config.seed, config.system, config.sampling)
        assert file.attrs["fingerprint"] == fingerprint(ensembles, CHAINS, file.attrs["content"])
    done = lj_vae("run", "-o", run)
    assert done.returncode == 0 and "was imported, nothing to sample" in done.stdout, done.stderr
    assert "imported<" in (run / "report" / "index.html").read_text().replace(" ", "")
    with Dataset(run / "evaluation" / "suites" / "gamma_3.h5") as suite:
        assert suite.attributes["protocol"] == "equilibrated"
    assert "nan" in lj_vae("inspect", "-o", run).stdout
    with pytest.raises(UserError, match=f"{run} already has data"):
        import_files(WORLD, files, run, None, ())
    (run / "data" / "dataset.h5").unlink()
    with pytest.raises(UserError, match=r"imported, and .* is missing"):
        generate(WORLD, RunDir(run), load(run / "config.yaml"))


def test_imported_data_is_never_sampled(tmp_path: Path, lj_vae: Callable) -> None:
    done = lj_vae("generate", "-o", tmp_path / "run", "-s", "sampling.protocol=imported")
    assert done.returncode == 2 and "bin/lj-vae import FILE... -o" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "run" / "data" / "dataset.h5").exists()


def test_of_two_imports_at_once_one_is_refused(
    tmp_path: Path, files: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, check = tmp_path / "run", import_data._check_new

    def slow(path: RunDir) -> None:
        check(path)
        monkeypatch.setattr(import_data, "_check_new", check)
        take(files, run)  # all of the other, after this one has found nothing

    monkeypatch.setattr(import_data, "_check_new", slow)
    with pytest.raises(UserError, match=f"{run} already has data"):
        take(files, run)
    with Dataset(run / "data" / "dataset.h5") as data:
        assert data.rows == 2 * CHAINS


def test_an_import_that_was_killed_is_done_again(tmp_path: Path, files: tuple[Path, ...]) -> None:
    leftover = tmp_path / "run" / "data.partial" / "ensembles" / "0.h5"
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    take(files, tmp_path / "run")
    assert [p.name for p in (tmp_path / "run" / "data").iterdir()] == ["dataset.h5"]


@pytest.mark.parametrize("target", ["a.pdb", "a", "there.npz", "file/a.xyz"])
def test_exports_that_are_refused(sampled: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "there.npz").write_text("mine")
    (tmp_path / "file").write_text("mine")
    words = {"there.npz": "exists", "file/a.xyz": "cannot write"}.get(target, "one of .xyz, .extxyz, .gsd, .npz")
    with pytest.raises(UserError, match=words):
        export(WORLD, sampled / "data" / "dataset.h5", tmp_path / target)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"there.npz": "mine", "file": "mine"}


@pytest.mark.parametrize("name", ["a.xyz", "a.gsd", "a.npz"])
def test_an_export_that_cannot_be_finished_leaves_nothing(sampled: Path, tmp_path: Path, name: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))  # like a disk that fills up
    try:
        with pytest.raises(UserError, match=f"cannot write .*{name}: File too large"):
            export(WORLD, sampled / "data" / "dataset.h5", tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())
