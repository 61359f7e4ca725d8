"""A campaign: what its tasks are, that it grows, and what is left of it."""

from pathlib import Path

import pytest

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.sampling import production
from lj_vae_hpc.scan.campaign import Campaign
from lj_vae_hpc.scan.collect import collect, read_ensemble
from lj_vae_hpc.scan.cost import Costs
from lj_vae_hpc.scan.status import Status
from lj_vae_hpc.scan.work import Work
from lj_vae_hpc.stages import call, scan
from lj_vae_hpc.store.reader import Dataset
from tests.campaigns import campaign_in, missing, sample
from tests.conftest import TINY

MODELS = "scan.models=[{model.latent_dim: 3}, {approach: beta, gammas: [0.1, 1.0], seed: 5}]"


def test_commands_say_what_comes_next(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """And warn beforehand of latent dimensions of a grid that are small."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    path = tmp_path / "c"
    settings = ("scan.grid={model.latent_dim: [3, 11]}", "training.epochs=1", "evaluation.fluids={}")
    scan.plan(World(), path, tmp_path / "tiny.yaml", settings, (), None, 15.0)
    said = capfd.readouterr().out
    assert "scan: warning: model.latent_dim 3 is below the 11 recommended for 8 particles: latent_dim=3\n" in said
    assert not path.exists()
    scan.run(World(), path, tmp_path / "tiny.yaml", settings, None, None, call)
    assert capfd.readouterr().out.endswith(f"tasks are done\nnext: lj-vae scan collect -o {path}\n")
    scan.collect(World(), path, None, ())
    assert capfd.readouterr().out.endswith(f"scan: open {path}/campaign.html in a browser\n")
    scan.plan(World(), path, None, (), (), None, 15.0)
    assert "warning" not in capfd.readouterr().out, "these models are done"


@pytest.mark.parametrize(
    ("settings", "new"),
    [
        (("sampling.gammas=[0.1,0.5,0.7,1.0]",), ["γ = 0.7", "data set of 4 γ x 60"]),
        (("sampling.configurations=70",), ["γ = 0.1", "γ = 0.5", "γ = 1", "data set of 3 γ x 70"]),
        (("sampling.gammas=[1.0,0.5,0.1]", "sampling.segment_rows=7"), []),
        (("scan.models=[{gammas: [0.5, 1.0]}]",), ["data set of 2 γ x 60", "model"]),
    ],
)
def test_only_what_is_new_is_to_be_done(tmp_path: Path, settings: tuple[str, ...], new: list[str]) -> None:
    sample(campaign_in(tmp_path / "c"))
    assert [
        title.partition(" 0")[0] if title[0] == "m" else title for title in missing(campaign_in(tmp_path / "c"))
    ] == []
    grown = campaign_in(tmp_path / "c", *settings)
    assert [title.split()[0] if title.startswith("model") else title for title in missing(grown)] == new


@pytest.mark.parametrize(("schedule", "names"), [("cosine", 2), ("constant", 1)])
def test_more_epochs_continue_a_model_unless_its_rate_follows_from_their_number(
    tmp_path: Path, schedule: str, names: int
) -> None:
    keys = [("scan.models=[{}]", f"training.schedule={schedule}", f"training.epochs={epochs}") for epochs in (4, 5)]
    tasks = [campaign_in(tmp_path / "c", *some).models[0] for some in keys]
    assert len({task.name for task in tasks}) == len({task.run.path for task in tasks}) == names
    assert tasks[0].key != tasks[1].key


def test_a_model_keeps_its_data_when_the_campaign_grows(tmp_path: Path) -> None:
    """What was the whole data set is then one of several, with the same bytes."""
    model = "scan.models=[{gammas: [0.1, 0.5, 1.0], configurations: 60}]"
    before = campaign_in(tmp_path / "c", model)
    sample(before)
    data, found = before.models[0].data.run.dataset.read_bytes(), [read_ensemble(task)[0] for task in before.samples]
    after = campaign_in(tmp_path / "c", model, "sampling.gammas=[0.1,0.5,0.7,1.0]", "sampling.configurations=80")
    sample(after)
    assert after.models[0].key == before.models[0].key and after.models[0].data.run.path.parent.name == "sets"
    assert after.models[0].data.run.dataset.read_bytes() == data
    assert [read_ensemble(task)[0] for task in before.samples] == found, "the configurations beyond do not count"


def test_a_failure_stops_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here of one γ: what it says is kept until it is tried again."""
    produce = production._produce

    def failing(world, ensembles, *rest):
        if any(ensemble.gamma == 0.5 for ensemble in ensembles):
            raise UserError("equilibrium was not proved")
        return produce(world, ensembles, *rest)

    campaign = campaign_in(tmp_path / "c")
    monkeypatch.setattr(production, "_produce", failing)
    with pytest.raises(UserError, match=r"2 of 4 tasks are not done: γ = 0.5: equilibrium was not proved; data"):
        sample(campaign)
    assert missing(campaign) == ["γ = 0.5", "data set of 3 γ x 60"]
    assert "2 done, 1 failed" in Status(campaign).text()
    assert "failed: γ = 0.5: equilibrium was not proved" in Status(campaign).text()
    monkeypatch.setattr(production, "_produce", produce)
    sample(campaign)
    assert not missing(campaign) and "failed:" not in Status(campaign).text()


def test_ensembles_of_suites_that_fail_are_told_with_their_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    produce = production._produce

    def failing(world, ensembles, configurations, store, label):
        if label != "sampling":
            raise UserError("equilibrium was not proved")
        return produce(world, ensembles, configurations, store, label)

    campaign = campaign_in(tmp_path / "c", "scan.grid.seed=[1]", "training.epochs=1")
    monkeypatch.setattr(production, "_produce", failing)
    with pytest.raises(UserError, match=r"^1 of 5 tasks are not done: model .*equilibrium was not proved$"):
        Work(World(), campaign, call).run(list(campaign.tasks.values()))


@pytest.mark.parametrize("grown", [(), ("sampling.gammas=[0.1,0.5,0.7,1.0]",)], ids=["same", "grown"])
def test_equilibrium_may_be_looked_at_later(tmp_path: Path, grown: tuple[str, ...]) -> None:
    """The pilots that are missing then are run, and the data set, which holds them, is written anew."""
    settings = ("sampling.protocol=reference", "sampling.sweeps=20")
    sample(before := campaign_in(tmp_path / "c", *settings))
    assert not collect(before).left_out
    later = campaign_in(tmp_path / "c", *settings, "sampling.check_equilibrium=true", *grown)
    assert len(missing(later)) == len(later.samples) + 1
    sample(later)
    assert not [title for title in missing(later) if not title.startswith("model")]
    with Dataset(later.run.dataset) as data:
        assert len(data.ensembles()["pilot/mean"]) == len(later.samples)


def test_a_task_that_ends_and_is_not_done_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lj_vae_hpc.scan.work.assemble", lambda *_: None)
    with pytest.raises(UserError, match="data set of 3 γ x 60: it ended without an error, and is not done"):
        sample(campaign_in(tmp_path / "c"))


def test_a_pilot_that_is_gone_is_made_again(tmp_path: Path) -> None:
    sample(campaign := campaign_in(tmp_path / "c"))
    pilot = campaign.samples[0].folder / "pilot.h5"
    content = pilot.read_bytes()
    pilot.write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"pilot.h5 is gone or damaged: delete it, and the command that samples"):
        collect(campaign)
    pilot.unlink()
    assert missing(campaign)[0] == campaign.samples[0].title
    sample(campaign_in(tmp_path / "c", "sampling.gammas=[0.1,0.5,0.7,1.0]"))
    assert pilot.read_bytes() == content


def test_what_is_not_in_equilibrium_is_no_thermodynamics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here after one sweep. What nobody has looked at is named."""
    settings = ("sampling.protocol=reference", "sampling.sweeps=1")
    sample(looked := campaign_in(tmp_path / "looked", *settings, "sampling.check_equilibrium=true"))
    found = collect(looked)
    assert all(row["converged"] and row["verdict"].startswith("NOT equilibrated") for row in found.ensembles)
    assert found.left_out == [0.1, 0.5, 1.0] and not found.thermodynamics and not found.unchecked
    assert found.text.startswith("left out of the thermodynamics") and found.text.endswith("γ = 0.1, 0.5, 1")
    sample(unlooked := campaign_in(tmp_path / "unlooked", "sampling.protocol=reference", "sampling.sweeps=200"))
    monkeypatch.setattr("lj_vae_hpc.scan.reweighting.MOST_ELEMENTS", 3 * 3 * 40)
    found = collect(unlooked)
    assert found.text.startswith("thermodynamics: 120 of 180 configurations at 3 γ")
    assert found.unchecked == [0.1, 0.5, 1.0] and found.thermodynamics and not found.left_out
    assert "nobody has looked at their equilibrium: γ = 0.1, 0.5, 1" in found.text


def test_costs_are_those_of_whole_tasks(tmp_path: Path) -> None:
    """Neither the rest of an ensemble nor an evaluation is taken for all of it."""

    def done(*settings: str) -> tuple[dict[str, str], float | None]:
        model = (
            "scan.grid.seed=[1]",
            "training.schedule=constant",
            "evaluation.fluids={}",
            "evaluation.unseen_gammas=[]",
        )
        campaign = campaign_in(tmp_path / "c", *model, *settings)
        Work(World(), campaign, call).run(list(campaign.tasks.values()))
        return {path.name: path.read_text() for path in campaign.measured.iterdir()}, seconds(campaign)

    def seconds(campaign: Campaign) -> float | None:
        return campaign.models[0].finished()["core_seconds"]

    sampled, first = done("training.epochs=1")
    assert len(sampled) == 1 and first
    assert done("training.epochs=1", "evaluation.configurations=20") == (sampled, first)
    _, longer = done("training.epochs=2")
    assert longer and longer > first
    (next(tmp_path.glob("c/models/*")) / "finished.json").unlink()  # as of a job that was stopped after two epochs
    assert done("training.epochs=3") == (sampled, None)
    sample(grown := campaign_in(tmp_path / "c", "sampling.configurations=70"))
    assert {path.name: path.read_text() for path in grown.measured.iterdir()} == sampled
    assert Costs(grown).per_gamma > 0
    next(grown.measured.iterdir()).write_text("junk")
    with pytest.raises(UserError, match=r"json is damaged .* delete it"):
        _ = Costs(grown).per_gamma
