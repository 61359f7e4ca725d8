"""Counter-based random numbers: what a chain draws depends on its identity, never on the rank that runs it.

Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
The key is the run's seed; the counter is (chain, ensemble, sweep, particle). It has no state to store.
"""

import numba
import numpy as np
from numba import uint32, uint64

START = np.uint32(1 << 31)  # flag in the counter's last word: draws of the starting positions


@numba.njit(inline="always")
def _round(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    a = uint64(0xD2511F53) * uint64(c0)
    b = uint64(0xCD9E8D57) * uint64(c2)
    return uint32(b >> uint64(32)) ^ c1 ^ k0, uint32(b), uint32(a >> uint64(32)) ^ c3 ^ k1, uint32(a)


@numba.njit(inline="always")
def philox(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """Four independent uint32 for the counter (c0, c1, c2, c3) under the key (k0, k1), all uint32.

    Every step is cast back: in numba the sum of two uint32 is a uint64.
    """
    w0, w1 = uint32(0x9E3779B9), uint32(0xBB67AE85)
    for _ in range(10):
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
        k0, k1 = uint32(k0 + w0), uint32(k1 + w1)
    return c0, c1, c2, c3


def key(seed: int) -> tuple[np.uint32, np.uint32]:
    """The two words of the generator's key for a run's seed (0 <= seed < 2^64)."""
    return np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32)
