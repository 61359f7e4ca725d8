"""The batches of an epoch: the same whatever the number of ranks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WINDOW_ROWS = 16_384  # rows in the memory of all ranks together, and the range over which they are shuffled
READ_ROWS = 1024  # rows that a rank reads at once to keep its own


class Configurations(NamedTuple):
    """Some of a data set."""

    positions: NDArray[np.float32]  # (n, N, 2), in σ
    gamma: NDArray[np.float64]  # (n,)

    def part(self, which: "slice | NDArray[np.int64]") -> "Configurations":
        """Some of these."""
        return Configurations(self.positions[which], self.gamma[which])


Read = Callable[[range], Configurations]


@dataclass(frozen=True)
class Batches:
    """The optimizer steps of an epoch. Rows are shuffled within windows, and the windows among themselves.

    Attributes:
        rows: rows of the training split.
        batch_size: rows of one step, all ranks together; the last step of the last window may have fewer.
        seed: with the epoch, determines the order.
    """

    rows: range
    batch_size: int
    seed: int

    def _windows(self) -> list[range]:
        width = max(1, WINDOW_ROWS // self.batch_size) * self.batch_size
        return [range(s, min(s + width, self.rows.stop)) for s in range(self.rows.start, self.rows.stop, width)]

    @property
    def steps(self) -> int:
        """Optimizer steps in an epoch."""
        return sum(-(-len(w) // self.batch_size) for w in self._windows())

    def epoch(
        self, epoch: int, first_step: int, read: Read, shard: Callable[[int], range]
    ) -> Iterator[tuple[int, int, range, Configurations]]:
        """What this rank has of every step from first_step on.

        Args:
            epoch: which epoch.
            first_step: steps before it are left out, for continuing a stopped run.
            read: configurations of a contiguous range of rows.
            shard: this rank's part of n items (World.shard).

        Yields:
            step; rows of the whole batch; which of them are this rank's; these, maybe none in a last small batch.
        """
        windows = self._windows()
        step = 0
        for k in np.random.default_rng([self.seed, epoch]).permutation(len(windows)):
            window = windows[k]
            steps = -(-len(window) // self.batch_size)
            if step + steps <= first_step:
                step += steps
                continue
            order = np.random.default_rng([self.seed, epoch, int(k)]).permutation(len(window))
            batches = [order[at : at + self.batch_size] for at in range(0, len(window), self.batch_size)]
            shards = [shard(len(batch)) for batch in batches]
            mine = np.concatenate([batch[s.start : s.stop] for batch, s in zip(batches, shards, strict=True)])
            configurations = _read_scattered(read, window, mine)
            at = 0
            for batch, part in zip(batches, shards, strict=True):
                if step >= first_step:
                    yield step, len(batch), part, configurations.part(slice(at, at + len(part)))
                step += 1
                at += len(part)


def _read_scattered(read: Read, window: range, offsets: NDArray[np.int64]) -> Configurations:
    """The given rows of a window, in their order; no more than READ_ROWS others are in memory."""
    sorting = np.argsort(offsets)
    ascending = offsets[sorting]
    kept = []
    for start in range(0, len(window), READ_ROWS):
        first, last = np.searchsorted(ascending, (start, start + READ_ROWS))
        kept.append(read(window[start : start + READ_ROWS]).part(ascending[first:last] - start))
    return Configurations(*map(np.concatenate, zip(*kept, strict=True))).part(np.argsort(sorting))
