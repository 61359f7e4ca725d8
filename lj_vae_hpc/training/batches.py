"""The batches of an epoch: the same whatever the number of ranks, each of which reads an equal part of the data."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training.splits import Rows

if TYPE_CHECKING:
    from lj_vae_hpc.parallel.world import World

WINDOW_ROWS = 16_384  # rows in the memory of all ranks together, and the range over which they are shuffled
READ_ROWS = 1024  # the longest contiguous read
GAP_BYTES = 1 << 16  # reading so much in vain is faster than another read


class Configurations(NamedTuple):
    """Some of a data set."""

    positions: NDArray[np.float32]  # (n, N, 2), in σ
    gamma: NDArray[np.float64]  # (n,)

    def part(self, which: "slice | NDArray[np.int64]") -> "Configurations":
        """Some of these."""
        return Configurations(self.positions[which], self.gamma[which])


Read = Callable[[NDArray[np.int64]], Configurations]


def read_rows(data: Dataset, rows: NDArray[np.int64]) -> Configurations:
    """The configurations in any rows of a data set, in their order, by few contiguous reads."""
    order = np.argsort(rows, kind="stable")
    ascending = rows[order]
    found = Configurations(np.empty((len(rows), data.n_particles, 2), np.float32), np.empty(len(rows)))
    for stretch in _stretches(ascending, 1 + GAP_BYTES // (8 * data.n_particles)):
        wanted, places = ascending[stretch], order[stretch]
        part = data.read(range(int(wanted[0]), int(wanted[-1]) + 1), ("positions", "gamma"))
        found.positions[places] = part["positions"][wanted - wanted[0]]
        found.gamma[places] = part["gamma"][wanted - wanted[0]]
    return found


def _stretches(ascending: NDArray[np.int64], gap: int) -> Iterator[slice]:
    """Parts of ascending rows that one read covers: no neighbours farther apart than the gap, and not too long."""
    first = 0
    while first < len(ascending):
        last = int(np.searchsorted(ascending, ascending[first] + READ_ROWS))
        jumps = np.flatnonzero(np.diff(ascending[first:last]) > gap)
        last = first + int(jumps[0]) + 1 if len(jumps) else last
        yield slice(first, last)
        first = last


@dataclass(frozen=True)
class Batches:
    """The optimizer steps of an epoch. Rows are shuffled within windows, and the windows among themselves.

    Attributes:
        rows: rows of the training split.
        batch_size: rows of one step, all ranks together; the last step of the last window may have fewer.
        seed: with the epoch, determines the order.
    """

    rows: Rows
    batch_size: int
    seed: int

    def _windows(self) -> list[range]:
        """Places in `rows`."""
        width = max(1, WINDOW_ROWS // self.batch_size) * self.batch_size
        return [range(start, min(start + width, len(self.rows))) for start in range(0, len(self.rows), width)]

    @cached_property
    def steps(self) -> int:
        """Optimizer steps in an epoch."""
        return sum(-(-len(w) // self.batch_size) for w in self._windows())

    def epoch(
        self, epoch: int, first_step: int, read: Read, world: "World"
    ) -> Iterator[tuple[int, int, range, Configurations]]:
        """What this rank has of every step from first_step on. All ranks go through an epoch together.

        Args:
            epoch: which epoch.
            first_step: steps before it are left out, for continuing a stopped run.
            read: configurations of some rows.
            world: the ranks.

        Yields:
            step; rows of the whole batch; which of them are this rank's; these, maybe none in a last small batch.
        """
        windows = self._windows()
        step = 0
        for k in np.random.default_rng([self.seed, epoch]).permutation(len(windows)):
            window = windows[k]
            sizes = [min(self.batch_size, window.stop - at) for at in window[:: self.batch_size]]
            if step + len(sizes) <= first_step:
                step += len(sizes)
                continue
            order = np.random.default_rng([self.seed, epoch, int(k)]).permutation(len(window))
            configurations = self._deal(window, order, read, world)
            at = 0
            for size in sizes:
                part = world.shard(size)
                if step >= first_step:
                    yield step, size, part, configurations.part(slice(at, at + len(part)))
                step += 1
                at += len(part)

    def _deal(self, window: range, order: NDArray[np.int64], read: Read, world: "World") -> Configurations:
        """The part of every batch that is this rank's: each rank reads its share of the window and deals it out.

        Args:
            window: places in `rows`.
            order: of the window's rows, batch after batch.
            read: configurations of some rows.
            world: the ranks.
        """
        share = world.shard(len(window))
        here = read(self.rows[window.start + share.start : window.start + share.stop])
        if world.size == 1:
            return here.part(order)
        place = np.arange(len(order))
        size = np.minimum(self.batch_size, len(order) - place // self.batch_size * self.batch_size)
        receiver = owner(place % self.batch_size, size, world.size)
        reader = owner(order, len(window), world.size)
        sent = [order[(reader == world.rank) & (receiver == rank)] - share.start for rank in range(world.size)]
        parts = world.exchange([here.part(places) for places in sent])
        received = Configurations(*map(np.concatenate, zip(*parts, strict=True)))  # by reader, and then by step
        arrival = np.argsort(reader[receiver == world.rank], kind="stable")
        return received.part(np.argsort(arrival))


def owner(place: NDArray[np.int64], n: "int | NDArray[np.int64]", ranks: int) -> NDArray[np.int64]:
    """The rank whose part of n items holds each place; the inverse of World.shard."""
    owners: NDArray[np.int64] = ((place + 1) * ranks - 1) // n
    return owners
