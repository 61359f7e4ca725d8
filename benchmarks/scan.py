"""Campaigns: 10,000 tasks through a simulated Slurm, and many γ on this machine.

python benchmarks/scan.py simulate [TASKS]     submission and status against a seeded scheduler with failures
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

from lj_vae_hpc.config.load import validated
from lj_vae_hpc.scan.campaign import Campaign
from lj_vae_hpc.scan.simulation import SimulatedSlurm
from lj_vae_hpc.scan.slurm import Limits
from lj_vae_hpc.scan.submit import Submitter


def simulate(tasks: int = 10_000) -> None:
    """Four fifths of the tasks are γ, the others models; one in 100 elements fails and one in 20 stops at a task."""
    gammas = tasks * 4 // 5
    tree = {
        "sampling": {"protocol": "reference", "gammas": {"start": 0.01, "stop": 4.0, "num": gammas},
                     "configurations": 100},
        "scan": {"grid": {"seed": list(range(tasks - gammas - 1))}},
    }  # fmt: skip
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder) / "campaign", validated(tree, "benchmark"))
        slurm = SimulatedSlurm(campaign, slots=200, allowed=Limits(1001, 2500), failing=0.01, stopping=0.05)
        submissions = 0
        while len(done := campaign.done()) < len(campaign.tasks):
            print(
                f"{time.monotonic() - started:5.1f} s: {len(done)} of {len(campaign.tasks)} tasks are done", flush=True
            )
            Submitter(campaign, slurm, {"sample": 4}).submit()
            submissions += 1
            while not slurm.is_empty:
                slurm.step()
        twice = sum(times != 1 for times in slurm.runs.values())
        lost = len(campaign.tasks.keys() - slurm.runs.keys())
        print(
            f"{len(campaign.tasks)} tasks in {time.monotonic() - started:.1f} s: {submissions} submissions, "
            f"{slurm.failed} failures, {slurm.stopped} requeues, {slurm.cancelled} cancelled, {slurm.refused} refused; "
            f"{lost} lost, {twice} done twice"
        )


if __name__ == "__main__":
    {"simulate": simulate}[sys.argv[1]](*map(int, sys.argv[2:]))
    print(f"largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
