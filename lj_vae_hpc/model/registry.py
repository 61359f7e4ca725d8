"""Encoders and decoders by their names in the configuration, which are the names of their files."""

from importlib import import_module

from lj_vae_hpc.config.model import Model
from lj_vae_hpc.config.representation import Representation
from lj_vae_hpc.model.base import Decoder, Encoder


def encoder_class(name: str) -> type[Encoder]:
    """The class `Network` of model/encoders/NAME.py."""
    found: type[Encoder] = import_module(f"lj_vae_hpc.model.encoders.{name}").Network
    return found


def decoder_class(name: str) -> type[Decoder]:
    """The class `Network` of model/decoders/NAME.py."""
    found: type[Decoder] = import_module(f"lj_vae_hpc.model.decoders.{name}").Network
    return found


def objection(representation: Representation, model: Model) -> str | None:
    """The first thing that forbids these networks, as `key: what is wrong and what is accepted`."""
    encoder, decoder = encoder_class(model.encoder), decoder_class(model.decoder)
    found = encoder.objection(representation, model) or decoder.objection(representation, model)
    if found or not model.linear_path:
        return found
    if representation.kind == "coordinates" and decoder.gives_positions:
        return None
    return (
        "model.linear_path: needs representation.kind coordinates and a model.decoder that gives coordinates, not "
        f"{representation.kind} and {model.decoder}; set it to false"
    )
