"""The order in which the particles of a configuration are given to a network."""

import torch
from torch import Tensor


def sort_particles(positions: Tensor, ordering: str) -> Tensor:
    """Particles of each configuration in a canonical order; positions (B, N, 2) in σ, and so is the result.

    `origin`: by distance from the corner (0, 0). `y`: by height. `random`: by a hash of their coordinates, an
    order without meaning that is yet the same whatever the order given.
    """
    if ordering == "y":
        keys = positions[..., 1]
    elif ordering == "origin":
        keys = positions.square().sum(dim=-1)
    else:
        bits = positions.float().contiguous().view(torch.int32).long()  # integers, since sums of them are exact
        keys = (bits[..., 0] * 2654435761 + bits[..., 1] * 2246822519) % 1_000_003
    order = keys.argsort(dim=-1, stable=True)
    return positions.gather(1, order.unsqueeze(-1).expand_as(positions))
