"""What each particle sees of its neighbours and of the walls."""

import torch
from torch import Tensor
from torch.nn import functional

from lj_vae_hpc.representation.distances import pair_distances


def local_environments(positions: Tensor, box_side: float, neighbours: int, radius: float) -> Tensor:
    """(B * N, 3k + 5): what each particle sees up to the radius, in units of it.

    Distances and vectors to the k nearest neighbours, nearest first (1 and 0 for those beyond); distances to the left,
    right, lower and upper wall, at most 1; and the height in units of L.

    Args:
        positions: (B, N, 2), in σ.
        box_side: L, in σ.
        neighbours: k; where there are fewer, the rest is empty.
        radius: in σ.
    """
    b, n, _ = positions.shape
    distances = pair_distances(positions)
    distances.diagonal(dim1=1, dim2=2).fill_(float("inf"))
    nearest, index = distances.topk(min(neighbours, n - 1), largest=False)  # (B, N, k)
    others = positions.gather(1, index.flatten(1).unsqueeze(-1).expand(-1, -1, 2)).view(b, n, nearest.shape[2], 2)
    seen = nearest < radius
    vectors = torch.where(seen.unsqueeze(-1), (others - positions.unsqueeze(2)) / radius, 0.0)
    nearest = torch.where(seen, nearest / radius, 1.0)
    missing = neighbours - nearest.shape[2]
    nearest = functional.pad(nearest, (0, missing), value=1.0)
    vectors = functional.pad(vectors, (0, 0, 0, missing))
    walls = torch.cat([positions, box_side - positions], dim=2)[..., [0, 2, 1, 3]].clamp(max=radius) / radius
    height = positions[..., 1:] / box_side
    return torch.cat([nearest, vectors.flatten(2), walls, height], dim=2).flatten(0, 1)
