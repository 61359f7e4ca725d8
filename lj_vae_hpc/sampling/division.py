"""How sampling is divided: ensembles into segments, segments into batches, and a batch among the ranks."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.sampling.chains import Schedule
from lj_vae_hpc.sampling.ensemble import Ensemble
from lj_vae_hpc.sampling.equilibration import CHAINS
from lj_vae_hpc.sampling.pilot import gives_data


@dataclass(frozen=True)
class Task:
    """A segment to sample: some rows of an ensemble."""

    ensemble: Ensemble
    folder: Path
    rows: range
    schedule: Schedule

    @cached_property
    def work(self) -> NDArray[np.int64]:
        """(chains,) trial moves of each chain that its rows come from; a pilot's chains have come to their first."""
        samples = self.ensemble.samples_per_chain
        chains = np.arange(self.rows.start // samples, self.rows.stop // samples)
        return self.schedule.moves(self.ensemble, chains, CHAINS if gives_data(self.ensemble) else 0)

    def moves_of(self, rows: range) -> int:
        """Trial moves of some of its rows."""
        samples = self.ensemble.samples_per_chain
        first, last = ((row - self.rows.start) // samples for row in (rows.start, rows.stop))
        return int(self.work[first:last].sum())


def divide(rows: range, most: int, samples_per_chain: int) -> list[range]:
    """Parts of at most so many rows, whole chains each, as equal as can be."""
    chains = len(rows) // samples_per_chain
    parts = -(-chains // max(1, most // samples_per_chain))
    edges = [rows.start + chains * k // parts * samples_per_chain for k in range(parts + 1)]
    return [range(a, b) for a, b in pairwise(edges)]


def batches(tasks: list[Task]) -> list[list[Task]]:
    """Tasks one after the other until they are about one full segment together."""
    result: list[list[Task]] = []
    size = 0
    for task in tasks:
        if not result or size + len(task.rows) > task.ensemble.sampling.segment_rows:
            result.append([])
            size = 0
        result[-1].append(task)
        size += len(task.rows)
    return result


def divide_work(batch: list[Task], rank: int, ranks: int) -> list[range]:
    """The rows of each task that a rank samples: whole chains, and about equal work for every rank."""
    cost = np.concatenate([task.work for task in batch]) + 1.0
    owner = ((np.cumsum(cost) - cost / 2) * ranks / cost.sum()).astype(int)  # ascending
    first, last = (int(edge) for edge in np.searchsorted(owner, (rank, rank + 1)))
    shares, start = [], 0
    for task in batch:
        a, b = (min(max(edge - start, 0), len(task.work)) for edge in (first, last))
        samples = task.ensemble.samples_per_chain
        shares.append(range(task.rows.start + a * samples, task.rows.start + b * samples))
        start += len(task.work)
    return shares
