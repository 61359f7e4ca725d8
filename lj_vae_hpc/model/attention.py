"""Networks of sets of particles (transformers; Vaswani et al., arXiv:1706.03762; Lee et al., arXiv:1810.00825)."""

import torch
from torch import Tensor, nn

HEADS = 4


def _layers(width: int, depth: int) -> nn.Module:
    layer = nn.TransformerEncoderLayer(width, HEADS, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, depth, norm=nn.LayerNorm(width), enable_nested_tensor=False)


class AttentionEncoder(nn.Module):
    """(B, N, 2) coordinates to (B, width) features, the mean over particles: their order does not matter."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.embed = nn.Linear(2, width)
        self.layers = _layers(width, depth)

    def forward(self, x: Tensor) -> Tensor:
        """The features."""
        features: Tensor = self.layers(self.embed(x)).mean(dim=1)
        return features


class AttentionDecoder(nn.Module):
    """(B, inputs) to (B, N, 2) coordinates: each place in the order asks with an embedding of its own."""

    def __init__(self, inputs: int, n_particles: int, width: int, depth: int) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.randn(n_particles, width))
        self.embed = nn.Linear(inputs, width)
        self.layers = _layers(width, depth)
        self.last = nn.Linear(width, 2)

    def forward(self, z: Tensor) -> Tensor:
        """The coordinates."""
        coordinates: Tensor = self.last(self.layers(self.places + self.embed(z).unsqueeze(1)))
        return coordinates
