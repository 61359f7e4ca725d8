"""Data sets in the formats of other programs, there and back."""

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
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.schema import COLUMNS, Columns, row_checksums
from tests.conftest import TINY

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
    return tuple(as_text(tmp_path / f"{e}.txt", positions[e]) for e in range(2))


def as_text(path: Path, positions: np.ndarray) -> Path:
    np.savetxt(path, positions.reshape(len(positions), -1), fmt="%.9g", header="x1 y1 x2 y2 ...")
    return path


def columns(path: Path) -> Columns:
    with Dataset(path) as data:
        return data.read(range(data.rows))


def repacked(source: Path, target: Path) -> Path:
    """A data set of lj-vae as others may store it."""
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        new.attrs.update(old.attrs)
        old.copy("ensembles", new)
        for name in old.keys() - {"ensembles"}:
            new.create_dataset(name, data=old[name], chunks=(7, *old[name].shape[1:]), compression="gzip", shuffle=True)
    return target


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


def test_rows_are_ordered_by_gamma_whatever_the_order_of_the_files(sampled: Path, tmp_path: Path) -> None:
    wanted = columns(sampled / "data" / "dataset.h5")
    order = np.argsort(wanted["gamma"], kind="stable")[::-1]  # all of γ = 1, then all of γ = 0.1
    parts = [tmp_path / "first.npz", tmp_path / "second.npz", tmp_path / "third.npz"]
    for path, rows in zip(parts, np.array_split(order, 3), strict=True):
        np.savez(path, positions=wanted["positions"][rows], gamma=wanted["gamma"][rows].astype("f4"))
    take(tuple(parts), tmp_path / "run")
    found = columns(tmp_path / "run" / "data" / "dataset.h5")
    np.testing.assert_array_equal(found["gamma"], np.repeat(GAMMAS, CHAINS))
    for e in (slice(0, CHAINS), slice(CHAINS, None)):
        np.testing.assert_array_equal(found["positions"][e], wanted["positions"][e][::-1])


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
    assert done.returncode == 2 and "run `lj-vae import" in done.stderr and done.stderr.count("\n") == 1
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


GOOD = "0.5 0.5 1.5 0.5 2.5 0.5 3.5 0.5 0.5 2 1.5 2 2.5 2 3.5 2\n"
FRAME = "8\n{}\n" + "".join(f"A {x} {y} 0\n" for x in (1, 2, 3, 4) for y in (1, 3))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.txt", GOOD * 4 + GOOD[:-3] + "\n", "line 5: 15 numbers, x and y do not pair up"),
        ("a.txt", "# x y\n\n" + GOOD + GOOD[:-6] + "\n", r"row 1, line 4: it has 7 particles, system.n_particles is 8"),
        ("a.txt", GOOD + GOOD.replace("3.5", "x"), "line 2: could not convert .*'x'"),
        ("a.txt", GOOD + GOOD.replace("3.5", "nan", 1), "line 2: a coordinate is not finite"),
        ("a.txt", GOOD + GOOD.replace("3.5", "-inf", 1), "line 2: a coordinate is not finite"),
        ("a.txt", GOOD.replace("3.5 2", "3.5 5.01"), r"line 1: particle 7 at \(3.5, 5.01\) is outside .* \[0, 5\]"),
        ("a.txt", GOOD.replace("3.5 2", "-1e-9 2"), "line 1: particle 7 .* is outside the box"),
        ("a.txt", GOOD.replace("1.5 0.5", "0.5 0.5"), "line 1: the energy is not finite: two particles"),
        ("a.txt", "# nothing\n", "holds no configuration"),
        ("a.txt", GOOD * 59, "59 of gamma 0.1, 60 of gamma 1$"),
        ("a.npz", GOOD, "not a NumPy archive"),
        ("a.xyz", "", "is empty; accepted are"),
        ("a.xyz", FRAME + FRAME[:-8], "row 1, line 11: it is cut short"),
        ("a.xyz", FRAME.replace("8\n", "88888888888\n", 1), "row 0, line 1: it is cut short"),
        ("a.xyz", FRAME + "\n" + FRAME, r"line 11: expected a number of particles, not '\\n'"),
        ("a.xyz", FRAME + FRAME.replace("A 2 1", "A x 1"), "row 1, line 11: not extended XYZ: .*'x'"),
        ("a.xyz", FRAME.replace("A 2 1 0", "A 2 1 1"), r"row 0, line 1: positions have shape \(8, 3\)"),
        ("a.xyz", FRAME.format("gamma=0.4"), r"line 1: gamma 0.4 is not in sampling.gammas \[0.1, 1.0\]"),
        ("a.xyz", FRAME.format("gamma=[1, 2]"), r"gamma \[1 2\] is not in"),
        ("a.xyz", FRAME.format('Lattice="6 0 0 0 6 0 0 0 1"'), "the box has side 6.0, system.box_side is 5"),
        ("a.xyz", FRAME.format('Lattice="5 0 0 0 6 0 0 0 1"'), "the lattice is not a square"),
        ("a.xyz", FRAME.format('Lattice="a b c"'), "row 0, line 1: not extended XYZ"),
    ],
)  # fmt: skip
def test_bad_configurations_are_named(
    tmp_path: Path, files: tuple[Path, ...], name: str, text: str, words: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=words) as raised:
        take((tmp_path / name, files[1]), tmp_path / "run")
    assert name in str(raised.value) or "sampling.gammas" in str(raised.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros(3)}, "no array positions, only: x"),
        ({"positions": np.ones((60, N, 3))}, r"row 0: positions have shape \(8, 3\)"),
        ({"positions": np.array([{}])}, "positions holds object, not numbers"),
        ({"positions": np.ones((60, N, 2)), "gamma": np.ones(59)}, r"gamma has shape \(59,\), expected .* \(60,\)"),
        ({"positions": np.ones((60, N, 2)), "box_side": 6.0}, "the box has side 6.0"),
        ({"positions": np.ones((0, N, 2))}, "holds no configuration"),
    ],
)
def test_bad_archives_are_named(
    tmp_path: Path, files: tuple[Path, ...], arrays: dict[str, np.ndarray], words: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=words):
        take((tmp_path / "a.npz", files[1]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_files_that_do_not_fit_gamma_or_are_missing(tmp_path: Path, files: tuple[Path, ...]) -> None:
    for given, words in (
        (files[:1], "does not tell gamma: give one file per value of sampling.gammas"),
        ((files[0], tmp_path / "no.txt"), "no.txt does not exist"),
        ((files[0], tmp_path), "is a folder, not a file"),
    ):
        with pytest.raises(UserError, match=words):
            take(given, tmp_path / "run")
        assert not (tmp_path / "run").exists()
    few = as_text(tmp_path / "few.txt", np.loadtxt(files[0])[:9])
    with pytest.raises(UserError, match=r"sampling.configurations: .* 10, not 9"):
        take((few,), tmp_path / "run", "sampling.gammas=[0.1]")
    assert not (tmp_path / "run").exists()


def test_bad_input_ends_with_status_2_and_one_line(tmp_path: Path, lj_vae: Callable) -> None:
    (tmp_path / "a.txt").write_text(GOOD[:-2])
    done = lj_vae("import", tmp_path / "a.txt", "-o", tmp_path / "run", "-s", "sampling.gammas=[1]", ranks=2)
    assert "a.txt, row 0, line 1: 15 numbers" in done.stderr and "Traceback" not in done.stderr
    assert done.returncode == 2 and done.stderr.count("lj-vae: error") == 1
    done = lj_vae("export", "-o", tmp_path / "run", "--to", tmp_path / "a.pdb")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
