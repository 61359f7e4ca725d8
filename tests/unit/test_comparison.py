"""Runs side by side: what differs, no winner by chance or between different normal configurations, and the network."""

import html
import json
import re
import shutil
from pathlib import Path

import h5py
import pytest

from lj_vae_hpc.config.load import load
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.report.comparable import conclusion, differences, verdicts
from lj_vae_hpc.report.compare import NETWORK, _network_cells, comparison
from lj_vae_hpc.report.results import Results
from lj_vae_hpc.run.folder import RunDir, open_run
from lj_vae_hpc.stages.evaluate import evaluate
from lj_vae_hpc.stages.train import train
from tests.conftest import sampled_run

Runs = dict[str, Results]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models on the same data, with another weight of the KL divergence and more epochs."""
    folder = tmp_path_factory.mktemp("compared")
    one = sampled_run(folder / "one", "sampling.protocol=reference", "evaluation.studies=[generation]")
    for path, settings in ((one, ()), (folder / "other", ("objective.kl_weight=8", "training.epochs=3"))):
        run, config = open_run(World(), path, one / "config.yaml", settings, data=None if path == one else one)
        train(World(), run, config)
        evaluate(World(), run, config)
    return [one, folder / "other"]


def read(*folders: Path) -> Runs:
    return {folder.name: Results.read(RunDir(folder), load(folder / "config.yaml")) for folder in folders}


@pytest.fixture
def copy(folders: list[Path], tmp_path: Path) -> Path:
    """A copy of the first run, to be changed."""
    shutil.copytree(folders[0], tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def said(runs: Runs) -> str:
    return conclusion(verdicts(runs), runs)


def test_what_differs_is_said_first(folders: list[Path]) -> None:
    assert differences(read(*folders)) == {
        "one": "objective.kl_weight 1.0; training.epochs 2", "other": "objective.kl_weight 8.0; training.epochs 3",
    }  # fmt: skip
    assert differences(read(folders[0])) == {"one": "nothing"}
    page = html.unescape(comparison(list(read(*folders).values())).render())
    rows = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", page.partition("<tbody>")[2])
    assert rows[:3] == ["differs in", *differences(read(*folders)).values()]


def test_what_differs_by_chance_has_no_winner(folders: list[Path], copy: Path) -> None:
    runs = read(folders[0], copy)
    assert said(runs) == "one, copy: no difference beyond the intervals on 5 of 5 suites."
    assert {str(one) for own in verdicts(runs).values() for one in own} == {"one, copy: no difference"}
    page = comparison(list(runs.values())).render()
    assert "<b>" not in page.partition("Anomaly detection</h2>")[2].partition("</table>")[0]


def test_a_winner_is_above_all_intervals(folders: list[Path], copy: Path) -> None:
    path = copy / "evaluation/summary.json"
    summary = json.loads(path.read_text())
    summary["suites"]["soft"]["scores"]["combined"] |= {"auroc": 1.5, "auroc_ci": [1.4, 1.6]}
    path.write_text(json.dumps(summary))
    runs = read(*folders, copy)
    assert said(runs) == (
        "one, other, copy: no difference beyond the intervals on 4 of 5 suites; copy is largest on 1 (soft)."
    )
    assert "<b>1.500</b>" in comparison(list(runs.values())).render()


def test_other_normal_configurations_are_not_compared(folders: list[Path], copy: Path) -> None:
    with h5py.File(copy / "evaluation/scores.h5", "r+") as file:
        file["normal/height_sum"][0] += 1.0
    runs = read(folders[0], copy)
    assert said(runs) == "one and copy: 5 suites not compared, as their normal configurations differ."
    page = comparison(list(runs.values())).render()
    assert "one: not comparable; copy: not comparable" in page and " / " in page


def test_other_anomalies_are_not_compared(folders: list[Path], copy: Path) -> None:
    with h5py.File(copy / "evaluation/scores.h5", "r+") as file:
        file["soft/pair_energy"][0] -= 1.0
    runs = read(*folders, copy)
    assert said(runs) == (
        "one, other, copy: no difference beyond the intervals on 4 of 4 suites."
        " one, other: no difference beyond the intervals on 1 of 1 suites."
        " one and copy: 1 suite not compared, as their anomalies differ."
    )


def test_other_systems_are_not_compared(folders: list[Path], tmp_path: Path) -> None:
    larger = sampled_run(tmp_path / "larger", "sampling.protocol=reference", "system.n_particles=9")
    run, config = RunDir(larger), load(larger / "config.yaml")
    train(World(), run, config)
    evaluate(World(), run, config)
    runs = read(folders[0], larger)
    assert said(runs) == "one and larger: 5 suites not compared, as their systems differ."
    assert "system.n_particles 9" in differences(runs)["larger"]


def test_what_depends_on_the_network_has_rows(folders: list[Path]) -> None:
    page = html.unescape(comparison(list(read(*folders).values())).render())
    table = page.partition("What the network does</h2>")[2].partition("</table>")[0]
    rows = {row[0]: row[1:] for row in (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", r) for r in table.split("<tr>")[2:])}
    assert list(rows)[:5] == ["reconstruction", "rmse (L√2)", "KL (nats)", "−ELBO (nats)", "generation"]
    assert "mean AUROC of negative elbo" in rows and all(len(cells) == 2 for cells in rows.values())
    assert "PCA" in rows["reconstruction"][0] and " of 2 γ" in rows["generation"][0]
    for k, folder in enumerate(folders):
        with h5py.File(folder / "evaluation/scores.h5") as file:
            means = {title: file[f"normal/{name}"][:].mean() for name, title in NETWORK.items()}
        for title, mean in means.items():
            shown, error = map(float, rows[title][k].partition("<")[0].split(" ± "))
            assert abs(shown - mean) <= error


def test_means_of_the_network_have_their_standard_errors(folders: list[Path]) -> None:
    with h5py.File(folders[0] / "evaluation/scores.h5") as file:
        values = file["normal/rmse"][:].astype(float)
    text = _network_cells(read(folders[0])["one"])[NETWORK["rmse"]].text
    mean, error = map(float, text.split(" ± "))
    true = values.std() / len(values) ** 0.5
    assert mean == pytest.approx(values.mean(), abs=true) and true / 1.6 < error < 1.6 * true
