"""A data set grows: only what is new is sampled, and it is the same as if it had been made at once."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from lj_vae_hpc.config.load import load
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.sampling import production
from lj_vae_hpc.sampling.equilibration import CHAINS
from lj_vae_hpc.stages.generate import generate
from tests.conftest import TINY

WORLD = World(None)


class Sampled:
    """Remembers what was sampled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[tuple[float, int, int]] = []
        sample_rows = production.sample_rows

        def watched(ensemble, rows, *rest):
            self.rows.append((ensemble.gamma, rows.start, rows.stop))
            return sample_rows(ensemble, rows, *rest)

        monkeypatch.setattr(production, "sample_rows", watched)

    def take(self) -> list[tuple[float, int, int]]:
        rows, self.rows = self.rows, []
        return rows


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> Sampled:
    return Sampled(monkeypatch)


def make(folder: Path, *settings: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "tiny.yaml").write_text(TINY)
    generate(WORLD, RunDir(folder), load(folder / "tiny.yaml", settings))
    return folder / "data" / "dataset.h5"


def columns(path: Path) -> dict[tuple[float, int], bytes]:
    """The bytes of every configuration by what it is."""
    with h5py.File(path) as file:
        names = ("positions", "energy", "ensemble", "acceptance", "checksum")
        parts = {name: file[name][:] for name in names}
        gamma, chain = file["gamma"][:], file["chain"][:]
    rows = (b"".join(parts[name][row].tobytes() for name in names) for row in range(len(gamma)))
    return {(float(g), int(c)): row for g, c, row in zip(gamma, chain, rows, strict=True)}


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """The segments; a file that was written again has another identity."""
    return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in folder.glob("data/ensembles/*/*-*.h5")}


def test_a_gamma_is_added(tmp_path: Path, sampled: Sampled) -> None:
    before, kept = columns(make(tmp_path / "a")), files(tmp_path / "a")
    sampled.take()
    path = make(tmp_path / "a", "sampling.gammas=[0.1,0.5,1.0]")
    assert sampled.take() == [(0.5, 0, 30), (0.5, 30, 60)]
    after = columns(path)
    assert before.items() <= after.items() and len(after) == 180
    assert kept.items() <= files(tmp_path / "a").items()


def test_more_configurations(tmp_path: Path, sampled: Sampled) -> None:
    before, kept = columns(make(tmp_path / "a")), files(tmp_path / "a")
    sampled.take()
    after = columns(make(tmp_path / "a", "sampling.configurations=70"))
    assert sampled.take() == [(0.1, 60, 70), (1.0, 60, 70)]
    assert before.items() <= after.items() and len(after) == 140
    assert kept.items() <= files(tmp_path / "a").items()


@pytest.mark.parametrize(
    "gammas", ["[1.0,0.1]", "{start: 0.1, stop: 1.0, num: 2}", "{start: 0.1, stop: 1.0, num: 2, spacing: log}"]
)
def test_another_way_to_say_the_same(gammas: str, tmp_path: Path, sampled: Sampled) -> None:
    path = make(tmp_path / "a")
    before, made = path.read_bytes(), path.stat().st_mtime_ns
    sampled.take()
    assert make(tmp_path / "a", f"sampling.gammas={gammas}") == path
    assert not sampled.take() and path.stat().st_mtime_ns == made
    assert make(tmp_path / "b", f"sampling.gammas={gammas}").read_bytes() == before


def test_three_steps_equal_one(tmp_path: Path, sampled: Sampled) -> None:
    make(tmp_path / "grown", "sampling.gammas=[1.0]", "sampling.configurations=20", "sampling.segment_rows=7")
    make(tmp_path / "grown", "sampling.gammas=[1.0,0.1]", "sampling.configurations=20")
    grown = make(tmp_path / "grown", "sampling.gammas=[0.1,0.4,1.0]", "sampling.configurations=50")
    sampled.take()
    at_once = make(tmp_path / "once", "sampling.gammas=[0.1,0.4,1.0]", "sampling.configurations=50")
    assert sum(stop - start for _, start, stop in sampled.take()) == 150
    assert grown.read_bytes() == at_once.read_bytes()


def test_what_is_left_out_comes_back(tmp_path: Path, sampled: Sampled, capsys: pytest.CaptureFixture[str]) -> None:
    whole = make(tmp_path / "a").read_bytes()
    assert "no longer" not in capsys.readouterr().out
    make(tmp_path / "a", "sampling.gammas=[1.0]", "sampling.configurations=30")
    said = capsys.readouterr().out
    assert f"{tmp_path / 'a'} will no longer have γ = 0.1 and 30 of 60 configurations of each γ; " in said
    assert "; -s sampling.gammas=[0.1,1] -s sampling.configurations=60 brings them back\n" in said
    assert len(columns(tmp_path / "a/data/dataset.h5")) == 30
    sampled.take()
    assert make(tmp_path / "a").read_bytes() == whole and not sampled.take()


def test_without_its_segments_a_complete_data_set_stays(tmp_path: Path, sampled: Sampled) -> None:
    path = make(tmp_path / "a")
    shutil.rmtree(path.parent / "ensembles")
    before = path.read_bytes()
    sampled.take()
    assert make(tmp_path / "a").read_bytes() == before and not sampled.take()


def test_deleted_segments_and_pilots_are_made_again(tmp_path: Path, sampled: Sampled) -> None:
    """As `verify` advises for damaged ones; nothing else is, nor what was deleted of an ensemble as a whole."""
    path = make(tmp_path / "a")
    store, before = path.parent / "ensembles", path.read_bytes()
    files = [next(store.glob("*/0000000000-*.h5")), next(store.glob("*/pilot.h5"))]
    content = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    sampled.take()
    assert make(tmp_path / "a").read_bytes() == before
    assert [file.read_bytes() for file in files] == content and len(sampled.take()) == 1
    shutil.rmtree(files[0].parent)
    assert make(tmp_path / "a").read_bytes() == before and not sampled.take()


def test_samples_of_a_chain_grow_too(tmp_path: Path) -> None:
    settings = ("sampling.samples_per_chain=2", "sampling.segment_rows=14")
    make(tmp_path / "grown", "sampling.configurations=20", *settings)
    grown = make(tmp_path / "grown", "sampling.configurations=60", *settings)
    at_once = make(tmp_path / "once", "sampling.configurations=60", *settings)
    assert grown.read_bytes() == at_once.read_bytes()
    with h5py.File(grown) as file:
        assert file["chain"][:60].tolist() == list(np.repeat(np.arange(30), 2))


@pytest.mark.parametrize("samples", [1, 2])
def test_the_chains_of_the_pilot_are_the_first_ones(samples: int, tmp_path: Path) -> None:
    """Grown from a few of them to more than all of them, the data set is the one made at once."""
    settings = (f"sampling.samples_per_chain={samples}", "sampling.gammas=[1.0]", "sampling.segment_rows=400")
    make(tmp_path / "grown", f"sampling.configurations={20 * samples}", *settings)
    path = make(tmp_path / "grown", f"sampling.configurations={(CHAINS + 28) * samples}", *settings)
    at_once = make(tmp_path / "once", f"sampling.configurations={(CHAINS + 28) * samples}", *settings)
    assert path.read_bytes() == at_once.read_bytes()
    with h5py.File(next(path.parent.glob("ensembles/*/pilot.h5"))) as pilot, h5py.File(path) as data:
        chains, first = len(pilot["positions"]), data["positions"][::samples]
        np.testing.assert_array_equal(first[:chains], pilot["positions"][:])
        assert chains == CHAINS and len(np.unique(data["positions"][:], axis=0)) == (CHAINS + 28) * samples
        acceptance = data["acceptance"][: chains * samples : samples]
        np.testing.assert_allclose(acceptance, pilot["accepted"][:] / (8 * pilot["length"][()]), rtol=1e-6)
        energies = data["energy"][:]
    rest = np.array_split(energies, [chains * samples])
    error = np.hypot(*(part.std() / np.sqrt(len(part) / samples) for part in rest))
    assert abs(rest[0].mean() - rest[1].mean()) < 4 * error  # one time in 16,000 by chance


def test_the_reference_protocol_runs_pilots_only_when_asked(tmp_path: Path, sampled: Sampled) -> None:
    reference = "sampling.protocol=reference"
    path = make(tmp_path / "a", reference)
    assert not list(path.parent.glob("ensembles/*/pilot*"))
    before = columns(path)
    sampled.take()
    make(tmp_path / "a", reference, "sampling.check_equilibrium=true")
    with h5py.File(path) as file:
        assert file["ensembles/pilot/converged"].shape == (2,)
    assert columns(path) == before and not sampled.take()
