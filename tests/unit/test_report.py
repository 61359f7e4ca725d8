"""The page from whatever a run has left so far, its figures as files, and several runs side by side."""

import base64
import csv
import html
import json
import re
import shlex
import shutil
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes

from lj_vae_hpc.config.load import load
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.examples import shares
from lj_vae_hpc.evaluation.structure import density_profile, pair_distribution
from lj_vae_hpc.evaluation.summary import table
from lj_vae_hpc.evaluation.weights import load_network
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.report.detection import BINS, _curves, auroc_cell
from lj_vae_hpc.report.explorer import _rows, explorer
from lj_vae_hpc.report.panels import Panel, literal, panel, write_panels
from lj_vae_hpc.report.results import Results
from lj_vae_hpc.report.run_page import cards
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.stages.compare import compare
from lj_vae_hpc.stages.evaluate import evaluate
from lj_vae_hpc.stages.generate import generate
from lj_vae_hpc.stages.report import report
from lj_vae_hpc.stages.train import train
from lj_vae_hpc.training.accuracy import Accuracy, Positions
from lj_vae_hpc.training.batches import Configurations
from tests.conftest import sampled_run


def made(run: RunDir, *stages: object) -> str:
    """The page of a run after some stages."""
    config = load(run.config)
    for stage in (*stages, report):
        stage(World(), run, config)  # type: ignore[operator]
    return run.report.read_text()


def missing(page: str) -> list[str]:
    """The commands that the page names for what is not there yet."""
    return [html.unescape(command) for command in re.findall(r"This makes it: <code>(.*?)</code>", page)]


def do(command: str) -> str:
    """The page after a command that a page has named."""
    lj_vae, name, o, path, *settings = shlex.split(command)
    assert [lj_vae, name, o] == ["lj-vae", "run", "-o"] and set(settings[::2]) <= {"-s"}
    run = RunDir(Path(path))
    run.config.write_text(load(run.config, tuple(settings[1::2])).to_yaml())
    return made(run, generate, train, evaluate)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDir, list[str]]:
    """A run of two particles and one γ, and its page after each stage."""
    path = tmp_path_factory.mktemp("report") / "a run"
    run = RunDir(sampled_run(path, "system.n_particles=2", "sampling.gammas=[0.5]", "model.latent_dim=1",
                             "evaluation.studies=[reconstruction,generation,completion]",
                             "evaluation.corruptions={one: {amplitude: 2.83, particles: 1}}"))  # fmt: skip
    return run, [made(run), made(run, train), made(run, evaluate)]


@pytest.fixture(scope="module")
def small(stages: tuple[RunDir, list[str]]) -> RunDir:
    """The same run after all stages."""
    return stages[0]


def test_every_stage_adds_to_the_page(stages: tuple[RunDir, list[str]]) -> None:
    run, (sampled, trained, evaluated) = stages
    command = f"lj-vae run -o '{run.path}'"
    latent = f"{command} -s 'evaluation.studies=[reconstruction,generation,completion,latent]'"
    assert missing(sampled) == [*5 * [command], latent] and missing(trained) == [*4 * [command], latent]
    assert "<h2>Energies" in sampled and "The data are equilibrated" in sampled and "Latent plane" not in sampled
    assert "KL (nats per configuration)" not in sampled and "KL (nats per configuration)" in trained
    assert missing(evaluated) == [latent] and "<h2>Latent plane" in evaluated
    assert "PCA with as many dimensions (1)" in evaluated
    assert "T = 0.75 ε/k_B" in evaluated and "error (σ)" in evaluated


def test_the_console_has_the_names_and_ceilings_of_the_page(small: RunDir) -> None:
    summary, page = json.loads((small.evaluation / "summary.json").read_text()), small.report.read_text()
    _, head, *rows = table(summary).splitlines()
    titles = [cell for cell in re.split(r" {2,}", head) if cell]
    assert titles[:2] == ["suite", "ceiling"] and "latent distance (two-sided)" in titles
    assert all(re.search(rf"<th[^>]*>(<button[^>]*>)?{re.escape(title)}", page) for title in titles[1:])
    for row, suite in zip(rows, summary["suites"].values(), strict=False):
        assert f"  {'≥ ' * ('at least' in suite['ceiling_kind'])}{suite['ceiling']:.3f}  " in row
    assert sum("≥" in row for row in rows) == 1, "of the particle that is moved"


def test_the_commands_that_a_page_names_make_what_it_misses(tmp_path: Path) -> None:
    run = RunDir(sampled_run(tmp_path / "a run", "sampling.protocol=reference", "sampling.gammas=[0.5]",
                             "system.n_particles=2", "model.latent_dim=1", "evaluation.fluids={}"))  # fmt: skip
    page = made(run)
    while commands := missing(page):
        page = do(commands[0])
        assert commands[0] not in missing(page)
    assert "R-hat, autocorrelation" in page and "<h2>Latent plane" in page and "<h2>Generation" in page
    found = json.loads((run.evaluation / "studies.json").read_text())["latent"]["order_parameter"]["correlations"]
    assert f"correlation of {found['height_sum']:.3f} with Σy" in page


def test_every_figure_is_kept_with_its_data(small: RunDir) -> None:
    folder = small.report.parent / "figures"
    names = {path.stem for path in folder.glob("*.svg")}
    assert {
        "latent_plane",
        "mean_energy",
        "learned_pair_potential",
        "training_mse",
        "energy_gamma_0.5",
        "roc_soft",
    } <= names
    assert names == {path.stem for path in folder.glob("*.csv")}
    rows = list(csv.DictReader((folder / "mean_energy.csv").open()))
    assert [float(row["gamma"]) for row in rows] == [0.5] and float(rows[0]["standard_error_epsilon"]) > 0


def shown(run: RunDir, name: str) -> dict[str, np.ndarray]:
    """The columns of a figure's file."""
    rows = list(csv.DictReader((run.report.parent / f"figures/{name}.csv").open()))
    return {key: np.array([float(row[key] or "nan") for row in rows]) for key in rows[0]}


def test_figures_of_the_data_show_the_data(small: RunDir) -> None:
    with h5py.File(small.dataset) as file:
        energy, pilot = file["energy"][:], file["ensembles/pilot/mean"][0, 0]
    difference = shown(small, "mean_energy_minus_pilot")["difference_epsilon"]
    np.testing.assert_allclose(difference, [energy.mean() - pilot], rtol=1e-9)
    histogram = shown(small, "energy_gamma_0.5")
    widths = histogram["U_high_epsilon"] - histogram["U_low_epsilon"]
    assert (histogram["density_per_epsilon"] * widths).sum() == pytest.approx(1)
    first = {name: values[0] for name, values in shown(small, "relaxation_gamma_0.5").items()}
    # γ L of two particles at random heights, less than γ of two on the floor.
    assert first["mean_U_packed_epsilon"] < 1 < 3 < first["mean_U_scattered_epsilon"]


def test_structure_is_that_of_each_gamma(tmp_path: Path) -> None:
    run = RunDir(sampled_run(tmp_path / "run", "sampling.protocol=reference"))
    results = Results.read(run, load(run.config))
    with h5py.File(run.dataset) as file:
        positions, gamma = file["positions"][:], file["gamma"][:]
    assert list(results.structure) == [0.1, 1.0]
    for value, (pairs, profile) in results.structure.items():
        np.testing.assert_array_equal(pairs, pair_distribution(positions[gamma == value]))
        np.testing.assert_array_equal(profile, density_profile(positions[gamma == value], 5.0))


def test_the_page_names_the_epoch_of_the_smallest_validation_loss(small: RunDir) -> None:
    losses = [json.loads(line)["validation_loss"] for line in small.metrics.read_text().splitlines()]
    best = int(np.argmin(losses)) + 1
    assert f"The validation loss is smallest after epoch {best} of {len(losses)}." in small.report.read_text()
    assert len(set(losses)) == len(losses) > 1


def test_points_to_explore_are_the_configurations(small: RunDir) -> None:
    found, _ = explorer(Results.read(small, load(small.config)))
    names, side = [suite["name"] for suite in found["suites"]], found["side"]
    with h5py.File(small.evaluation / "scores.h5") as file:
        normal = file["normal/height_sum"][:]
        np.testing.assert_array_equal(_rows(file["normal"], "height_sum", np.array([5, 2])), normal[[5, 2]])
        examples = [{key: values[:] for key, values in file[f"examples/{name}"].items()} for name in names]
        heights = [file[name]["height_sum"][:][one["row"]] for name, one in zip(names, examples, strict=True)]

    def decoded(text: str, kind: str) -> np.ndarray:
        return np.frombuffer(base64.b64decode(text), kind)

    axes = {axis["title"]: decoded(axis["values"], "<f4") for axis in found["axes"]}
    np.testing.assert_allclose(axes["Σy (σ)"], np.concatenate(heights), rtol=1e-6)
    positions = np.concatenate([one["positions"] for one in examples])
    steps = decoded(found["positions"], "<u2").reshape(positions.shape)
    inside = (positions > -side / 2) & (positions < 1.5 * side)
    np.testing.assert_allclose((steps / 65535 * 2 - 0.5)[inside] * side, positions[inside], atol=side / 32767)
    moved = np.concatenate([one.get("moved", np.zeros(one["positions"].shape[:2], bool)) for one in examples])
    bits = np.unpackbits(decoded(found["moved"], "u1"), bitorder="little")[: moved.size]
    np.testing.assert_array_equal(bits.reshape(moved.shape), moved)
    assert moved.any() and not moved.all()


def test_curves_of_a_score_that_tells_all_anomalies() -> None:
    curves = _curves(np.linspace(0, 1, 50), np.linspace(2, 3, 50))
    normal, own = np.array(curves["normal"]), np.array(curves["own"])
    assert normal[BINS // 2 :].sum() == own[: BINS // 2].sum() == 0
    assert set(curves["roc"]) == {1.0}


def test_figures_of_missing_data_show_their_study(small: RunDir) -> None:
    masks = json.loads((small.evaluation / "studies.json").read_text())["completion"]["masks"]
    own = sorted((one["unknown"], one["exact"], one["vae"]) for name, one in masks.items() if name.startswith("random"))
    assert own == list(zip(*shown(small, "missing_data").values(), strict=True))
    assert list(shown(small, "missing_data")) == ["share", "exact_sigma", "auto_encoder_sigma"]


def test_names_of_figures_are_names_of_files(tmp_path: Path) -> None:
    (tmp_path / "old.svg").write_text("of an earlier page")
    names = ["roc_../../a", "roc_..\\..\\a", "roc_$x_{$<b>"]

    def draw(name: str) -> Panel:
        return panel(name, {"x": np.arange(2.0), "y": [1]}, lambda axes: titled(axes, name))

    def titled(axes: Axes, name: str) -> None:
        axes.set_title(literal(name))

    panels = [draw(name) for name in names]
    write_panels(tmp_path, panels)
    assert len(list(tmp_path.glob("*.svg"))) == 3 and not (tmp_path / "old.svg").exists()
    assert panels[0].csv == "x,y\n0.0,1\n1.0,\n" and "&lt;b&gt;" in panels[2].svg and "$x_{$" in panels[2].svg


def test_a_strong_separation_with_the_wrong_sign_is_named() -> None:
    cells = [auroc_cell({"auroc": area, "auroc_ci": [area - 0.01, area + 0.01]}) for area in (0.04, 0.45, 0.96)]
    assert ["wrong sign" in cell.note for cell in cells] == [True, False, False]
    assert "0.960 if reversed" in cells[0].note and cells[0].shade < 0 < cells[2].shade


def test_a_comparison_reads_runs_and_replaces_nothing(small: RunDir, tmp_path: Path) -> None:
    other = sampled_run(tmp_path / "other")
    target = tmp_path / "compare.html"
    before = {path: path.stat().st_mtime_ns for path in small.path.rglob("*") if path.is_file()}
    compare(World(), [small.path, other], target, False)
    assert before == {path: path.stat().st_mtime_ns for path in small.path.rglob("*") if path.is_file()}
    page = target.read_text()
    assert missing(page) == [f"lj-vae run -o {other}"] and "<h2>ROC curves" in page
    assert "only one run has it" in page and "no difference" not in page
    with pytest.raises(UserError, match="exists; choose another file"):
        compare(World(), [small.path], target, False)
    with pytest.raises(UserError, match="holds no run"):
        compare(World(), [tmp_path], tmp_path / "new.html", False)


@pytest.mark.parametrize(("kind", "decoder"), [
    ("coordinates", "mlp"), ("distance_matrix", "positions"), ("distance_matrix", "mlp"),
])  # fmt: skip
def test_only_what_distances_give_is_turned_onto_the_configuration(kind: str, decoder: str, tmp_path: Path) -> None:
    run = RunDir(sampled_run(
        tmp_path / "run", "sampling.protocol=reference", f"representation.kind={kind}", f"model.decoder={decoder}",
        "model.encoder=mlp", "model.linear_path=false", "training.mirror=false", "evaluation.fluids={}",
    ))  # fmt: skip
    page = made(run, train, evaluate)
    explorer = json.loads(re.findall(r'id="data-explorer">(.*?)</script>', page)[0])
    config = load(run.config)
    side = config.system.box_side
    network, _ = load_network(World(), run, config)
    with h5py.File(run.evaluation / "scores.h5") as file:
        example = {name: values[:] for name, values in file["examples/normal"].items()}
    turned = (kind, decoder) == ("distance_matrix", "mlp")
    assert explorer["aligned"] is turned and ("original" in example) is turned
    if not turned:
        some = Configurations(example["positions"], np.zeros(len(example["row"])))
        with torch.no_grad():
            given = Positions(network, side).decoded(some).numpy() * side * 2**0.5
        assert example["reconstruction"] == pytest.approx(given.reshape(-1, 8, 2), abs=1e-4)


@pytest.mark.parametrize("name", ["scores.h5", "summary.json"])
def test_damaged_results_are_named(small: RunDir, name: str, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    shutil.copytree(small.path, run.path)
    with (run.evaluation / name).open("r+b") as file:
        file.truncate(1000)
    message = re.escape(f"cannot read the results in {run.path}") + ".*run `lj-vae evaluate -o .*` again"
    with pytest.raises(UserError, match=message):
        compare(World(), [small.path, run.path], tmp_path / "compare.html", False)
    with pytest.raises(UserError, match=message):
        report(World(), run, load(run.config))
    assert not (tmp_path / "compare.html").exists()


@pytest.mark.parametrize(("network", "worse"), [(0.104, False), (0.106, True)])
def test_the_card_calls_components_better_where_the_warning_does(small: RunDir, network: float, worse: bool) -> None:
    results = Results.read(small, load(small.config))
    results.summary["accuracy"] = asdict(Accuracy("position error", "σ", network, 0.1, 3))
    card = next(card for card in cards(results) if card.name == "position error")
    assert card.value == f"{network} σ" and card.warning is worse
    assert card.note == "PCA with as many dimensions (3): 0.1 σ" + "; PCA is better" * worse


@pytest.mark.parametrize(("particles", "suites"), [(30, 0), (30, 15), (5000, 15), (5000, 25), (100_000, 1)])
def test_a_page_holds_a_bounded_number_of_particles(particles: int, suites: int) -> None:
    normal, each = shares(particles, suites)
    configurations = normal + suites * each
    assert min(normal, each) >= 1 and configurations <= 1500 and configurations * particles <= 250_000
