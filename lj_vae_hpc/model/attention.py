"""Transformers (Vaswani et al., arXiv:1706.03762), of particles."""

from torch import nn

from lj_vae_hpc.config.model import Model

HEADS = 4


def transformer(model: Model) -> nn.Module:
    """(B, N, width) to the same shape, by model.depth layers; nothing depends on the order of the N."""
    width = model.width
    layer = nn.TransformerEncoderLayer(width, HEADS, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, model.depth, norm=nn.LayerNorm(width), enable_nested_tensor=False)


def uneven_width(model: Model) -> str | None:
    """The objection of a transformer whose heads cannot share the width."""
    if model.width % HEADS == 0:
        return None
    return f"model.width: {model.width} is no multiple of {HEADS}, which attention needs"
