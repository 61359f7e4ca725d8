"""Representation, network, loss and checkpoints."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from lj_vae_hpc.config import Model, Objective, Representation, Training
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.model.convolution import ConvReLU, TransposedConvReLU
from lj_vae_hpc.model.vae import VAE, Output
from lj_vae_hpc.representation.batches import Batches, Splits
from lj_vae_hpc.representation.distances import distance_matrix, matrix_side
from lj_vae_hpc.training import checkpoint
from lj_vae_hpc.training.hardware import assign_gpus
from lj_vae_hpc.training.objective import terms

POSITIONS = torch.tensor([[[3.0, 4.0], [0.0, 1.0], [6.0, 8.0]]])


def test_distances_are_sorted_from_the_origin_and_scaled() -> None:
    matrix = distance_matrix(POSITIONS, 10.0, Representation())[0, 0] * 10 * 2**0.5
    r = [[0.0, 18**0.5, 85**0.5], [18**0.5, 0.0, 5.0], [85**0.5, 5.0, 0.0]]
    torch.testing.assert_close(matrix, torch.tensor(r))


def test_ordering_by_height() -> None:
    positions = torch.tensor([[[9.0, 1.0], [0.0, 2.0]], [[0.0, 2.0], [9.0, 1.0]]])
    landmarks = Representation(ordering="y", landmarks=True)
    matrices = distance_matrix(positions, 10.0, landmarks)
    torch.testing.assert_close(matrices[0], matrices[1])
    assert matrices[0, 0, 0, 2] * 10 * 2**0.5 == pytest.approx(82**0.5)  # the lower particle comes first


def test_landmarks_make_the_matrix_lossless() -> None:
    positions = torch.rand(20, 7, 2) * 10
    matrix = distance_matrix(positions, 10.0, Representation(landmarks=True))[:, 0] * 10 * 2**0.5
    assert matrix.shape[1] == matrix_side(7, Representation(landmarks=True)) == 9
    a, b = matrix[:, 0, 2:] ** 2, matrix[:, 1, 2:] ** 2
    x = (a - b + 100.0) / 20.0
    recovered = torch.stack([x, (a - x**2).clamp(min=0).sqrt()], dim=-1)
    order = positions.square().sum(-1).argsort(dim=1)
    torch.testing.assert_close(recovered, positions.gather(1, order[..., None].expand(-1, -1, 2)), atol=2e-3, rtol=0)


def test_order_of_particles_does_not_matter() -> None:
    positions = torch.rand(5, 12, 2) * 10
    shuffled = positions[:, torch.randperm(12)]
    torch.testing.assert_close(*(distance_matrix(p, 10.0, Representation()) for p in (positions, shuffled)))


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_an_epoch_holds_every_row_once_in_the_same_batches(ranks: int) -> None:
    batches = Batches(range(10, 137), 16, seed=4)

    def rows_of(rank: int, first: int = 0) -> list[list[int]]:
        def read(rows: range) -> np.ndarray:
            return np.array(rows, np.float32)

        def shard(n: int) -> range:
            return range(n * rank // ranks, n * (rank + 1) // ranks)

        return [positions.astype(int).tolist() for _, _, _, positions in batches.epoch(2, first, read, shard)]

    parts = [rows_of(rank) for rank in range(ranks)]
    together = [sum((part[step] for part in parts), []) for step in range(batches.steps)]  # noqa: RUF017
    assert sorted(sum(together, [])) == list(range(10, 137))  # noqa: RUF017
    random = np.random.default_rng([4, 2, 0]).permutation(127)
    assert together == [(10 + random[s : s + 16]).tolist() for s in range(0, 127, 16)]
    assert rows_of(0, first=3) == parts[0][3:]


def test_a_rank_reads_blocks_and_keeps_only_its_rows() -> None:
    batches = Batches(range(10, 5010), 16, seed=4)
    largest, kept = 0, 0

    def read(rows: range) -> np.ndarray:
        nonlocal largest
        largest = max(largest, len(rows))
        return np.repeat(np.arange(rows.start, rows.stop, dtype=np.float32), 4).reshape(-1, 2, 2)

    for _, _, _, positions in batches.epoch(0, 0, read, lambda n: range(n * 3 // 8, n * 4 // 8)):
        base = positions if positions.base is None else positions.base
        kept = len(base)
    assert largest <= 1024 and kept == 5000 // 8


def test_every_rank_has_a_gpu_of_its_own_or_none_has() -> None:
    assert assign_gpus([["a", "b"], ["a", "b"]]) == [0, 1]
    assert assign_gpus([["a"], ["b"], ["c", "d"], ["c", "d"]]) == [0, 0, 0, 1]  # two nodes, one GPU visible per task
    assert assign_gpus([["a", "b"], ["a", "b"], ["a", "b"]]) is None
    assert assign_gpus([["a"], []]) is None


def test_splits_are_disjoint_and_cover_everything() -> None:
    splits = Splits.of(400, 4, Training(validation_fraction=0.1, test_fraction=0.2))
    assert [*splits.training, *splits.validation, *splits.test] == list(range(400))
    assert (len(splits.training), len(splits.validation), len(splits.test)) == (280, 40, 80)


def test_the_reference_network_has_its_published_size() -> None:
    network = VAE(30, Model())
    sizes = [sum(p.numel() for p in part.parameters()) for part in (network.encoder, network.decoder)]
    assert sizes == [3_627_730, 1_895_151]
    assert [round(s / 1e6, 2) for s in sizes] == [3.63, 1.90]


def test_noise_moves_the_latent_by_one_standard_deviation() -> None:
    torch.manual_seed(0)
    network = VAE(6, Model(latent_dim=3, channels=(4, 5)))
    x = torch.rand(2, 1, 6, 6)
    output = network(x, torch.full((2, 3), 2.0))
    expected = network.decode(output.mean + 2.0 * torch.exp(0.5 * output.log_variance))
    torch.testing.assert_close(output.reconstruction, expected)
    assert (
        output.reconstruction.shape == x.shape and 0 <= output.reconstruction.min() <= output.reconstruction.max() <= 1
    )


def test_loss_against_closed_forms() -> None:
    mean, log_variance = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, np.log(4.0)]])
    x = torch.zeros(1, 1, 2, 2)
    each = terms(x, Output(torch.tensor([[[[0.0, 1.0], [2.0, 1.0]]]]), mean, log_variance), Objective(kl_weight=0.1))
    q, p = torch.distributions.Normal(mean, (0.5 * log_variance).exp()), torch.distributions.Normal(0.0, 1.0)
    kl = torch.distributions.kl_divergence(q, p).mean()
    assert each.squared_error.item() == pytest.approx(6 / 4)
    assert each.kl.item() == pytest.approx(kl.item(), rel=1e-6)
    assert each.loss.item() == pytest.approx(6 / 4 + 0.1 * kl.item(), rel=1e-6)


def network_and_optimizer(seed: int) -> tuple[VAE, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    network = VAE(6, Model(latent_dim=3, channels=(4, 5)))
    return network, torch.optim.Adam(network.parameters())


def one_step(network: VAE, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    network(torch.ones(2, 1, 6, 6), torch.zeros(2, 3)).reconstruction.sum().backward()
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
        assert torch.equal(a, b)


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
        checkpoint.restore(checkpoint.load(path)[0], VAE(6, Model(latent_dim=4, channels=(4, 5))), None, path)


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
