"""The section `model`: the networks."""

from collections.abc import Callable
from pathlib import Path
from pkgutil import iter_modules
from typing import Annotated

from pydantic import AfterValidator, Field, StrictBool

from lj_vae_hpc.config.base import AUTO, OR_AUTO, Count, Section, between

HUGE = "no computer holds the weights"
Channels = Annotated[Count, between(1, 4096, HUGE)]


def network_names(folder: str) -> list[str]:
    """The networks of lj_vae_hpc/model/FOLDER, which are its files; found without importing them."""
    return sorted(module.name for module in iter_modules([str(Path(__file__).parents[1] / "model" / folder)]))


def _one_of(folder: str) -> Callable[[str], str]:
    def check(name: str) -> str:
        names = network_names(folder)
        if name not in names:
            raise ValueError(f"there is no {folder[:-1]} {name}; choose one of {', '.join(names)}")
        return name

    return check


def recommended_latent_dim(n_particles: int, representation: str) -> int:
    """Latent dimensions that keep nearly all of a configuration: 4/3 N, measured in docs/science.md.

    Args:
        n_particles: N.
        representation: its kind. A local environment does not grow with N.
    """
    return 40 if representation == "local_environment" else -(-4 * n_particles // 3)


class Model(Section):
    """The variational auto-encoder: q(z|x) is a normal distribution with diagonal covariance, p(z) the standard one."""

    encoder: Annotated[str, AfterValidator(_one_of("encoders"))] = "mlp"
    """A file of model/encoders. mlp: fully connected. conv: two 3x3 convolutions, as published. conv_strided: the same
    with stride 2. attention: a transformer of the set of particles, which does not see their order."""
    decoder: Annotated[str, AfterValidator(_one_of("decoders"))] = "positions"
    """A file of model/decoders. mlp, conv and conv_strided give the entries of the representation. positions (fully
    connected) and attention give coordinates of ordered particles inside the box and form the representation from
    them, so that every output is a possible one."""
    latent_dim: Annotated[Count, between(1, 200_000, HUGE), OR_AUTO] = AUTO
    """Dimension of the latent space; auto, which a run resolves to a number, is 4/3 of the number of particles, rounded
    up, and 40 for a local_environment."""
    channels: tuple[Channels, Channels] = (60, 50)
    """Channels of the encoder's two convolutions; the decoder mirrors them."""
    width: Annotated[Count, between(1, 65_536, HUGE)] = 512
    """Units per hidden layer of mlp and positions; features per particle of attention, a multiple of 4."""
    depth: Annotated[Count, between(1, 256, "deeper networks do not train")] = 2
    """Hidden layers of mlp and positions; layers of attention."""
    linear_path: StrictBool = True
    """Adds a linear encoder and decoder beside the networks, which start as the principal components of the training
    split; needs coordinates, and the decoder positions or attention."""
    conditional: StrictBool = False
    """Gives γ to encoder and decoder (a conditional VAE)."""
    reference_state: Annotated[int, Field(ge=0, lt=2**53, strict=True)] | None = None
    """Row of the data set that the decoder is written about: x = x0 + g(z) - g(z0), exact for that configuration (Lee
    and Carlberg, J. Comput. Phys. 404, 108973, 2020)."""
