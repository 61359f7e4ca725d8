"""The Python interface on small trained runs."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import lj_vae_hpc
from lj_vae_hpc.api.run import Run
from lj_vae_hpc.config.load import load
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.physics.observables import smallest_distance
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.run.folder import open_run as make_run
from lj_vae_hpc.stages.score import score
from lj_vae_hpc.stages.train import train
from lj_vae_hpc.store.schema import metadata_checksum
from tests.conftest import ROOT, sampled_run

N, SIDE = 8, 5.0


def trained(path: Path, *settings: str) -> Path:
    sampled_run(path, *settings)
    train(World(), RunDir(path), load(path / "config.yaml"))
    return path


def on_data_of(owner: Path, path: Path, *settings: str) -> Run:
    run, config = make_run(World(), path, owner / "config.yaml", settings, data=owner)
    train(World(), run, config)
    return lj_vae_hpc.open_run(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("api") / "run")


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return lj_vae_hpc.open_run(folder)


def python(code: str, *arguments: object, launcher: tuple[str, ...] = ()) -> str:
    command = [*launcher, sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_loads_nothing_and_opening_no_torch(folder: Path) -> None:
    loaded = "print(*sorted({'torch', 'h5py', 'numba', 'numpy', 'mpi4py.MPI', 'scipy', 'click'} & set(sys.modules)))"
    assert python(f"import sys, lj_vae_hpc; {loaded}").split() == []
    opened = python(f"import sys, lj_vae_hpc; lj_vae_hpc.open_run(sys.argv[1]).energy.mean(); {loaded}", folder).split()
    assert not {"torch", "numba", "mpi4py.MPI"} & set(opened)
    documented = "lj_vae_hpc.api.run.Run, lj_vae_hpc.api.model.Model, lj_vae_hpc.errors.UserError"
    assert python(f"import lj_vae_hpc; print(*(one.__name__ for one in ({documented})))").split() == [
        "Run", "Model", "UserError",
    ]  # fmt: skip
    assert set(lj_vae_hpc.__all__) == {"open_run", "__version__"}


def test_columns_are_those_of_the_file_and_are_mapped(run: Run, folder: Path) -> None:
    with h5py.File(folder / "data/dataset.h5") as file:
        for name in ("positions", "energy", "gamma"):
            column = getattr(run, name)
            assert isinstance(column, np.memmap) and column.dtype == file[name].dtype
            np.testing.assert_array_equal(column, file[name][:])
    assert run.positions.shape == (120, N, 2) and run.config.system.box_side == SIDE
    with pytest.raises(ValueError, match="read-only"):
        run.positions[0] = 0.0


def test_a_slice_reads_only_its_part_of_the_file(folder: Path, tmp_path: Path) -> None:
    """Of a file of 104 GB, nearly all of it a hole."""
    huge = tmp_path / "huge"
    (huge / "data").mkdir(parents=True)
    (huge / "config.yaml").write_text((folder / "config.yaml").read_text())
    rows = 10**9
    with h5py.File(folder / "data/dataset.h5") as old, h5py.File(huge / "data/dataset.h5", "w") as new:
        new.attrs.update(old.attrs)
        new.attrs["configurations"] = rows // 2  # of two γ
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        for name, item in old.items():
            if isinstance(item, h5py.Group):
                old.copy(name, new)
            else:
                space = h5py.h5s.create_simple((rows, *item.shape[1:]))
                h5py.h5d.create(new.id, name.encode(), item.id.get_type(), space, creation)
        new["positions"][-2:] = 1.5
        ensembles: dict[str, np.ndarray] = {}
        new["ensembles"].visititems(
            lambda name, item: ensembles.update({name: item[()]} if isinstance(item, h5py.Dataset) else {})
        )
        new.attrs["metadata_checksum"] = metadata_checksum(dict(new.attrs), ensembles)
    assert (huge / "data/dataset.h5").stat().st_blocks * 512 < 1e7
    before = time.monotonic()
    positions = lj_vae_hpc.open_run(huge).positions
    assert len(positions) == 10**9 and (positions[-2:] == 1.5).all() and (positions[-4:-2] == 0).all()
    assert time.monotonic() - before < 5
    (huge / "data/dataset.h5").unlink()


def test_splits_are_disjoint_and_complete(run: Run) -> None:
    rows = [run.split(name) for name in ("training", "validation", "calibration", "test")]
    assert all((np.diff(part) > 0).all() for part in rows)
    assert sorted(np.concatenate(rows)) == list(range(120))
    assert set(run.gamma[run.split("test")]) == {0.1, 1.0}
    with pytest.raises(ValueError, match="no split 'tests'; choose one of training"):
        run.split("tests")  # type: ignore[arg-type]


def test_encoding_ignores_the_order_of_particles_and_reconstructions_keep_it(run: Run) -> None:
    x = run.positions[:40]
    mean, log_variance = run.model.encode(x)
    assert mean.shape == log_variance.shape == (40, 4)
    order = np.random.default_rng(0).permuted(np.tile(np.arange(N), (40, 1)), axis=1)[..., None]
    shuffled = np.take_along_axis(x, order, axis=1)
    np.testing.assert_allclose(run.model.encode(shuffled)[0], mean, atol=1e-5)
    found = run.model.reconstruct(x)
    np.testing.assert_allclose(run.model.reconstruct(shuffled), np.take_along_axis(found, order, axis=1), atol=1e-5)
    by_height = np.take_along_axis(found, np.argsort(x[..., 1], axis=1)[..., None], axis=1)
    np.testing.assert_allclose(by_height, run.model.decode(mean), atol=1e-5)
    assert found.min() >= 0 and found.max() <= SIDE
    # Nearer to the particle that it is of than to any other one's place, on the whole.
    assert np.linalg.norm(found - x, axis=2).mean() < np.linalg.norm(found - shuffled, axis=2).mean()


def test_samples_follow_seed_and_gamma(run: Run) -> None:
    assert repr(run.model).startswith("<model of ") and "trained on γ from" in repr(run.model)
    low, high = (run.model.sample(300, gamma=gamma) for gamma in (0.1, 1.0))
    between = run.model.sample(300, gamma=0.5)
    assert low.shape == (300, N, 2) and low.min() >= 0 and low.max() <= SIDE
    assert low[..., 1].mean() > between[..., 1].mean() > high[..., 1].mean()
    np.testing.assert_array_equal(run.model.sample(300, gamma=0.1), low)
    assert (run.model.sample(300, gamma=0.1, seed=1) != low).any()
    mixed = run.model.sample(300)
    assert high[..., 1].mean() < mixed[..., 1].mean() < low[..., 1].mean()
    each = run.model.sample(4, gamma=[0.1, 1.0, 0.1, 1.0])
    np.testing.assert_allclose(each[[0, 2]], run.model.sample(2, gamma=0.1), atol=1e-5)


def test_sweeps_repair_what_overlaps(run: Run) -> None:
    before, after = (run.model.sample(200, gamma=0.5, sweeps=sweeps) for sweeps in (0, 10))
    apart = [(smallest_distance(positions) > 0.8).mean() for positions in (before, after)]
    assert apart[0] < 0.5, "most overlap before: else there is nothing to repair"
    assert apart[1] > 0.8
    assert after.shape == (200, N, 2) and after.min() >= 0 and after.max() <= SIDE
    each = run.model.sample(4, gamma=[0.1, 1.0, 0.1, 1.0], sweeps=3)
    np.testing.assert_allclose(each[[0, 2]], run.model.sample(2, gamma=0.1, sweeps=3), atol=1e-4)


def test_scores_are_those_of_the_command(run: Run, folder: Path, tmp_path: Path) -> None:
    score(World(), RunDir(folder), run.config, (folder / "data/dataset.h5",), tmp_path / "scores.h5")
    own = run.model.score(run.positions)
    with h5py.File(tmp_path / "scores.h5") as file:
        for name, values in file.items():
            if name in own:
                np.testing.assert_allclose(own[name], values[:], rtol=1e-5, atol=1e-5, err_msg=name)
        assert set(own) - set(file) == set()
    assert {"score", "p_value", "displacement"} <= set(own) and own["particle_score"].shape == (120, N)
    assert all(len(values) == 120 for values in own.values())


def test_the_odd_particle_is_found(run: Run) -> None:
    x = np.array(run.positions[run.gamma == 1.0][:20])
    x[:, 3] = np.clip(x[:, 5] + 0.2, 0, SIDE)
    odd = run.model.odd_particles(x)
    assert np.mean([set(particles[:2]) == {3, 5} for particles in odd]) > 0.8


def test_the_data_of_another_run(folder: Path, tmp_path: Path) -> None:
    run = on_data_of(folder, tmp_path / "other", "model.conditional=true", "training.epochs=1")
    assert (run.positions == lj_vae_hpc.open_run(folder).positions).all()
    x, gamma = run.positions[:10], run.gamma[:10]
    assert run.model.reconstruct(x, gamma).shape == x.shape
    assert run.model.sample(3, gamma=0.3).shape == (3, N, 2)
    assert np.isfinite(run.model.score(x, gamma)["score"]).all()
    with pytest.raises(ValueError, match="conditional: give gamma"):
        run.model.encode(x)
    with pytest.raises(ValueError, match=r"gamma has shape \(3,\); expected one number or \(10,\)"):
        run.model.encode(x, gamma[:3])


def test_a_model_of_other_representations_says_what_it_cannot_do(folder: Path, tmp_path: Path) -> None:
    settings = ("representation.kind=local_environment", "model.decoder=mlp", "model.linear_path=false")
    run = on_data_of(folder, tmp_path / "environments", *settings, "training.epochs=1")
    assert run.model.encode(run.positions[:6])[0].shape == (6, N, 4)
    for ask in (
        lambda: run.model.decode(np.zeros((1, 4))),
        lambda: run.model.reconstruct(run.positions[:1]),
        lambda: run.model.sample(1),
    ):
        with pytest.raises(UserError, match=r"cannot .* positions: its decoder \(mlp\) gives the entries of"):
            ask()
    assert np.isfinite(run.model.score(run.positions[:6])["score"]).all()


def broken(value: float) -> np.ndarray:
    x = np.ones((3, N, 2))
    x[2, 5, 1] = value
    return x


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (np.ones((N, 2)), rf"positions has shape \({N}, 2\); expected \(n, {N}, 2\)"),
        (np.ones((3, N + 1, 2)), r"particles in σ$"),
        (np.ones((3, 2 * N)), rf"positions has shape \(3, 16\); .*; reshape\(-1, {N}, 2\)\?"),
        (np.ones((0, N, 2)), "positions has shape"),
        (broken(np.nan), r"positions\[2, 5, 1\] is nan"),
        (broken(np.inf), r"positions\[2, 5, 1\] is inf"),
        (broken(5.1), r"positions\[2, 5\] = \(1, 5.1\) is outside the box from 0 to 5 σ"),
        (broken(-1e-3), r"is outside the box"),
        ([[1, 2], [3]], "positions is not a rectangular array"),
        (np.full((1, N, 2), "a"), "positions holds <U1; expected real numbers"),
        (np.full((1, N, 2), None), "positions holds object"),
    ],
)
def test_positions_that_cannot_be_used(run: Run, positions: object, message: str) -> None:
    for ask in (run.model.encode, run.model.reconstruct, run.model.score):
        with pytest.raises(ValueError, match=message):
            ask(positions)  # type: ignore[operator]


def test_other_arguments_that_cannot_be_used(run: Run) -> None:
    for bad, message in (
        ({"n": 0}, "n must be an integer of at least 1, not 0"),
        ({"n": 2.5}, "n must be an integer"),
        ({"n": 1, "sweeps": -1}, "sweeps must be an integer of at least 0"),
        ({"n": 1, "seed": -1}, "seed must be an integer of at least 0"),
        ({"n": 1, "gamma": np.nan}, r"gamma\[0\] is nan"),
        ({"n": 2, "gamma": [0.1, 0.2, 0.3]}, r"gamma has shape \(3,\)"),
        ({"n": 1, "gamma": -20.0}, r"gamma -20 is too far from the trained γ \(0.1, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            run.model.sample(**bad)  # type: ignore[arg-type]
    wrong = [(np.full((2, 4), bad), rf"z\[0, 0\] is {said}") for bad, said in ((np.nan, "nan"), (1e39, "inf"))]
    for z, message in ((np.zeros(4), r"expected \(n, 4\)"), *wrong):
        with pytest.raises(ValueError, match=message):
            run.model.decode(z)
    with pytest.raises(ValueError, match="takes no gamma"):
        run.model.encode(run.positions[:1], gamma=0.1)


def test_folders_that_are_no_runs_or_not_complete(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist; name the folder of a run"):
        lj_vae_hpc.open_run(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no config\.yaml"):
        lj_vae_hpc.open_run(tmp_path)
    (tmp_path / "config.yaml").write_text((folder / "config.yaml").read_text())
    empty = lj_vae_hpc.open_run(str(tmp_path))
    with pytest.raises(UserError, match="no data set in"):
        empty.positions  # noqa: B018
    with pytest.raises(UserError, match="run `lj-vae train"):
        empty.model  # noqa: B018
    with pytest.raises(UserError, match="run `lj-vae evaluate"):
        empty.summary  # noqa: B018
    (tmp_path / "models/abc").mkdir(parents=True)
    (tmp_path / "models/abc/config.yaml").write_text("")
    with pytest.raises(UserError, match=r"is a campaign; none of its models is finished yet$"):
        lj_vae_hpc.open_run(tmp_path).model  # noqa: B018


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_python_that_is_shown_works(folder: Path, page: str) -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    shown = shown.replace("runs/demo", str(folder)).replace("gamma == 0.4", "gamma == 0.1")  # the tiny run has no 0.4
    names: dict[str, np.ndarray] = {}
    exec(shown, names)
    assert names["some"].shape == (60, N, 2) and names["mean"].shape == (60, 4)
    assert names["new"].shape == (1000, N, 2) and names["odd"].dtype == bool


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount")
def test_a_run_that_cannot_be_written(run: Run, folder: Path) -> None:
    expected = run.model.score(run.positions)["score"].sum(), run.model.sample(50, 0.5).sum()
    for kept in (folder / "evaluation").glob("*/*.h5"):  # which would have to be written again
        kept.unlink()
    code = (
        "import sys, lj_vae_hpc; run = lj_vae_hpc.open_run(sys.argv[1]); model = run.model\n"
        "print(model.score(run.positions)['score'].sum(), model.sample(50, 0.5).sum(), 'mpi4py.MPI' in sys.modules)"
    )
    mounted = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && ! touch "$0/x" 2>/dev/null && exec "$@"'
    found = python(code, folder, launcher=("unshare", "-m", "sh", "-c", mounted, str(folder))).split()
    assert [float(number) for number in found[:2]] == pytest.approx(expected, rel=1e-5)
    assert found[2] == "False", "MPI was started"
    assert not list((folder / "evaluation").glob("*/*.h5"))
