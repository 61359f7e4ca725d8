"""Sampling divided into segments, batches and shares of the ranks."""

from pathlib import Path

import pytest

from lj_vae_hpc.config.sampling import Sampling
from lj_vae_hpc.config.system import System
from lj_vae_hpc.sampling.chains import Schedule
from lj_vae_hpc.sampling.division import Task, batches, divide, divide_work
from lj_vae_hpc.sampling.ensemble import Ensemble
from lj_vae_hpc.sampling.equilibration import CHAINS


def test_rows_are_divided_in_whole_chains() -> None:
    for rows, most, samples in ((range(1200), 37, 1), (range(50, 1200), 50, 5), (range(3), 1, 1), (range(8), 2, 4)):
        parts = divide(rows, most, samples)
        assert [r for part in parts for r in part] == list(rows)
        assert max(map(len, parts)) <= max(most, samples) and all(len(part) % samples == 0 for part in parts)


@pytest.mark.parametrize("ranks", [1, 2, 3, 7, 500])
def test_work_is_divided_evenly_and_completely(ranks: int) -> None:
    """Chains of the pilot are at their first sample already; each chain gives 2."""
    e = Ensemble(11, System(n_particles=12), 0.4, Sampling(samples_per_chain=2, segment_rows=100))
    last = 2 * CHAINS
    usual, slow = Schedule(0.3, 30, 7), Schedule(0.3, 300, 7)
    tasks = [
        Task(e, Path(), range(last - 24, last + 16), usual),
        Task(e, Path(), range(last + 16, last + 36), slow),
        Task(e, Path(), range(0, 90), usual),
    ]
    assert [len(batch) for batch in batches(tasks)] == [2, 1]
    assert tasks[0].work.tolist() == [12 * 7] * 12 + [12 * (30 + 7)] * 8
    shares = [divide_work(tasks, rank, ranks) for rank in range(ranks)]
    for k, task in enumerate(tasks):
        assert [row for share in shares for row in share[k]] == list(task.rows)
        assert all(len(share[k]) % 2 == 0 for share in shares)
    work = [sum(task.moves_of(rows) for task, rows in zip(tasks, share, strict=True)) for share in shares]
    total = sum(int(task.work.sum()) for task in tasks)
    assert sum(work) == total and max(work) <= total / ranks + 12 * 307
