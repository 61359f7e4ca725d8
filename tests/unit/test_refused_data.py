"""Files, targets and folders that `score` and its like refuse."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.run.files import new_file
from lj_vae_hpc.stages.export import export
from tests.conftest import sampled_run
from tests.files import write_gsd, write_hdf5, write_one_chunk
from tests.own import ROWS, SIDE, WORLD, N, scored


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("a.npy", lambda path, r: np.save(path, r[:, :7]), "row 0: it has 7 particles, system.n_particles is 8"),
        ("a.npy", lambda path, r: np.save(path, np.where(r == r[4, 2], np.nan, r)), "row 4: a coordinate is not"),
        ("a.npy", lambda path, r: np.save(path, r + 0.5), r"row \d+: particle \d .* outside the box \[0, 5\]"),
        ("a.npy", lambda path, r: np.save(path, r.astype(complex)), "holds complex128, not numbers"),
        ("a.npy", lambda path, r: np.save(path, r.reshape(-1)), r"has shape \(192,\), expected \(n, N, 2\) or "),
        ("a.npy", lambda path, r: np.save(path, r[:, :3, 0]), r"has shape \(12, 3\), expected \(n, N, 2\)"),
        ("a.npz", lambda path, r: np.savez(path, x=r), "no array positions, only: x; accepted are"),
        ("a.npz", lambda path, r: path.write_text("mine"), "a.npz is not a NumPy archive, or is damaged; accepted are"),
        ("a.h5", lambda path, r: path.write_text("mine"), "a.h5 is not HDF5, or is damaged; accepted are"),
        ("a.h5", lambda path, r: write_hdf5(path, r[:, 0]), r"positions has shape \(12, 2\), expected \(n, N, 2\) or"),
        ("a.h5", lambda path, r: write_hdf5(path, r.astype("S4")), "positions holds .S4, not numbers"),
        ("a.h5", lambda path, r: h5py.File(path, "w").create_group("x"), "no data set positions, only: x; accepted"),
        ("a.h5", lambda path, r: write_hdf5(path, r, compression="lzf"), "is packed by lzf, .* copy it with h5py"),
        ("a.h5", lambda path, r: write_hdf5(path, r, "latest", maxshape=(None, N, 2)), "may grow, .* copy it with"),
        ("a.h5", lambda path, r: write_one_chunk(path, (ROWS, N, 2)), "chunks of positions are missing or damaged"),
        ("a.h5", lambda path, r: write_one_chunk(path, (1 << 22, N, 2)), "positions are larger than 128 MiB; copy"),
        ("a.gsd", lambda path, r: write_gsd(path, r * 1.1, SIDE), r"row \d+: .* outside the box"),
        ("a", lambda path, r: path.write_text("root:x:0:0::/root:/bin/sh\n"), "row 0, line 1: .*'root:x.*accepted are"),
        ("a.png", lambda path, r: path.write_bytes(b"\x89PNG\r\n\0\0"), "of no kind that lj-vae reads; accepted are"),
        ("a.txt", lambda path, r: path.touch(), "a.txt is empty; accepted are"),
        ("a.txt", lambda path, r: path.mkdir(), "a.txt is a folder"),
        ("a.txt", lambda path, r: os.mkfifo(path), "a.txt is no regular file"),
        ("a.txt", lambda path, r: path.symlink_to("/dev/zero"), "a.txt is no regular file"),
        ("a.txt", lambda path, r: None, "a.txt does not exist"),
    ],
)  # fmt: skip
def test_files_that_are_refused(
    trained: Path, normal: np.ndarray, tmp_path: Path, name: str, write: Callable, words: str
) -> None:
    write(tmp_path / name, normal)
    with pytest.raises(UserError, match=words) as raised:
        scored(trained, tmp_path / name, to=tmp_path / "scores.csv")
    assert str(raised.value).startswith(str(tmp_path / name)) and "delete" not in str(raised.value)
    assert not (tmp_path / "scores.csv").exists()


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        ("x0,y0,x1,y1", slice(None), "line 1 looks like a header: begin it with #, or leave it out.*one particle per"),
        ("# made today\nframe particle x y", slice(4), "line 2 looks like a header"),
        ("0.1 0.2 0.3 O.4", slice(None), "row 0, line 1: could not convert string to float: 'O.4'"),
        ("# x y", slice(2), "row 0, line 2: it has 1 particles, .* is 8; one particle per line is not read"),
        ("# frame x y", slice(3), "row 0, line 2: 3 numbers, x and y do not pair up; one particle per line is"),
    ],
)  # fmt: skip
def test_tables_with_a_header_or_a_particle_per_line(
    trained: Path, normal: np.ndarray, tmp_path: Path, header: str, row: slice, words: str
) -> None:
    np.savetxt(tmp_path / "a.csv", normal.reshape(ROWS, -1)[:, row], delimiter=",", header=header, comments="")
    with pytest.raises(UserError, match=f"a.csv, {words}"):
        scored(trained, tmp_path / "a.csv", to=tmp_path / "scores.csv")


def test_nothing_is_overwritten_unasked(trained: Path, normal: np.ndarray, tmp_path: Path, lj_vae: Callable) -> None:
    np.save(tmp_path / "mine.npy", normal)
    for command, to in (("score", "a.csv"), ("export", "a.xyz")):
        (tmp_path / to).write_text("mine")
        files = [tmp_path / "mine.npy"] if command == "score" else []
        done = lj_vae(command, *files, "-o", trained, "--to", tmp_path / to)
        assert done.returncode == 2 and "exists; choose another file, or replace it with --force" in done.stderr
        assert (tmp_path / to).read_text() == "mine"
        assert lj_vae(command, *files, "-o", trained, "--to", tmp_path / to, "--force").returncode == 0
        assert (tmp_path / to).read_text() != "mine"


def test_what_another_has_written_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.csv exists"), new_file(tmp_path / "a.csv", overwrite=False) as partial:
        partial.write_text("mine")
        (tmp_path / "a.csv").write_text("theirs")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.csv": "theirs"}


@pytest.mark.parametrize("target", ["/dev/null.csv", "/dev/null", "x" * 300 + ".csv", "a.txt", "folder.csv"])
def test_targets_that_are_refused(trained: Path, normal: np.ndarray, tmp_path: Path, target: str) -> None:
    np.save(tmp_path / "mine.npy", normal)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match=r"--to .*(devices|no regular|too long|suffix)"):
        scored(trained, tmp_path / "mine.npy", to=tmp_path / target)
    assert not Path("/dev/null.csv").exists()


def test_a_device_is_no_target_of_an_export(trained: Path) -> None:
    with pytest.raises(UserError, match=r"/dev holds devices"):
        export(WORLD, trained / "data" / "dataset.h5", Path("/dev/null.xyz"))
    assert not Path("/dev/null.xyz").exists()


def test_input_is_refused_before_torch_is_loaded(
    trained: Path, normal: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "few.npy", normal[:, :7])
    (tmp_path / "a.csv").write_text("mine")
    (tmp_path / "a.html").write_text("mine")
    np.save(tmp_path / "mine.npy", normal)
    code = (
        "import sys; from lj_vae_hpc.cli import cli; from lj_vae_hpc.parallel.world import World\n"
        "try: cli.main(sys.argv[1:], standalone_mode=False, obj=World())\n"
        "except Exception as error: print(error, 'torch' in sys.modules)"
    )
    to, folder = tmp_path / "scores.csv", str(trained)
    for arguments, message in (
        (("score", tmp_path / "none.npy", "-o", folder, "--to", to), "none.npy does not exist"),
        (("score", tmp_path / "few.npy", "-o", folder), "row 0: it has 7 particles"),
        (("score", tmp_path / "mine.npy", "-o", folder, "--to", tmp_path / "a.csv"), "a.csv exists"),
        (("compare", folder, "--to", tmp_path / "a.html"), "a.html exists"),
        (("compare", folder, tmp_path, "--to", tmp_path / "b.html"), "holds no run with a data set"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True, timeout=60
        )
        assert message in done.stdout and done.stdout.endswith("False\n"), done.stdout


def test_messages_of_a_run_without_model_and_of_odd_names(tmp_path: Path, normal: np.ndarray, lj_vae: Callable) -> None:
    np.save(tmp_path / "mine.npy", normal)
    run = sampled_run(tmp_path / "run")
    done = lj_vae("score", tmp_path / "mine.npy", "-o", run)
    assert done.returncode == 2 and f"bin/lj-vae train -o {run}` first" in done.stderr and done.stderr.count("\n") == 1
    done = lj_vae("score", f"{tmp_path}/a\nb.npy", "-o", run)
    assert done.returncode == 2 and "line feeds" in done.stderr and "Traceback" not in done.stderr
