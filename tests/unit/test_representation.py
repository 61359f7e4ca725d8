"""What a network sees of configurations."""

import math

import pytest
import torch
from torch import Tensor

from lj_vae_hpc.config.representation import Representation
from lj_vae_hpc.config.system import System
from lj_vae_hpc.representation.encoding import make_encoding
from lj_vae_hpc.representation.ordering import sort_particles

POSITIONS = torch.tensor([[[3.0, 4.0], [0.0, 1.0], [6.0, 8.0]]])
UNIT = 10 * math.sqrt(2)


def encode(positions: Tensor, **keys: object) -> Tensor:
    """Samples of configurations in a box of side 10 σ."""
    encoding = make_encoding(System(n_particles=positions.shape[1]), Representation(**keys))
    x = encoding.encode(positions)
    assert x.shape == (len(positions) * encoding.samples, *encoding.shape) and x.dtype == torch.float32
    return x


def test_distances_are_sorted_from_the_origin_and_scaled() -> None:
    matrix = encode(POSITIONS, kind="distance_matrix", ordering="origin")[0, 0] * UNIT
    r = [[0.0, 18**0.5, 85**0.5], [18**0.5, 0.0, 5.0], [85**0.5, 5.0, 0.0]]
    torch.testing.assert_close(matrix, torch.tensor(r))


def test_ordering_by_height() -> None:
    positions = torch.tensor([[[9.0, 1.0], [0.0, 2.0]], [[0.0, 2.0], [9.0, 1.0]]])
    coordinates = encode(positions) * UNIT
    torch.testing.assert_close(coordinates, torch.tensor([[9.0, 1.0], [0.0, 2.0]]).expand(2, 2, 2))
    matrices = encode(positions, kind="distance_matrix", ordering="y", landmarks=True)
    assert matrices[0, 0, 0, 2] * UNIT == pytest.approx(82**0.5)  # the lower particle comes first


def test_landmarks_make_the_matrix_lossless() -> None:
    positions = torch.rand(20, 7, 2) * 10
    matrix = encode(positions, kind="distance_matrix", ordering="origin", landmarks=True)[:, 0] * UNIT
    assert matrix.shape[1] == 9
    a, b = matrix[:, 0, 2:] ** 2, matrix[:, 1, 2:] ** 2
    x = (a - b + 100.0) / 20.0
    recovered = torch.stack([x, (a - x**2).clamp(min=0).sqrt()], dim=-1)
    order = positions.square().sum(-1).argsort(dim=1)
    torch.testing.assert_close(recovered, positions.gather(1, order[..., None].expand(-1, -1, 2)), atol=2e-3, rtol=0)


@pytest.mark.parametrize("ordering", ["origin", "y", "random"])
@pytest.mark.parametrize("kind", ["coordinates", "distance_matrix", "occupancy_grid"])
def test_order_of_particles_does_not_matter(kind: str, ordering: str) -> None:
    positions = torch.rand(5, 12, 2) * 10
    shuffled = positions[:, torch.randperm(12)]
    torch.testing.assert_close(*(encode(p, kind=kind, ordering=ordering) for p in (positions, shuffled)))


def test_the_random_order_tells_nothing_of_the_place() -> None:
    points = encode(torch.rand(4000, 10, 2) * 10, ordering="random")
    ranks = torch.arange(10.0).expand(4000, 10)
    for k in range(2):
        correlation = torch.corrcoef(torch.stack([ranks.flatten(), points[..., k].flatten()]))[0, 1]
        assert abs(correlation) < 4 / math.sqrt(40_000)  # four standard deviations: false alarm in 1 of 16,000 each


def test_the_random_order_is_that_of_the_set_also_of_many_particles() -> None:
    positions = torch.rand(500, 200, 2) * 25
    shuffled = positions[:, torch.randperm(200)]
    assert torch.equal(sort_particles(positions, "random"), sort_particles(shuffled, "random"))


def test_occupancy_grids_count_particles() -> None:
    positions = torch.tensor([[[0.1, 0.2], [0.3, 0.4], [9.9, 0.5], [5.5, 9.9], [11.0, -1.0]]])
    coarse = encode(positions, kind="occupancy_grid", cells=10)[0, 0]
    assert coarse.sum() == 5 and coarse[0, 0] == 2 and coarse[0, 9] == 2 and coarse[9, 5] == 1  # rows along y
    fine = encode(positions, kind="occupancy_grid", cells=20)[0, 0]
    assert fine.max() == 1 and fine.sum() == 4  # of the two in one cell one is told


def test_local_environments_against_a_count_by_hand() -> None:
    positions = torch.tensor([[[1.0, 0.5], [2.0, 0.5], [1.0, 2.5], [8.0, 9.0]]])
    x = encode(positions, kind="local_environment", neighbours=2, radius=2.0)
    # Nearest at 1 to the right, the next on the circle of radius 2 and so not seen; walls at 1, 9, 0.5 and 9.5.
    expected = torch.tensor([0.5, 1.0, 0.5, 0.0, 0.0, 0.0, 0.5, 1.0, 0.25, 1.0, 0.05])
    torch.testing.assert_close(x[0], expected)
    alone = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.5, 0.9])
    torch.testing.assert_close(x[3], alone)
    torch.testing.assert_close(encode(positions[:, :2], kind="local_environment", neighbours=2, radius=2.0)[0], x[0])
