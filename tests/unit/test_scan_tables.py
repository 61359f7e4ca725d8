"""The tables and the page of a campaign, against what they were made of."""

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from pyarrow import csv, parquet

from lj_vae_hpc import open_run
from lj_vae_hpc.config.load import load
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.report.page import Section
from lj_vae_hpc.report.panels import ORANGE
from lj_vae_hpc.scan.campaign import Campaign
from lj_vae_hpc.scan.collect import Collected, collect, model_row, potential_name, score_rows
from lj_vae_hpc.scan.cost import Costs, kind_of
from lj_vae_hpc.scan.page import campaign_page, write_page
from lj_vae_hpc.scan.status import Status
from lj_vae_hpc.scan.work import Work
from lj_vae_hpc.stages import call
from lj_vae_hpc.store.reader import Dataset
from tests.campaigns import campaign_in, missing

MODELS = "scan.models=[{model.latent_dim: 3}, {approach: beta, gammas: [0.1, 1.0], seed: 5}]"


def test_from_sampling_to_the_tables(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    campaign = campaign_in(tmp_path / "c", MODELS)
    Work(World(), campaign, call).run(list(campaign.tasks.values()))
    assert not missing(campaign)
    own = campaign.models[1].run
    assert str(own.data.readlink()) == f"../../sets/{own.data.resolve().parent.name}/data"
    assert str(campaign.models[0].run.data.readlink()) == "../../data"
    assert all(task.run.report.exists() for task in campaign.models)
    suites = [task.run.evaluation / "ensembles" for task in campaign.models]
    assert [str(link.readlink()) for link in suites] == ["../../../suites"] * 2
    assert len(list(campaign.suites.glob("*/*-*.h5"))) == 3  # gamma_3, soft, uniform: once for both models
    collected = collect(campaign)
    assert not collected.unchecked and not collected.left_out
    assert [check.name for check in collected.thermodynamics.checks] == ["dF/dγ = ⟨Σy⟩", "C = var U / T²"]
    names = ("ensembles", "order", "profiles", "scores", "thermodynamics")
    files = collected.write(campaign.tables)
    assert sorted(file.name for file in files) == [f"{name}.{s}" for name in names for s in ("csv", "parquet")]
    html, figures = write_page(campaign, collected)
    assert all(f"<h2>{title}" in html.read_text() for title in ("Thermodynamics", "Structure", "Models"))
    pages = re.findall('<a href="(models/.*?)">', html.read_text())
    assert {campaign.path / page for page in pages} == {task.run.report for task in campaign.models}
    assert len(list(figures.glob("*.svg"))) == 10
    assert {"over_gamma_free_energy.svg", "psi6.csv", "models_mean_auroc.csv"} < {f.name for f in figures.iterdir()}
    check_ensembles(campaign)
    check_models(campaign)
    curves, profiles, order = (
        parquet.read_table(campaign.tables / f"{name}.parquet").to_pylist()
        for name in ("thermodynamics", "profiles", "order")
    )
    assert [row["gamma"] for row in curves if row["sampled"]] == [0.1, 0.5, 1.0]
    particles = campaign.config.system.n_particles
    for row in profiles:
        assert row["error"] >= 0 and (row["x"] is None) == (row["quantity"] == "psi6")
    side = campaign.config.system.box_side
    density = [row["value"] for row in profiles if row["quantity"] == "density" and row["gamma"] == 0.5]
    assert sum(density) * side**2 / len(density) == pytest.approx(particles, rel=1e-6)
    assert {(row["label"], row["gamma"]) for row in order} == {
        (task.label, g) for task, gs in zip(campaign.models, ((0.1, 0.5, 1.0), (0.1, 1.0)), strict=True) for g in gs
    }
    ensembles, scores = (parquet.read_table(campaign.tables / f"{name}.parquet") for name in ("ensembles", "scores"))
    assert ensembles["gamma"].to_pylist() == [0.1, 0.5, 1.0] and ensembles["configurations"].to_pylist() == [60] * 3
    assert csv.read_csv(campaign.tables / "scores.csv").num_rows == scores.num_rows
    assert {(row["latent_dim"], row["kl_weight"], row["gammas"]) for row in scores.to_pylist()} == {
        (3, 1, 3),
        (4, 8, 2),
    }
    assert {"gamma_3", "soft", "uniform"} < set(scores["suite"].to_pylist())
    assert all(0 <= row["auroc_low"] <= row["auroc"] <= row["auroc_high"] <= 1 for row in scores.to_pylist())
    assert set(ensembles["potential"].to_pylist()) == {"lennard_jones"}
    assert "3 done" in Status(campaign).text()
    wider = campaign_in(tmp_path / "c", MODELS[:-1] + ", {model.latent_dim: 5}, {model.width: 24}]")
    assert [Costs(wider, measures=False).of(model) > 0 for model in wider.models] == [True] * 3 + [False]
    assert Costs(wider).to_measure == ["the training of 1 kind of model"] and not Costs(campaign).to_measure
    assert len({kind_of(task.config) for task in wider.models}) == 2 and Costs(wider).of(wider.models[3]) > 0
    assert "training: " in (lines := Costs(wider).basis)[2] and "measured on 2 models" in lines[1]
    capfd.readouterr()
    Work(World(), campaign, call).run(list(campaign.tasks.values()))
    assert not capfd.readouterr().out
    more = campaign_in(tmp_path / "c", MODELS, "evaluation.unseen_gammas=[3.0,2.0]")
    assert [m.run for m in more.models] == [m.run for m in campaign.models] and len(missing(more)) == 2
    first, second = campaign.models
    status = Status(campaign).text()
    assert f"model {first.name}: latent_dim=3, done\nmodel {second.name}: {second.label}, done" in status
    grown = campaign_in(tmp_path / "c", MODELS, "sampling.gammas=[0.1,0.5,0.7,1.0]")
    old = f"model {first.name}: latent_dim=3, not part of this configuration any more"
    status = Status(grown).text()
    assert f"model {grown.models[0].name}: latent_dim=3, to do" in status and old in status
    assert f"model {second.name}: {second.label}, done" in status, "it has γ of its own"
    (tmp_path / "c/config.yaml").write_text(grown.config.to_yaml())
    with pytest.raises(UserError) as error:
        _ = open_run(tmp_path / "c").model
    assert str(error.value).endswith(f'one of its models: open_run("{second.run.path}") ({second.label})')
    (second.run.evaluation / "summary.json").write_text("junk")
    with pytest.raises(UserError, match=r"summary\.json is damaged .*; run `lj-vae evaluate -o .*` again"):
        list(score_rows(second))


def check_ensembles(campaign: Campaign) -> None:
    """The table of the ensembles, and the dots of ⟨y⟩ on the page, against the data set."""
    with Dataset(campaign.run.dataset) as data:
        columns = data.read(range(data.rows))
    means = []
    for row in parquet.read_table(campaign.tables / "ensembles.parquet").to_pylist():
        own = columns["gamma"] == row["gamma"]
        assert len(np.unique(columns["chain"][own])) == own.sum() == 60, "independent of each other"
        height = columns["positions"][own, :, 1].astype(float).sum(axis=1)
        for name, values in (("energy", columns["energy"][own]), ("height_sum", height)):
            expected = [values.mean(), values.std(ddof=1) / 60**0.5, values.std()]
            assert [row[f"{name}_{what}"] for what in ("mean", "error", "sd")] == pytest.approx(expected, rel=1e-6)
        means.append(height.mean() / 8)  # of 8 particles
    svg = (campaign.tables / "figures/over_gamma_height.svg").read_text()
    dots = [float(y) for y in re.findall(rf'y="([\d.]+)" style="fill: {ORANGE}', svg)]
    ticks = re.findall(r'text-anchor: end.* y="([\d.]+)".*>([\d.]+)</text>', svg)
    per_pixel = np.diff([float(value) for _, value in ticks])[0] / np.diff([float(y) for y, _ in ticks])[0]
    assert np.diff(dots) * per_pixel == pytest.approx(np.diff(means), rel=1e-3)


def check_models(campaign: Campaign) -> None:
    """The tables of the models against the files of their training and evaluation."""
    order, scores = (
        parquet.read_table(campaign.tables / f"{name}.parquet").to_pylist() for name in ("order", "scores")
    )
    for task in campaign.models:
        summary = json.loads((task.run.evaluation / "summary.json").read_text())
        for row in (row for row in scores if row["model"] == task.name):
            measured = summary["suites"][row["suite"]]["scores"][row["score"]]
            assert {n: row[n] for n in ("auroc", "average_precision", "fpr_at_95_tpr")}.items() <= measured.items()
            assert [row["auroc_low"], row["auroc_high"]] == measured["auroc_ci"]
            assert row["best_epoch"] == summary["weights"]["epoch"]
        for epoch in map(json.loads, task.run.metrics.read_text().splitlines()):
            row = model_row(task, epoch["epoch"], summary["accuracy"])
            assert (row["rmse"] ** 2, row["kl"]) == pytest.approx((epoch["validation_mse"], epoch["validation_kl"]))
        with h5py.File(task.run.evaluation / "scores.h5") as file:
            values, gamma = file["normal/order"][:].astype(float), file["normal/gamma"][:]
        for row in (row for row in order if row["model"] == task.name):
            own = values[gamma == row["gamma"]]
            assert (row["configurations"], row["order_mean"], row["order_sd"]) == pytest.approx(
                (len(own), own.mean(), np.sqrt(((own - own.mean()) ** 2).mean()))
            )


def test_the_page_averages_models_over_the_suites_that_all_have(tmp_path: Path) -> None:
    """Models of different data, and of errors that measure different things, are kept apart."""
    row = {"label": "one", "latent_dim": 2, "kl_weight": 1.0, "gammas": 3, "gamma_min": 0.1, "gamma_max": 1.0,
           "configurations": 60, "rmse": 0.1, "kl": 5.0, "reconstruction": "position error (σ)",
           "reconstruction_error": 0.25, "pca_error": 0.5, "is_default": True}  # fmt: skip
    other = {"reconstruction": "error of a distance (σ)", "configurations": 30}
    scores = [
        row | {"model": "a", "suite": "soft", "auroc": 0.9}, row | {"model": "a", "suite": "gamma_3", "auroc": 0.2},
        row | {"model": "a", "suite": "soft", "auroc": 0.1, "is_default": False},
        row | other | {"model": "b", "suite": "soft", "auroc": 0.8},
    ]  # fmt: skip
    order = [{"model": name, "label": name, "gamma": 0.1, "order_mean": 0.0, "order_sd": 1.0} for name in "ab"]

    def section(rows: list[dict[str, Any]]) -> Section:
        return campaign_page(
            campaign_in(tmp_path / "c", MODELS), Collected([], None, [], [], [], order, rows)
        ).sections[-1]

    found = section(scores)
    assert [cells[-1].text for cells in found.table.rows] == ["0.9", "0.8"] and "all models have (soft)" in found.text
    assert [cells[3].text for cells in found.table.rows] == ["3 γ, 0.1 to 1, × 60", "3 γ, 0.1 to 1, × 30"]
    names = ["models_mean_auroc", "models_position_error", "models_error_of_a_distance", "latent_order"]
    assert [panel.name for panel in found.panels] == names
    found = section(scores[1:])
    assert [cells[-1].text for cells in found.table.rows] == ["–", "–"] and "no suite is common" in found.text


@pytest.mark.parametrize(
    ("key", "name"),
    [("lennard_jones", "lennard_jones"), ("[18, 6]", "[18, 6]"),
     ("{kind: mie, repulsive: 18, attractive: 6}", '{"kind": "mie", "repulsive": 18, "attractive": 6}')],
)  # fmt: skip
def test_a_potential_is_called_what_it_was_given_as(key: str, name: str) -> None:
    assert potential_name(load(None, (f"system.potential={key}",)).system) == name
