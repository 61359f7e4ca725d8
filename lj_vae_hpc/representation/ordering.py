"""The order in which the particles of a configuration are given to a network."""

import torch
from torch import Tensor


def particle_order(positions: Tensor, ordering: str) -> Tensor:
    """(B, N) numbers of the particles of each configuration in a canonical order; positions (B, N, 2), in σ.

    `origin`: by distance from the corner (0, 0). `y`: by height. `random`: by a hash of their coordinates, an
    order without meaning that is yet the same whatever the order given.
    """
    if ordering == "y":
        keys = positions[..., 1]
    elif ordering == "origin":
        keys = positions.square().sum(dim=-1)
    else:
        bits = positions.float().contiguous().view(torch.int32).long()  # integers, since sums of them are exact
        keys = (bits[..., 0] * 0x1E3779B97F4A7C15) ^ (bits[..., 1] * 0x2545F4914F6CDD1D)  # modulo 2^64
    return keys.argsort(dim=-1, stable=True)


def sort_particles(positions: Tensor, ordering: str) -> Tensor:
    """Particles of each configuration in a canonical order (particle_order); positions (B, N, 2), like the result."""
    return positions.gather(1, particle_order(positions, ordering).unsqueeze(-1).expand_as(positions))
