"""What would run on a GPU, where there may be none.

The sampling kernel against that for CPUs, in numba's simulator without a GPU; networks on a device of their own.
"""

import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numba import cuda
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lj_vae_hpc.config.load import load
from lj_vae_hpc.config.system import System
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.model import convolution
from lj_vae_hpc.sampling import gpu
from lj_vae_hpc.sampling.chains import CELLS_FROM, GPU_FROM, choose_device, warm_up
from lj_vae_hpc.sampling.metropolis import make_sweeps
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.setup import new_network
from tests.conftest import SHIPPED, potential_keys

# The simulator's fma rounds twice; in double precision the product is exact. Its threads exchange the names that a
# kernel sees, which fails once in a while unless each thread runs until it waits or ends.
COMPARE = """
import sys
import numpy as np
from numba import config, cuda
from lj_vae_hpc.config.system import System
from lj_vae_hpc.sampling.chains import Chains
from lj_vae_hpc.sampling.streams import stream
if config.ENABLE_CUDASIM:
    sys.setswitchinterval(1e3)
    from numba.cuda.simulator.kernelapi import FakeCUDAModule
    cuda.fma = lambda a, b, c: np.float32(np.float64(a) * np.float64(b) + np.float64(c))
    FakeCUDAModule.fma = lambda self, *numbers: cuda.fma(*numbers)
system, k = System(**{system}), 48
given = stream("a"), system, np.linspace(0.1, 3, k), np.linspace(0.1, 0.6, k), np.arange(k) + 2**31 - 24
here, there = (Chains(*given, device, long_every=3) for device in ("cpu", "cuda"))
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
    [
        *({"n_particles": 5, "box_side": 3.0, "potential": key} for key in potential_keys()),
        {"n_particles": 4, "box_side": 2.5, "potential": "soft", "cutoff": None},
    ],
    ids=str,
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
    assert choose_device("cpu", 30, GPU_FROM, 0) == "cpu"
    assert choose_device("auto", 30, GPU_FROM, 3) == found
    assert choose_device("auto", 30, GPU_FROM - 1, 0) == "cpu"
    assert choose_device("auto", CELLS_FROM, GPU_FROM, 0) == "cpu"
    with pytest.raises(UserError, match=r"sampling\.device is cuda, which is for less than 600 particles"):
        choose_device("cuda", CELLS_FROM, GPU_FROM, 0)
    if found == "cpu":
        with pytest.raises(UserError, match=r"sampling\.device is cuda, but numba finds no GPU.*auto"):
            choose_device("cuda", 30, 1, 0)
    else:
        assert choose_device("cuda", 30, 1, 0) == "cuda"


def test_tools_of_a_gpu_that_do_not_fit_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """As numba-cuda 0.30 beside NumPy 2.5: `auto` samples on the CPU, `cuda` says why it does not."""

    def find_gpu(local_rank: int) -> bool:
        raise AttributeError("module 'numpy' has no attribute 'row_stack'")

    monkeypatch.setattr(gpu, "find_gpu", find_gpu)
    assert choose_device("auto", 30, GPU_FROM, 0) == "cpu"
    with pytest.raises(
        UserError, match=r"finds no GPU \(module 'numpy' has no attribute 'row_stack'\): it needs .*numba-cuda"
    ):
        choose_device("cuda", 30, 1, 0)


def test_a_gpu_that_computes_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(n_particles=5, box_side=3.0)
    monkeypatch.setattr(gpu, "make_gpu", make_sweeps)
    warm_up(system, "cuda")
    monkeypatch.setattr(gpu, "make_gpu", lambda potential: make_sweeps(replace(potential, cutoff=1.2)))
    with pytest.raises(UserError, match=r"this GPU does not give .* set sampling\.device=cpu"):
        warm_up(system, "cuda")


def test_kernels_for_cpus_are_compiled_for_cpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    monkeypatch.setattr(convolution, "_winograd", lambda x, *_: used.append(x) or x)
    network = nn.Sequential(convolution.ConvReLU(2, 2))
    convolution.warm_up(network, torch.device("cuda"))
    assert not used
    convolution.warm_up(network, torch.device("cpu"))
    assert used


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices, which a GPU would refuse."""

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        tensors = [t for t in tree_leaves((arguments, keywords)) if isinstance(t, torch.Tensor) and t.dim()]
        assert len({t.device for t in tensors}) < 2 or "copy" in str(operation), operation
        return operation(*arguments, **(keywords or {}))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_networks_keep_to_their_device(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On torch's device without memory, since there may be no other beside the CPU."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which that device has not
    configurations = Configurations(np.ones((4, 30, 2), np.float32), np.full(4, 0.1))
    with OneDevice():
        network, _ = new_network(load(path), torch.device("meta"))
        x, condition = network.inputs(configurations)
        output = network.module(x, condition, x.new_zeros(len(x), network.module.latent_dim))
        terms = [*network.criterion(x, output), *network.criterion.analytic(x, output)]
        network.per_configuration(terms[0]).sum().backward()
        if network.module.gives_positions:
            terms += [network.points(configurations), network.module.positions(output.mean, condition)]
    assert {t.device.type for t in terms} == {"meta"}
