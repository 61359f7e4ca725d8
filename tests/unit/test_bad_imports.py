"""Files of other programs that an import refuses, and why."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.stages.import_data import import_files

GOOD = "0.5 0.5 1.5 0.5 2.5 0.5 3.5 0.5 0.5 2 1.5 2 2.5 2 3.5 2\n"
FRAME = "8\n{}\n" + "".join(f"A {x} {y} 0\n" for x in (1, 2, 3, 4) for y in (1, 3))
N = 8


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """60 configurations that are accepted."""
    path = tmp_path / "good.txt"
    path.write_text(GOOD * 60)
    return path


def refused(config: Path, words: str, *files: Path, settings: tuple[str, ...] = ()) -> str:
    """What an import says that is refused and writes nothing."""
    run = config.parent / "run"
    with pytest.raises(UserError, match=words) as raised:
        import_files(World(), files, run, config, settings)
    assert not run.exists()
    return str(raised.value)


def test_the_good_file_is_accepted(tiny: Path, good: Path, tmp_path: Path) -> None:
    import_files(World(), (good, good), tmp_path / "run", tiny, ())


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
        ("a.xyz", FRAME.format('Lattice="5.001 0 0 0 5.001 0 0 0 1"'), "the box has side 5.001, system.box_side is 5"),
        ("a.xyz", FRAME.format('Lattice="5 0 0 0 6 0 0 0 1"'), "the lattice is not a square"),
        ("a.xyz", FRAME.format('Lattice="a b c"'), "row 0, line 1: not extended XYZ"),
    ],
)  # fmt: skip
def test_bad_configurations_are_named(tiny: Path, good: Path, name: str, text: str, words: str) -> None:
    (tiny.parent / name).write_text(text)
    message = refused(tiny, words, tiny.parent / name, good)
    assert name in message or "sampling.gammas" in message


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
def test_bad_archives_are_named(tiny: Path, good: Path, arrays: dict[str, np.ndarray], words: str) -> None:
    np.savez(tiny.parent / "a.npz", **arrays)
    refused(tiny, words, tiny.parent / "a.npz", good)


def test_files_that_do_not_fit_gamma_or_are_missing(tiny: Path, good: Path, tmp_path: Path) -> None:
    refused(tiny, "contains no gamma: give one file per value of sampling.gammas", good)
    refused(tiny, "no.txt does not exist", good, tmp_path / "no.txt")
    refused(tiny, "is a folder, not a file", good, tmp_path)
    (tmp_path / "few.txt").write_text(GOOD * 9)
    refused(tiny, r"sampling.configurations: .* 10, not 9", tmp_path / "few.txt", settings=("sampling.gammas=[0.1]",))


def test_bad_input_ends_with_status_2_and_one_line(tmp_path: Path, lj_vae: Callable) -> None:
    (tmp_path / "a.txt").write_text(GOOD[:-2])
    done = lj_vae("import", tmp_path / "a.txt", "-o", tmp_path / "run", "-s", "sampling.gammas=[1]", ranks=2)
    assert "a.txt, row 0, line 1: 15 numbers" in done.stderr and "Traceback" not in done.stderr
    assert done.returncode == 2 and done.stderr.count("lj-vae: error") == 1
    done = lj_vae("export", "-o", tmp_path / "run", "--to", tmp_path / "a.pdb")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
