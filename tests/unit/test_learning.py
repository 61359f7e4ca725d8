"""Networks, checkpoints and hardware."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from lj_vae_hpc.config.load import load
from lj_vae_hpc.config.model import Model
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.model.convolution import ConvReLU, TransposedConvReLU
from lj_vae_hpc.model.vae import VAE
from lj_vae_hpc.training import checkpoint
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.hardware import assign_gpus
from lj_vae_hpc.training.network import Network


def published(side: int, latent_dim: int = 40, **keys: object) -> VAE:
    """The published network for M x M matrices."""
    return VAE(Model(encoder="conv", decoder="conv", linear_path=False, latent_dim=latent_dim, **keys), (1, side, side))


def nothing(n: int) -> torch.Tensor:
    """No conditions."""
    return torch.empty(n, 0)


def test_every_rank_has_a_gpu_of_its_own_or_none_has() -> None:
    assert assign_gpus([["a", "b"], ["a", "b"]]) == [0, 1]
    assert assign_gpus([["a"], ["b"], ["c", "d"], ["c", "d"]]) == [0, 0, 0, 1]  # two nodes, one GPU visible per task
    assert assign_gpus([["a", "b"], ["a", "b"], ["a", "b"]]) is None
    assert assign_gpus([["a"], []]) is None


def test_the_reference_network_has_its_published_size() -> None:
    network = published(30)
    sizes = [sum(p.numel() for part in parts for p in part.parameters())
             for parts in ([network.encoder, network.posterior], [network.decoder])]  # fmt: skip
    assert sizes == [3_627_730, 1_895_151]
    assert [round(s / 1e6, 2) for s in sizes] == [3.63, 1.90]


def test_noise_moves_the_latent_by_one_standard_deviation() -> None:
    torch.manual_seed(0)
    network = published(6, latent_dim=3, channels=(4, 5))
    x = torch.rand(2, 1, 6, 6)
    output = network(x, nothing(2), torch.full((2, 3), 2.0))
    expected = network.decode(output.mean + 2.0 * torch.exp(0.5 * output.log_variance), nothing(2))
    torch.testing.assert_close(output.reconstruction, expected)
    assert (
        output.reconstruction.shape == x.shape and 0 <= output.reconstruction.min() <= output.reconstruction.max() <= 1
    )


def network_and_optimizer(seed: int) -> tuple[VAE, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    network = published(6, latent_dim=3, channels=(4, 5)).to(memory_format=torch.channels_last)  # as new_network
    return network, torch.optim.AdamW(network.parameters(), fused=True)


def one_step(network: VAE, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    network(torch.ones(2, 1, 6, 6), nothing(2), torch.zeros(2, 3)).reconstruction.sum().backward()
    optimizer.step()


def test_a_restored_checkpoint_continues_bit_for_bit(tmp_path: Path) -> None:
    network, optimizer = network_and_optimizer(1)
    one_step(network, optimizer)
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(path, checkpoint.training_state(network, optimizer), {"epoch": 3})
    one_step(network, optimizer)
    other, its_optimizer = network_and_optimizer(2)
    tensors, facts = checkpoint.load(path)
    checkpoint.restore(tensors, other, its_optimizer, path)
    one_step(other, its_optimizer)
    assert facts == {"epoch": 3}
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b) and a.stride() == b.stride()
        for slot in ("exp_avg", "exp_avg_sq"):
            assert its_optimizer.state[b][slot].stride() == b.stride(), "fused steps go through memory"


def test_bad_checkpoints_are_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(UserError, match="does not exist"):
        checkpoint.load(path)
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(UserError, match="damaged or not written by lj-vae"):
        checkpoint.load(path)
    network, optimizer = network_and_optimizer(1)
    checkpoint.save(path, checkpoint.training_state(network, optimizer), {})
    with pytest.raises(UserError, match="another architecture"):
        checkpoint.restore(checkpoint.load(path)[0], published(6, latent_dim=4, channels=(4, 5)), None, path)


@pytest.mark.parametrize(
    ("inputs", "outputs", "side"), [(60, 50, 30), (60, 50, 29), (16, 16, 32), (7, 9, 31), (2, 3, 5)]
)
@pytest.mark.parametrize("layer", [ConvReLU, TransposedConvReLU])
def test_fast_convolution_equals_the_direct_one(layer: type, inputs: int, outputs: int, side: int) -> None:
    torch.manual_seed(0)
    fast = layer(inputs, outputs)
    x, g = torch.randn(5, inputs, side, side), torch.randn(5, outputs, side, side)
    results = []
    for network, dtype in ((fast, torch.float32), (copy.deepcopy(fast).double(), torch.float64)):
        a = x.to(dtype).requires_grad_()
        y = network(a)
        # Where an output is next to zero, ReLU may cut it in one precision and not in the other.
        mask = (fast(x).abs() > 1e-3).to(dtype)
        gradients = torch.autograd.grad((y * g.to(dtype) * mask).sum(), [a, network.weight, network.bias])
        results.append([y, *gradients])
    assert type(results[0][0].grad_fn).__name__ == "Conv3x3ReLUBackward"
    for ours, exact in zip(*results, strict=True):
        assert (ours.double() - exact).abs().max() < 5e-5 * exact.abs().max()


def test_fast_convolution_of_an_empty_batch_has_zero_gradients() -> None:
    layer = ConvReLU(4, 3)
    layer(torch.zeros(0, 4, 6, 6, requires_grad=True)).sum().backward()
    assert layer.weight.grad is not None and not layer.weight.grad.any()


def test_conditions_are_scaled_by_the_gammas_of_the_weights() -> None:
    config = load(None, ("model.conditional=true", "sampling.gammas=[1.0, 0.1]"))
    assert Network.of(config).gammas == (0.1, 1.0)
    network = Network.of(config, [0.0, 4.0])
    positions = np.zeros((2, 30, 2), np.float32)
    _, condition = network.inputs(Configurations(positions, np.array([2.0, 4.0])))
    assert condition.tolist() == [[0.0], [1.0]]


def test_weights_are_as_readable_as_other_files(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "weights", {"x": torch.ones(2)}, {})
    (tmp_path / "other").touch()
    assert (tmp_path / "weights").stat().st_mode == (tmp_path / "other").stat().st_mode
