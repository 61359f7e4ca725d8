"""Campaigns that are refused, and why."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.scan.campaign import open_campaign
from lj_vae_hpc.stages import call, scan
from tests.conftest import ROOT, TINY

GAMMAS = "sampling.gammas=[0.1,0.5,1.0]"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("scan.models=[{gammas: [0.1, 0.55]}]",), "gammas 0.55 are not sampled; add them to sampling.gammas"),
        (("scan.models=[{model.depht: 2}]",), "unknown key model.depht"),
        (("scan.models=[{sampling.step: 2}]",), "unknown key sampling.step; a model accepts"),
        (("scan.models=[{approach: none}]",), "one of attention, beta,"),
        (("scan.models=[{configurations: 70}]",), "sampling.configurations only 60"),
        (("scan.grid.model.latent_dim=8",), "model.latent_dim: expected a list"),
        (("scan.grid.objective.kl_weight=[-1]",), "objective.kl_weight: input should be greater than or equal to 0"),
        (("sampling.protocol=imported",), "a campaign needs equilibrated or reference"),
    ],
)
def test_bad_models_are_one_message(tiny: Path, tmp_path: Path, settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match="(?i)" + message.replace("[", r"\[")):
        open_campaign(tmp_path / "c", tiny, (GAMMAS, *settings))
    assert not (tmp_path / "c").exists()


def test_two_campaigns_in_one_folder(tiny: Path, tmp_path: Path) -> None:
    open_campaign(tmp_path / "c", tiny, (GAMMAS,))
    before = (tmp_path / "c/config.yaml").read_bytes()
    with pytest.raises(UserError, match=r"made with another configuration: seed is 3 there, 4 here"):
        open_campaign(tmp_path / "c", tiny, (GAMMAS, "seed=4"))
    assert (tmp_path / "c/config.yaml").read_bytes() == before
    with pytest.raises(UserError, match="no campaign in"):
        open_campaign(tmp_path / "none", None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("scan.models=[{training.test_fraction: 0.01}]",), "test_fraction"),
        (("scan.models=[{model.width: 65536, model.depth: 8}]",), "training needs at least .* GB for the weights"),
        (
            ("scan.models=[{evaluation.files: {mine: none.xyz}}]",),
            r"evaluation.files.mine: there is no file .*none.xyz",
        ),
        (("scan.models=[{approach: beta}]", "evaluation.studies=[nope]"), "nope"),
    ],
)
def test_what_a_model_would_refuse_is_refused_before_sampling(
    tiny: Path, tmp_path: Path, settings: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match="scan: model .*: .*" + message):
        scan.run(World(), tmp_path / "c", tiny, settings, None, None, call)
    assert not (tmp_path / "c").exists()


def test_bad_models_are_refused_by_python_without_assertions(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY + "scan: {models: [{gammas: [0.55]}]}")
    command = ("from pathlib import Path; from lj_vae_hpc.scan.campaign import open_campaign; "
               "open_campaign(Path('c'), Path('tiny.yaml'))")  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-O", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert "gammas 0.55 are not sampled" in done.stderr and not (tmp_path / "c").exists()


@pytest.mark.parametrize("command", ["run", "evaluate"])
def test_commands_on_a_model_are_refused_on_a_campaign(
    command: str, lj_vae: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    (tmp_path / "c/models/one").mkdir(parents=True)
    (tmp_path / "c/models/one/config.yaml").touch()
    done = lj_vae(command, "-o", tmp_path / "c")
    assert done.returncode == 2 and f"{tmp_path}/c is a campaign: `" in done.stderr
    assert f"lj-vae scan run -o {tmp_path}/c` trains and evaluates its models" in done.stderr
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["models"]
