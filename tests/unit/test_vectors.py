"""Operations on vectors against the same ones of NumPy, lane by lane."""

import numba
import numpy as np
from numba import float32, uint32

from lj_vae_hpc.sampling.arithmetic import ON_VECTORS
from lj_vae_hpc.sampling.vectors import (
    LANES,
    fma,
    high_word,
    load,
    maximum,
    minimum,
    select,
    square_root,
    store,
    to_float,
    words,
)  # fmt: skip

RANDOM = np.random.default_rng(3)
A, B = RANDOM.normal(size=(2, LANES)).astype(np.float32)
P, Q = RANDOM.integers(0, 2**32, (2, LANES)).astype(np.uint32)


def test_arithmetic_and_comparisons() -> None:
    @numba.njit
    def evaluate(given, out):
        a, b = load(given, 0), load(given, 1)
        store(out, 0, a + b)
        store(out, 1, a - float32(2.0))
        store(out, 2, float32(3.0) * b)
        store(out, 3, a / b)
        store(out, 4, -a)
        store(out, 5, select((a < b) & (float32(0.0) <= a), a, float32(7.0)))
        store(out, 6, maximum(a, b))
        store(out, 7, minimum(a, float32(0.1)))

    out = np.empty((8, LANES), np.float32)
    evaluate(np.stack([A, B]), out)
    expected = [
        A + B, A - np.float32(2), np.float32(3) * B, A / B, -A, np.where((A < B) & (A >= 0), A, 7), np.maximum(A, B),
        np.minimum(A, np.float32(0.1)),
    ]  # fmt: skip
    np.testing.assert_array_equal(out, np.array(expected, np.float32))


def test_fused_multiply_add_rounds_once() -> None:
    @numba.njit
    def evaluate(given, out):
        store(out, 0, fma(load(given, 0), load(given, 0), float32(-1.0)))

    a = np.full((1, LANES), 1 + 2.0**-13, np.float32)
    out = np.empty_like(a)
    evaluate(a, out)
    assert (out == np.float32(2.0**-12 + 2.0**-26)).all() and not (a * a - 1 == out).any()


def test_what_is_not_a_number_is_the_second_operand() -> None:
    @numba.njit
    def evaluate(given, out):
        store(out, 0, maximum(load(given, 0), float32(2.0)))
        store(out, 1, minimum(load(given, 0), float32(2.0)))
        store(out, 2, select(load(given, 0) < float32(2.0), float32(1.0), float32(0.0)))

    out = np.empty((3, LANES), np.float32)
    evaluate(np.full((1, LANES), np.nan, np.float32), out)
    assert out[:, 0].tolist() == [2.0, 2.0, 0.0]


def test_words() -> None:
    @numba.njit
    def evaluate(given, out):
        p, q = load(given, 0), load(given, 1)
        store(out, 0, p + q)
        store(out, 1, p * uint32(0xD2511F53))
        store(out, 2, high_word(p, uint32(0xD2511F53)))
        store(out, 3, (p ^ q) & (p | uint32(0xFF00)))
        store(out, 4, (p << uint32(5)) ^ (q >> uint32(9)))
        store(out, 5, words(uint32(9)))

    out = np.empty((6, LANES), np.uint32)
    evaluate(np.stack([P, Q]), out)
    wide = P.astype(np.uint64) * np.uint64(0xD2511F53)
    expected = [
        P + Q, wide.astype(np.uint32), (wide >> np.uint64(32)).astype(np.uint32), (P ^ Q) & (P | np.uint32(0xFF00)),
        (P << np.uint32(5)) ^ (Q >> np.uint32(9)), np.full(LANES, 9, np.uint32),
    ]  # fmt: skip
    np.testing.assert_array_equal(out, expected)


def test_words_become_floats_and_are_compared_without_sign() -> None:
    @numba.njit
    def evaluate(given, out):
        store(out, 0, to_float(load(given, 0) >> uint32(1)))
        store(out, 1, select(load(given, 0) < load(given, 1), float32(1.0), float32(0.0)))

    out = np.empty((2, LANES), np.float32)
    evaluate(np.stack([P, Q]), out)
    np.testing.assert_array_equal(out[0], (P >> np.uint32(1)).astype(np.int32).astype(np.float32))
    np.testing.assert_array_equal(out[1] == 1, P < Q)
    assert ((P > 2**31) != (Q > 2**31)).any()


def test_square_root_and_exponential() -> None:
    exponential = ON_VECTORS["exponential"]

    @numba.njit
    def evaluate(given, out):
        store(out, 0, square_root(load(given, 0)))
        store(out, 1, exponential(load(given, 1)))

    for low, high in ((-24.0, 0.0), (-1.0, 1.0), (0.0, 24.0)):
        given = np.stack([np.abs(A) * 1e3, np.linspace(low, high, LANES, dtype=np.float32)])
        out = np.empty((2, LANES), np.float32)
        evaluate(given, out)
        np.testing.assert_array_equal(out[0], np.sqrt(given[0]))
        np.testing.assert_allclose(out[1], np.exp(given[1].astype(np.float64)), rtol=1e-5)
    evaluate(np.stack([np.zeros(LANES), np.linspace(-1e9, -25, LANES)]).astype(np.float32), out)
    np.testing.assert_allclose(out[1], np.exp(-24.0), rtol=1e-5)
    assert not out[0].any()
