"""What the tests of campaigns share."""

from pathlib import Path

from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.scan.campaign import Campaign, open_campaign
from lj_vae_hpc.scan.work import Work
from lj_vae_hpc.stages import call
from tests.conftest import TINY


def campaign_in(folder: Path, *settings: str) -> Campaign:
    """A tiny campaign over three γ."""
    (folder.parent / "tiny.yaml").write_text(TINY)
    return open_campaign(folder, folder.parent / "tiny.yaml", ("sampling.gammas=[0.1,0.5,1.0]", *settings))


def sample(campaign: Campaign) -> None:
    """Samples and writes data sets, but trains nothing."""
    Work(World(), campaign, call).run([task for task in campaign.tasks.values() if task.kind != "model"])


def missing(campaign: Campaign) -> list[str]:
    """Titles of what is not done."""
    return [task.title for task in campaign.tasks.values() if not task.is_done()]
