"""Which configurations train, in which batches, and who reads them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from lj_vae_hpc.config.training import Training
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.schema import Layout
from lj_vae_hpc.training.batches import Batches, Configurations, owner, read_rows
from lj_vae_hpc.training.splits import GOLDEN, Rows, Splits, fractions
from tests.conftest import sampled_run

HALF = Training(validation_fraction=0.2, test_fraction=0.3)


def identities(rows: Rows) -> list[tuple[float, int, int]]:
    """(γ, chain, sample) of rows, by a count of the whole data set."""
    layout = rows.layout
    chains = layout.configurations // layout.samples_per_chain
    everything = [(g, c, s) for g in layout.gammas for c in range(chains) for s in range(layout.samples_per_chain)]
    return [everything[row] for row in rows[:]]


def test_the_golden_constant() -> None:
    exact = Fraction(2**64) / Fraction((1 + 5**0.5) / 2)
    assert GOLDEN % 2 == 1 and abs(GOLDEN - exact) < 2**12  # a double has 53 digits


def test_a_chain_has_the_same_split_on_every_machine() -> None:
    assert fractions(np.array([0, 1, 2, 12345])).tolist() == [c * GOLDEN % 2**64 for c in (0, 1, 2, 12345)]
    splits = Splits.of(Layout((0.5,), 20, 1), HALF)
    u = [c * 0.6180339887498949 % 1 for c in range(20)]
    assert splits.test[:].tolist() == [c for c in range(20) if u[c] < 0.3] == [0, 2, 5, 10, 13, 15, 18]
    assert splits.validation[:].tolist() == [c for c in range(20) if u[c] >= 0.8] == [3, 8, 16]


def test_splits_are_disjoint_cover_everything_and_have_the_right_size() -> None:
    splits = Splits.of(Layout((0.1, 0.5, 1.0), 4000, 4), HALF)
    parts = [set(identities(part)) for part in (splits.training, splits.validation, splits.calibration, splits.test)]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 12_000
    for part, share in zip(parts, (0.4, 0.2, 0.1, 0.3), strict=True):
        assert len(part) == pytest.approx(12_000 * share, rel=0.01)
        assert len({c for _, c, _ in part}) * 12 == len(part)  # whole chains, the same of every γ


def test_a_share_below_rounding_takes_no_chain() -> None:
    tiny = Training(test_fraction=0.3, validation_fraction=1e-21)
    with pytest.raises(UserError, match=r"training.validation_fraction"):
        Splits.of(Layout((0.5,), 1000, 1), tiny)


@pytest.mark.parametrize(
    "grown", [Layout((0.1, 1.0), 200, 2), Layout((0.1, 0.4, 1.0), 100, 2), Layout((0.05, 0.1, 1.0, 2.0), 700, 2)]
)
def test_growth_moves_nothing_between_splits(grown: Layout) -> None:
    before, after = (Splits.of(layout, Training()) for layout in (Layout((0.1, 1.0), 100, 2), grown))
    for name in ("training", "validation", "calibration", "test"):
        assert set(identities(getattr(before, name))) <= set(identities(getattr(after, name)))


def test_any_part_of_the_rows_is_a_mixture_of_every_gamma() -> None:
    rows = Splits.of(Layout((0.1, 0.5, 1.0), 1000, 2), Training()).training
    found = identities(rows)
    assert [g for g, _, _ in found[:7]] == [0.1, 0.5, 1.0, 0.1, 0.5, 1.0, 0.1]
    assert [c for _, c, _ in found] == sorted(c for _, c, _ in found)
    assert rows[5:11].tolist() == rows[:][5:11].tolist() and len(rows[10**6 :]) == 0
    assert len(rows.chains) == len(rows) // 6


@pytest.mark.parametrize(
    ("configurations", "keys", "message"),
    [
        (5, {"test_fraction": 0.05, "validation_fraction": 0.3, "calibration_fraction": 0.3},
         r"training\.test_fraction: 1 of 5 chains of each γ are in the test split, which needs at least 2; increase "
         r"sampling\.configurations or training\.test_fraction"),
        (4, {"validation_fraction": 0.1, "test_fraction": 0.4}, r"training\.validation_fraction: 0 of 4"),
        (9, {"calibration_fraction": 0.01}, r"training\.calibration_fraction: 0 of 9"),
        (1, {"validation_fraction": 0.1}, r"training: 0 of the 1 chains of each γ is left for training"),
    ],
)  # fmt: skip
def test_a_split_that_would_be_empty_is_refused(configurations: int, keys: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Splits.of(Layout((0.5,), configurations, 1), Training(**keys))


class Together(World):
    """One of several ranks that are threads of this process."""

    def __init__(self, rank: int, size: int, barrier: Barrier, table: dict[tuple[int, int], object]) -> None:
        super().__init__()
        self.rank, self.size, self._meet, self._table = rank, size, barrier, table

    def exchange(self, values: list) -> list:
        self._table.update({(self.rank, other): value for other, value in enumerate(values)})
        self._meet.wait()
        received = [self._table[other, self.rank] for other in range(self.size)]
        self._meet.wait()
        return received


def on_ranks(ranks: int, action: Callable[[World], list]) -> list[list]:
    """What the action gives on each of some ranks."""
    barrier: Barrier = Barrier(ranks)
    table: dict[tuple[int, int], object] = {}
    with ThreadPoolExecutor(ranks) as threads:
        return list(threads.map(action, [Together(rank, ranks, barrier, table) for rank in range(ranks)]))


def numbered(rows: np.ndarray) -> Configurations:
    """Configurations that tell their row."""
    return Configurations(rows[:, None, None].astype(np.float32), rows / 2)


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_an_epoch_holds_every_row_once_in_the_same_batches(ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lj_vae_hpc.training.batches.WINDOW_ROWS", 50)
    batches = Batches(Rows(Layout((0.1, 1.0), 100, 1), np.arange(3, 67)), 16, seed=4)  # 128 rows, windows of 48
    read: list[int] = []

    def rows_of(world: World, first: int = 0) -> list[list[int]]:
        def counted(rows: np.ndarray) -> Configurations:
            read.append(len(rows))
            return numbered(rows)

        parts = [part for _, _, _, part in batches.epoch(2, first, counted, world)]
        assert all((part.gamma == part.positions[:, 0, 0] / 2).all() for part in parts)
        return [part.positions[:, 0, 0].astype(int).tolist() for part in parts]

    parts = on_ranks(ranks, rows_of)
    assert sum(read) == 128  # each row is read once, by one rank
    together = [sum((part[step] for part in parts), []) for step in range(batches.steps)]  # noqa: RUF017
    windows = [batches.rows[at : min(at + 48, 128)] for at in (0, 48, 96)]
    expected = []
    for k in np.random.default_rng([4, 2]).permutation(3):
        mixed = windows[k][np.random.default_rng([4, 2, int(k)]).permutation(len(windows[k]))]
        expected += [mixed[s : s + 16].tolist() for s in range(0, len(mixed), 16)]
    assert together == expected
    assert sorted(sum(together, [])) == sorted(batches.rows[:].tolist())  # noqa: RUF017
    assert on_ranks(ranks, lambda world: rows_of(world, 4)) == [part[4:] for part in parts]


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_a_rank_reads_and_keeps_only_its_share(ranks: int) -> None:
    batches = Batches(Rows(Layout((0.1, 1.0), 3000, 1), np.arange(2500)), 16, seed=4)

    def largest(world: World) -> list[int]:
        read, kept = 0, 0

        def counted(rows: np.ndarray) -> Configurations:
            nonlocal read
            read += len(rows)
            return numbered(rows)

        for _, _, _, (positions, _) in batches.epoch(0, 0, counted, world):
            kept = len(positions if positions.base is None else positions.base)
        return [read, kept]

    for read, kept in on_ranks(ranks, largest):
        assert abs(read - 5000 / ranks) < 1 and abs(kept - 5000 / ranks) < 313  # 313 batches are divided


@pytest.mark.parametrize(("n", "ranks"), [(1, 3), (7, 3), (16, 5), (64, 64), (3, 7)])
def test_the_owner_of_a_place_is_the_rank_whose_shard_holds_it(n: int, ranks: int) -> None:
    shards = [range(n * rank // ranks, n * (rank + 1) // ranks) for rank in range(ranks)]
    expected = [rank for rank, shard in enumerate(shards) for _ in shard]
    assert owner(np.arange(n), n, ranks).tolist() == expected


def test_scattered_rows_are_read_by_few_contiguous_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = sampled_run(tmp_path / "run", "sampling.protocol=reference")
    with Dataset(run / "data/dataset.h5") as data:
        everything = data.read(range(data.rows))
        reads: list[range] = []
        read = data.read
        monkeypatch.setattr(data, "read", lambda rows, names: reads.append(rows) or read(rows, names))
        rows = np.random.default_rng(1).permutation(data.rows)[:70]
        found = read_rows(data, rows)
        assert np.array_equal(found.positions, everything["positions"][rows]) and len(reads) == 1
        assert np.array_equal(found.gamma, everything["gamma"][rows])
        monkeypatch.setattr("lj_vae_hpc.training.batches.GAP_BYTES", 8 * 8 * 3)
        reads.clear()
        read_rows(data, np.array([90, 0, 5, 2, 96, 92]))
        assert reads == [range(6), range(90, 97)]  # four rows apart at most
        monkeypatch.setattr("lj_vae_hpc.training.batches.READ_ROWS", 16)
        reads.clear()
        assert np.array_equal(read_rows(data, rows).positions, everything["positions"][rows])
        assert max(map(len, reads)) <= 16
        assert len(read_rows(data, np.empty(0, np.int64)).gamma) == 0
