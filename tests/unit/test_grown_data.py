"""Models whose data set has grown since, and second models on the same data."""

import shlex
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from lj_vae_hpc.cli import cli
from lj_vae_hpc.config.load import load
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir, link_data
from lj_vae_hpc.sampling import production
from lj_vae_hpc.store.reader import Dataset
from tests.conftest import TINY

Say = pytest.CaptureFixture[str]


def lj_vae(*arguments: object) -> None:
    """The command line, in this process."""
    cli.main([str(argument) for argument in arguments], standalone_mode=False, obj=World())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run `mine` of two γ, and `beta`, another model on its data; both are evaluated."""
    folder = tmp_path_factory.mktemp("grown")
    (folder / "tiny.yaml").write_text(TINY.replace("early_sweeps: null", "early_sweeps: 20"))
    lj_vae("run", "-c", folder / "tiny.yaml", "-o", folder / "mine")
    own = ("-s", "objective.kl_weight=8", "-s", "training.epochs=1")
    lj_vae("run", "-c", folder / "tiny.yaml", *own, "-o", folder / "beta", "--data", folder / "mine")
    return folder


@pytest.fixture
def runs(finished: Path, tmp_path: Path) -> Path:
    """A copy of both."""
    return Path(shutil.copytree(finished, tmp_path / "runs", symlinks=True))


@pytest.fixture
def grown(runs: Path, capsys: Say) -> Path:
    """The same after the data have grown by a γ."""
    lj_vae("generate", "-o", runs / "mine", "-s", "sampling.gammas=[0.1,0.4,1.0]")
    capsys.readouterr()
    return runs


@pytest.mark.parametrize("name", ["mine", "beta"])
def test_the_command_that_is_recommended_trains_the_same_model(name: str, grown: Path, capsys: Say) -> None:
    lj_vae("train", "-o", grown / name)
    said = capsys.readouterr().out
    assert "model was trained on 120 configurations at γ = 0.1, 1; the data set now holds 180 configurations" in said
    program, stage, *arguments = shlex.split(said.split("`")[1])
    new = grown / "new"
    assert (program, stage) == ("lj-vae", "run")
    lj_vae("train", *(str(new) if one == "NEW" else one for one in arguments))
    before, after = load(grown / name / "config.yaml"), load(new / "config.yaml")
    for section in ("seed", "system", "representation", "model", "objective", "training", "evaluation"):
        assert getattr(after, section) == getattr(before, section), section
    assert after.sampling.gamma_values == (0.1, 0.4, 1.0)
    assert (new / "data").resolve() == (grown / "mine/data").resolve()
    assert "note:" not in capsys.readouterr().out


def test_data_of_another_run_come_without_its_settings(runs: Path, capsys: Say) -> None:
    quick = ("-s", "training.epochs=1", "-s", "training.warmup_epochs=0", "-s", "training.batch_size=16")
    new, mine = runs / "new", runs / "mine"
    lj_vae("train", *quick, "-o", new, "--data", mine)
    note = (
        f"note: model and training settings are the built-in defaults, not those of {mine}; use -c "
        f"{mine}/config.yaml to keep them\n"
    )
    assert note in capsys.readouterr().out
    lj_vae("train", "-o", new, "--data", mine)
    assert "note:" not in capsys.readouterr().out, "it has a configuration of its own by now"


def test_a_run_on_the_data_of_another_names_data_that_have_grown(grown: Path) -> None:
    """What describes the data is asked of the run that holds them: the other has not been used since."""
    lj_vae("train", "-c", grown / "beta/config.yaml", "-o", grown / "new", "--data", grown / "beta")
    assert load(grown / "new/config.yaml").sampling.gamma_values == (0.1, 0.4, 1.0)


def gammas(run: Path, group: str) -> list[float]:
    """γ of the configurations of a suite."""
    with h5py.File(run / "evaluation/scores.h5") as file:
        return np.unique(file[f"{group}/gamma"][:]).tolist()


def test_whoever_reads_results_is_told_what_the_model_was_trained_on(grown: Path, capsys: Say) -> None:
    mine, beta, target = grown / "mine", grown / "beta", grown / "compare.html"
    warning = (
        "the model was trained on 120 configurations at γ = 0.1, 1; the data set now holds 180 configurations at "
        "γ = 0.1, 0.4, 1. To train the same model on all of it: `lj-vae run -c"
    )
    last = []
    for stage in ("train", "evaluate", "report", "run"):
        lj_vae(stage, "-o", mine)
        last.append(capsys.readouterr().out.splitlines()[-1])
    assert all(warning in line for line in last), last
    lj_vae("compare", mine, beta, "--to", target)
    lines = capsys.readouterr().out.splitlines()
    assert f"compare: warning: mine: {warning}" in lines[-2] and f"compare: warning: beta: {warning}" in lines[-1]
    fact = "at γ = 0.1, 1; the data set now holds 180 at 3 values of γ"
    for page in (mine / "report/index.html", target):
        text = page.read_text()
        assert fact in text and "120 configurations" in text and 'role="alert"' in text


def test_a_model_of_all_data_has_no_warning(runs: Path, capsys: Say) -> None:
    lj_vae("run", "-o", runs / "mine")
    assert "now holds" not in capsys.readouterr().out
    text = (runs / "mine/report/index.html").read_text()
    assert "trained on" in text and "120 configurations" in text and "now holds" not in text
    assert 'role="alert"' not in text


def test_suites_stay_those_of_the_trained_gammas(grown: Path, capsys: Say) -> None:
    before = gammas(grown / "mine", "early")
    lj_vae("evaluate", "-o", grown / "mine")
    assert gammas(grown / "mine", "early") == before == gammas(grown / "mine", "normal") == [0.1, 1.0]
    assert "to be scored" not in capsys.readouterr().out


def test_data_that_have_lost_a_trained_gamma(runs: Path, capsys: Say) -> None:
    mine, claims = runs / "mine", "evaluation.claims=[{claimed: 0.1, 'true': 0.4}, {claimed: 1.0, 'true': 0.4}]"
    lj_vae("generate", "-o", mine, "-s", "sampling.gammas=[1.0]")
    lj_vae("evaluate", "-o", mine, "-s", claims)
    assert "claimed_0.1_true_0.4 is left out: the data set no longer holds γ = 0.1\n" in capsys.readouterr().out
    for name in ("early", "normal", "claimed_1_true_0.4"):
        assert gammas(mine, name) == [1.0], name


def contents(folder: Path) -> dict[str, bytes]:
    """Of every file below a folder; the lock says who had it last."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def test_a_second_model_samples_nothing_again(runs: Path, capsys: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, beta = runs / "mine", runs / "beta"
    before, suites = contents(mine), contents(beta / "evaluation/suites")
    shutil.rmtree(beta / "evaluation")
    with monkeypatch.context() as patch:
        patch.setattr(production, "sample_rows", lambda *_: pytest.fail("sampled again"))
        lj_vae("evaluate", "-o", beta)
    said = capsys.readouterr().out
    assert f"evaluation: {mine} has sampled early, soft, uniform, gamma_3; they are read there\n" in said
    assert "sampling the suites" not in said
    ensembles = list((beta / "evaluation/ensembles").iterdir())
    assert len(ensembles) == 5 and all(path.is_symlink() and not path.readlink().is_absolute() for path in ensembles)
    assert contents(beta / "evaluation/suites") == suites == contents(mine / "evaluation/suites")
    lj_vae("evaluate", "-o", beta, "-s", "evaluation.configurations=60", "-s", "evaluation.unseen_gammas=[2.0, 3.0]")
    assert "they are read there" not in capsys.readouterr().out
    assert contents(mine) == before, "nothing is written into the other run"
    with Dataset(beta / "evaluation/suites/soft.h5") as more, Dataset(mine / "evaluation/suites/soft.h5") as less:
        assert more.rows == 60
        assert np.array_equal(more.read(range(40))["positions"], less.read(range(40))["positions"])


def test_what_the_other_run_has_lost_is_sampled(runs: Path, capsys: Say) -> None:
    beta = runs / "beta"
    suites = contents(beta / "evaluation/suites")
    shutil.rmtree(runs / "mine/evaluation/ensembles")
    shutil.rmtree(beta / "evaluation/suites")
    lj_vae("evaluate", "-o", beta)
    assert "sampling the suites soft, uniform, gamma_3" in capsys.readouterr().out
    assert contents(beta / "evaluation/suites") == suites and not (runs / "mine/evaluation/ensembles").exists()


@pytest.mark.parametrize(
    ("setting", "kept"),
    [
        ("sampling.gammas=[0.1]", "sampling.gammas=[0.1,1]"),
        ("sampling.gammas=[0.1,0.4,1]", "sampling.gammas=[0.1,1]"),
        ("sampling.configurations=50", "sampling.configurations=60"),
    ],
)
def test_only_sampling_changes_a_data_set(setting: str, kept: str, runs: Path) -> None:
    mine = runs / "mine"
    before = contents(mine)
    for stage in ("train", "evaluate", "report"):
        with pytest.raises(UserError) as raised:
            lj_vae(stage, "-o", mine, "-s", setting)
        assert str(raised.value).startswith(
            f"the data set in {mine} has {kept}, and all of it is used: leave out {setting}. To change the data set, "
            f"run `lj-vae generate -o {mine}` with the new values"
        )
        assert contents(mine) == before, "the next command finds the configuration that it had"
    lj_vae("train", "-o", mine, "-s", "sampling.gammas=[1.0,0.1]")


def test_sampling_that_was_not_finished(runs: Path) -> None:
    """The configuration has more than the data set."""
    mine = runs / "mine"
    config = mine / "config.yaml"
    config.write_text(load(config, ("sampling.gammas=[0.1,0.4,1.0]",)).to_yaml())
    with pytest.raises(
        UserError, match=r"is not the data set that .* ask for; run `lj-vae generate -o .*/mine`, which"
    ):
        lj_vae("train", "-o", mine)


def test_settings_that_a_finished_model_cannot_follow(runs: Path, capsys: Say) -> None:
    mine = runs / "mine"
    data = mine / "data/dataset.h5"
    for key, there, here in (("training.epochs", 2, 3), ("evaluation.configurations", 40, 9)):
        with pytest.raises(UserError) as raised:
            lj_vae("score", data, "-o", mine, "-s", f"{key}={here}")
        assert str(raised.value) == (
            f"{key} is {there} there, {here} here: the model in {mine} is used as it is, and this changes nothing; "
            "leave it out. Only evaluation.extra_scores and training.device can be set here"
        )
    used = ("evaluation.extra_scores=[gradient_norms]", "training.device=cpu", "training.epochs=2")
    lj_vae("score", data, "-o", mine, *(part for setting in used for part in ("-s", setting)))
    assert "scored: 120 configurations" in capsys.readouterr().out


def test_data_that_were_moved_are_found_again(runs: Path, capsys: Say) -> None:
    (runs / "mine").rename(runs / "elsewhere")
    with pytest.raises(
        UserError, match=r"beta uses the data of .*mine, where there are none any more.* --data RUN_DIR"
    ):
        lj_vae("report", "-o", runs / "beta")
    lj_vae("train", "-o", runs / "beta", "--data", runs / "elsewhere")
    lj_vae("evaluate", "-o", runs / "beta")
    assert "warning" not in capsys.readouterr().out
    # Others are no moved ones, also if nothing but the seed is another.
    (runs / "elsewhere").rename(runs / "again")
    lj_vae("generate", "-c", runs / "tiny.yaml", "-o", runs / "other", "-s", "seed=4")
    with pytest.raises(UserError, match=r"the model in .*beta was trained on the data of"):
        lj_vae("train", "-o", runs / "beta", "--data", runs / "other")


def test_data_that_grew_before_they_were_moved_are_found_again(grown: Path, capsys: Say) -> None:
    (grown / "mine").rename(grown / "elsewhere")
    lj_vae("train", "-o", grown / "beta", "--data", grown / "elsewhere")
    assert "the data set now holds 180 configurations" in capsys.readouterr().out
    lj_vae("evaluate", "-o", grown / "beta")


def test_data_behind_a_link_to_another_disk_are_the_runs_own(runs: Path, capsys: Say) -> None:
    (runs / "scratch").mkdir()
    (runs / "mine/data").rename(runs / "scratch/bulk")
    (runs / "mine/data").symlink_to("../scratch/bulk")
    lj_vae("train", "-o", runs / "mine")
    lj_vae("generate", "-o", runs / "mine", "-s", "sampling.configurations=70")
    assert "sampling: 140 configurations" in capsys.readouterr().out
    lj_vae("report", "-o", runs / "beta")
    assert RunDir(runs / "mine").has_data and RunDir(runs / "mine").data_owner is None
    lj_vae("train", "-c", runs / "tiny.yaml", "-o", runs / "new", "--data", runs / "beta")
    assert RunDir(runs / "new").data_owner == RunDir(runs / "beta").data_owner == RunDir(runs / "mine")
    lj_vae("generate", "-c", runs / "tiny.yaml", "-o", runs / "other", "-s", "seed=4")
    with pytest.raises(UserError, match=r"mine has data of its own"):
        link_data(RunDir(runs / "mine"), RunDir(runs / "other"))


def test_what_is_said_of_data_of_another_run_may_be_right(runs: Path) -> None:
    new = ("train", "-c", runs / "tiny.yaml", "--data", runs / "mine", "-s", "training.epochs=1")
    lj_vae(*new, "-o", runs / "new", "-s", "sampling.gammas=[0.1,1.0]", "-s", "system.n_particles=8")
    with pytest.raises(UserError, match=r"-s sampling.gammas=\[0.1,0.9\]: the data are those of"):
        lj_vae(*new, "-o", runs / "newer", "-s", "sampling.gammas=[0.1,0.9]")


def test_best_weights_that_are_lost_are_not_made_up(runs: Path) -> None:
    (runs / "mine/model/best.safetensors").unlink()
    with pytest.raises(UserError, match=r"best.safetensors is missing, and training has ended: remove .*model to"):
        lj_vae("train", "-o", runs / "mine")


def test_data_that_grew_keep_their_configuration_although_what_comes_next_is_refused(runs: Path) -> None:
    (runs / "mine/model/best.safetensors").unlink()
    with pytest.raises(UserError, match=r"best.safetensors is missing"):
        lj_vae("run", "-o", runs / "mine", "-s", "sampling.configurations=70")
    with Dataset(runs / "mine/data/dataset.h5") as data:
        assert data.layout.configurations == load(runs / "mine/config.yaml").sampling.configurations == 70


def test_a_training_that_was_stopped_is_said_to_be(runs: Path, capsys: Say) -> None:
    config = runs / "mine/config.yaml"
    config.write_text(config.read_text().replace("epochs: 2", "epochs: 5"))
    capsys.readouterr()
    for command in ("evaluate", "report"):
        lj_vae(command, "-o", runs / "mine")
        said = capsys.readouterr().out
        assert "warning: training was stopped after 2 of 5 epochs; `lj-vae train -o" in said


def test_a_score_table_replaces_nothing_of_the_run(runs: Path) -> None:
    run, own = runs / "mine", runs / "mine.npy"
    np.save(own, np.zeros((1, 8, 2)))
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    for target in (run / "data/dataset.h5", run / "evaluation/scores.h5", own):
        with pytest.raises(UserError, match="would replace what is read or belongs to the run"):
            lj_vae("score", own, "-o", run, "--to", target, "--force")
    assert before == {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
