"""The section on the latent dimensions."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lj_vae_hpc.report.page import Section
from lj_vae_hpc.report.panels import BLUE, panel
from lj_vae_hpc.report.pictures import traversal
from lj_vae_hpc.report.results import Results


def section(results: Results, found: dict[str, Any]) -> Section:
    """Spectrum and information of the code, its order parameter, and what is decoded along its dimensions."""
    order = found["order_parameter"]["correlations"]
    spectrum, nats = np.array(found["spectrum"]), np.array(found["kl"])
    components = np.arange(1, len(spectrum) + 1)

    def shares(axes: Axes) -> None:
        axes.plot(components, spectrum, "o-", ms=3, lw=1, color=BLUE)
        axes.set(title="Spectrum of the latent means", xlabel="principal component", ylabel="share of the variance")
        if spectrum.min() > 0:
            axes.set_yscale("log")

    def divergence(axes: Axes) -> None:
        axes.bar(np.arange(len(nats)), nats, color=BLUE, alpha=0.7)
        axes.set(title="Information per dimension", xlabel="latent dimension", ylabel="KL (nats)")

    panels = [panel("latent_spectrum", {"component": components, "share": spectrum}, shares),
              panel("latent_kl", {"dimension": np.arange(len(nats)), "kl_nats": nats}, divergence)]  # fmt: skip
    traversals, side = np.array(found["traversals"], float), results.config.system.box_side
    text = "The order parameter is the linear function of the code that separates the trained γ, found from γ alone."
    if traversals.shape[-1] == 2 * results.config.system.n_particles and traversals.shape[-1] <= 2000:
        panels += [traversal(codes, int(k), side) for codes, k in zip(traversals, found["relevant"], strict=True)]
        text += (
            " Below: what is decoded along each of the most relevant dimensions, from −2 to 2 standard deviations;"
            " circles have the diameter σ."
        )
    return Section(
        "Latent dimensions", text,
        f"{found['active']} of {len(nats)} dimensions are active. The first two principal components of the latent"
        f" means hold {100 * found['share_of_two_components']:.1f} % of their variance. The order parameter has a"
        " correlation of"
        f" {order['height_sum']:.3f} with Σy, {order['gamma']:.3f} with γ and {order['energy']:.3f} with U, and"
        f" {100 * found['order_parameter']['share_of_variance']:.1f} % of the variance.",
        panels,
    )  # fmt: skip
