"""Campaigns: 10,000 tasks through a simulated Slurm, and many γ on this machine.

python benchmarks/scan.py simulate [TASKS]     submission and status against a seeded scheduler with failures
"""

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

from simulation import SimulatedSlurm

from lj_vae_hpc.config.base import to_yaml
from lj_vae_hpc.config.load import validated
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.scan.campaign import Campaign, open_campaign
from lj_vae_hpc.scan.collect import collect
from lj_vae_hpc.scan.cost import Costs
from lj_vae_hpc.scan.plan import describe_plan
from lj_vae_hpc.scan.resources import Resources
from lj_vae_hpc.scan.slurm import Limits
from lj_vae_hpc.scan.status import Status
from lj_vae_hpc.scan.submit import Submitter
from lj_vae_hpc.scan.work import Work
from lj_vae_hpc.stages.inspect import inspect


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


def many(gammas: int = 2_000) -> None:
    """Short chains of few particles, so that what grows with the number of γ is all there is to see."""
    for number in (gammas // 4, gammas // 2, gammas):
        tree = {
            "system": {"n_particles": 8, "box_side": 5.0},
            "sampling": {"protocol": "reference", "gammas": {"start": 0.01, "stop": 4.0, "num": number},
                         "configurations": 10, "sweeps": 10},
        }  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "campaign"
            config = path.parent / "many.yaml"
            config.write_text(to_yaml(tree), encoding="utf-8")
            taken: dict[str, float] = {}
            with step("tasks", taken):
                campaign = open_campaign(path, config)
            with step("plan", taken), redirect_stdout(StringIO()):
                describe_plan(campaign, Costs(campaign), Resources(8, 3600.0), None, 15.0, 8)
            work = Work(World(), campaign, print)
            with step("sample", taken), redirect_stdout(StringIO()):
                work.run(campaign.samples)
            with step("data set", taken), redirect_stdout(StringIO()):
                work.run([campaign.data])
            with step("again", taken), redirect_stdout(StringIO()):
                work.run(list(campaign.tasks.values()))
            with step("status", taken):
                Status(campaign).text()
            with step("collect", taken):
                collect(campaign).write(campaign.tables)
            with step("inspect", taken), redirect_stdout(StringIO()):
                inspect(World(), campaign.run.dataset)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            shown = "  ".join(f"{name} {seconds:.2f} s" for name, seconds in taken.items())
            print(f"{number:5} γ: {shown}  largest memory {memory:.0f} MB", flush=True)


@contextmanager
def step(name: str, taken: dict[str, float]) -> Iterator[None]:
    """Measures one step."""
    started = time.monotonic()
    yield
    taken[name] = time.monotonic() - started


if __name__ == "__main__":
    {"simulate": simulate, "many": many}[sys.argv[1]](*map(int, sys.argv[2:]))
    print(f"largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
