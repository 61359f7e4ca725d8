"""Counter-based random numbers: what a chain draws depends on its identity, never on the rank that runs it.

Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
The key and the second word of the counter are a hash of the run's seed and of what the ensemble is (its stream); the
counter is (chain, stream, sweep, pair of particles). There is no state to store.
"""

import hashlib

import numba
import numpy as np
from numba import float32, uint32

from lj_vae_hpc.sampling.vectors import fma, high_word, to_float

Stream = tuple[np.uint32, np.uint32, np.uint32]
START = np.uint32(1 << 31)  # flag in the counter's last word: draws of the starting positions
A, B = np.uint32(0xD2511F53), np.uint32(0xCD9E8D57)
WEYL = np.uint32(0x9E3779B9), np.uint32(0xBB67AE85)
HALF_RANGE, HALF_UNIT = np.float32(2.0**-20), np.float32(2.0**-21)
UNIT, CENTRE = np.float32(2.0**-22), np.float32(2.0**-23)


@numba.njit(forceinline=True)
def philox(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """Four vectors of independent words for the counters (c0, c1, c2, c3), vectors of words, under the key (k0, k1)."""
    for _ in range(10):
        c0, c1, c2, c3 = high_word(c2, B) ^ c1 ^ k0, c2 * B, high_word(c0, A) ^ c3 ^ k1, c0 * A
        k0, k1 = uint32(k0 + WEYL[0]), uint32(k1 + WEYL[1])  # cast back: in numba the sum of two uint32 is a uint64
    return c0, c1, c2, c3


@numba.njit(forceinline=True)
def trial_numbers(a, b):  # type: ignore[no-untyped-def]
    """What one trial move takes from two vectors of words: two numbers uniform in (-1, 1) and one in (0, 1).

    The displacements have 21 bits each, the threshold of acceptance 22; all are centred in their intervals.
    """
    displacement = HALF_UNIT - float32(1.0)
    low = uint32(0x7FF)
    return (
        fma(to_float(a >> uint32(11)), HALF_RANGE, displacement),
        fma(to_float(b >> uint32(11)), HALF_RANGE, displacement),
        fma(to_float(((a & low) << uint32(11)) | (b & low)), UNIT, CENTRE),
    )


def stream(identity: str) -> Stream:
    """The stream of an ensemble: a hash of what it is, so that no two ensembles share one."""
    digest = hashlib.sha256(identity.encode()).digest()
    first, second, third = np.frombuffer(digest[:12], "<u4")
    return first, second, third
