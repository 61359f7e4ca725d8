"""Random streams, exactly."""

import numba
import numpy as np
import pytest

from lj_vae_hpc.sampling.streams import philox, trial_numbers
from lj_vae_hpc.sampling.vectors import LANES, load, store, words


@numba.njit
def draw(c0, c1, c2, c3, k0, k1, out):
    a, b, c, d = philox(words(c0), words(c1), words(c2), words(c3), k0, k1)
    store(out, 0, a)
    store(out, 1, b)
    store(out, 2, c)
    store(out, 3, d)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # the known answers that the authors of the generator publish
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_known_answers(counter: list[int], key: list[int], expected: list[int]) -> None:
    drawn = np.empty((4, LANES), np.uint32)
    draw(*(np.uint32(v) for v in counter + key), drawn)
    assert (drawn == np.array(expected)[:, None]).all()


def test_numbers_of_a_trial_are_centred_and_never_reach_their_bounds() -> None:
    @numba.njit
    def evaluate(given, out):
        right, up, threshold = trial_numbers(load(given, 0), load(given, 1))
        store(out, 0, right)
        store(out, 1, up)
        store(out, 2, threshold)

    given, out = np.zeros((2, LANES), np.uint32), np.empty((3, LANES), np.float32)
    given[:, 1] = 0xFFFFFFFF
    evaluate(given, out)
    assert out[:, 0].tolist() == [2.0**-21 - 1, 2.0**-21 - 1, 2.0**-23]
    assert out[:, 1].tolist() == [1 - 2.0**-21, 1 - 2.0**-21, 1 - 2.0**-23]
