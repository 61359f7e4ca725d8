"""The kernel for GPUs against that for CPUs: on a GPU where there is one, else in numba's simulator of one."""

import os
import subprocess
import sys

import pytest
from numba import cuda

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.sampling.chains import CELLS_FROM, choose_device

# The simulator's fma rounds twice; in double precision the product is exact.
COMPARE = """
import numpy as np
from numba import config, cuda
from lj_vae_hpc.config import System
from lj_vae_hpc.sampling.chains import Chains
if config.ENABLE_CUDASIM:
    from numba.cuda.simulator.kernelapi import FakeCUDAModule
    FakeCUDAModule.fma = lambda self, a, b, c: np.float32(np.float64(a) * np.float64(b) + np.float64(c))
system, k = System(**{system}), 48
identity = np.arange(k) % 3, np.arange(k) + 2**31 - 24
given = 12345678901234, system, np.linspace(0.1, 3, k), np.linspace(0.1, 0.6, k), *identity
here, there = Chains(*given), Chains(*given, "cuda")
taken = [chains.run(np.arange(k) % 9 + 12) + chains.run(4) for chains in (here, there)]
assert 0.2 < taken[0].sum() / (20 * k * system.n_particles) < 0.9, taken
assert np.array_equal(*taken), taken
assert np.array_equal(here.positions, there.positions)
assert np.array_equal(here.energy, there.energy)
for chains in (here, there):  # from all particles in one place
    chains.positions = np.ones_like(chains.positions)
    chains.run(2)
assert np.isfinite(here.energy).all()
assert np.array_equal(here.positions, there.positions)
print("compared", cuda.is_available())
"""


@pytest.mark.parametrize(
    "system",
    [{"n_particles": 5, "box_side": 3.0}, {"n_particles": 4, "box_side": 2.5, "potential": "soft", "cutoff": None}],
)
def test_a_gpu_gives_the_bits_of_the_cpu(system: dict[str, object]) -> None:
    simulated = {} if cuda.is_available() else {"NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPARE.replace("{system}", repr(system))],
        env=os.environ | simulated, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "compared True" in done.stdout


def test_the_device_is_chosen() -> None:
    found = "cuda" if cuda.is_available() else "cpu"
    assert choose_device("cpu", 30, 0) == "cpu"
    assert choose_device("auto", 30, 3) == found
    assert choose_device("auto", CELLS_FROM, 0) == "cpu"
    with pytest.raises(UserError, match=r"sampling\.device is cuda, which is for less than 600 particles"):
        choose_device("cuda", CELLS_FROM, 0)
    if found == "cpu":
        with pytest.raises(UserError, match=r"sampling\.device is cuda, but numba finds no GPU.*auto"):
            choose_device("cuda", 30, 0)
    else:
        assert choose_device("cuda", 30, 0) == "cuda"
