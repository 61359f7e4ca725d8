"""Data of the user's own, for the tests of what scores and refuses them."""

import csv
from pathlib import Path

from lj_vae_hpc.config.load import load
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.stages.score import score

N, SIDE, ROWS = 8, 5.0, 12
WORLD = World()


def scored(run: Path, *files: Path, to: Path, center: bool = False) -> list[dict[str, str]]:
    """The rows of the table that `score` writes."""
    score(WORLD, RunDir(run), load(run / "config.yaml"), files, to, center)
    with to.open(newline="") as file:
        return list(csv.DictReader(file))
