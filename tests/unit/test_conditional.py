"""Sums of the conditional model, exactly."""

import numpy as np
import pytest

from lj_vae_hpc.evaluation.conditional.kernels import _boltzmann


@pytest.mark.parametrize("count", [13, 21, 48, 169])
def test_sums_do_not_depend_on_where_arrays_lie(count: int) -> None:
    """Compilers choose between loops by the distance of two arrays; all of them must give the same bits."""
    energies = np.random.default_rng(0).uniform(0, 9, count).astype(np.float32)
    found = set()
    for gap in range(200):
        memory = np.zeros(2 * count + gap, np.float32)
        first, last = memory[:count], memory[-count:]
        for given, weights in ((first, last), (last, first)):
            given[:] = energies
            found.add(_boltzmann(given, np.float32(0.0), weights))
    assert len(found) == 1
    assert found.pop() == pytest.approx(np.exp(-energies.astype(np.float64)).sum(), rel=1e-5)
