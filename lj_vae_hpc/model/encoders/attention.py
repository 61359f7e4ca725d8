"""A transformer of the set of particles, which does not see their order (Lee et al., arXiv:1810.00825)."""

from torch import Tensor, nn

from lj_vae_hpc.config.model import Model
from lj_vae_hpc.config.representation import Representation
from lj_vae_hpc.model.attention import transformer, uneven_width
from lj_vae_hpc.model.base import Encoder


class Network(Encoder):
    """Works on coordinates."""

    @classmethod
    def objection(cls, representation: Representation, model: Model) -> str | None:
        """It needs coordinates, and a width that its heads share."""
        if representation.kind != "coordinates":
            return f"model.encoder: attention works on coordinates, not on {representation.kind}"
        return uneven_width(model)

    def __init__(self, shape: tuple[int, ...], model: Model) -> None:
        super().__init__(shape, model)
        self.features = model.width
        self.embed = nn.Linear(2, model.width)
        self.layers = transformer(model)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, 2) coordinates to (B, width), the mean over particles."""
        features: Tensor = self.layers(self.embed(x)).mean(dim=1)
        return features
