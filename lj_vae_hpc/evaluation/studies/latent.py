"""The latent space itself."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scoring import batch_size
from lj_vae_hpc.evaluation.sources import pieces
from lj_vae_hpc.evaluation.studies.base import Context, Study
from lj_vae_hpc.physics.energies import height_sum, total_energy

COUNT = 4000  # configurations of the test split, at most
ACTIVE = 0.01  # variance of the posterior's mean above which a dimension is active
RELEVANT, STEPS, REACH = 5, 5, 2.0  # dimensions traversed, steps on each side, and how far, in standard deviations
SIDE = 5  # of the decoded plane


class Latent(Study):
    """Spectrum, divergence and activity of every dimension; the order parameter; traversals, a plane, a line.

    What is decoded is flat: coordinates in units of L√2 where the decoder gives them, else entries of the
    representation.
    """

    name = "latent"
    weight = 2.0

    def run(self, context: Context, part: str) -> dict[str, Any]:
        """The results."""
        test, network = context.data.test, context.network
        configurations = test.read(range(min(len(test), COUNT)))
        means, kl = [], np.zeros(network.module.latent_dim)
        for some in pieces(len(configurations.gamma), batch_size(test.n_particles)):
            one = Pass(network, configurations.part(slice(some.start, some.stop)))
            means.append(one.latent_mean)
            kl += one.kl_by_dimension * len(some) / len(configurations.gamma)
        mean = np.concatenate(means)
        centred = mean - mean.mean(axis=0)
        spectrum = np.linalg.svd(centred, compute_uv=False) ** 2
        relevant = np.argsort(-kl)[:RELEVANT]
        system = context.config.system
        energy = total_energy(configurations.positions, configurations.gamma, system.pair_potential)
        order, axis = context.order(mean), self._unit(context.order.direction)
        correlations = {
            "gamma": self._correlation(order, configurations.gamma),
            "energy": self._correlation(order, energy),
            "height_sum": self._correlation(order, height_sum(configurations.positions)),
        }
        return {
            "spectrum": spectrum / spectrum.sum(),
            "share_of_two_components": float(spectrum[:2].sum() / spectrum.sum()),
            "kl": kl,
            "variance_of_mean": mean.var(axis=0),
            "active": int((mean.var(axis=0) > ACTIVE).sum()),
            "order_parameter": {
                "correlations": correlations,
                "by_gamma": {f"{g:g}": [float(order[configurations.gamma == g].mean()),
                                        float(order[configurations.gamma == g].std())] for g in context.data.gammas},
                "share_of_variance": float((centred @ axis).var() / centred.var(axis=0).sum()),
            },
            "relevant": relevant,
            "traversals": self._traversals(context, mean, relevant),
            "zero": self._decode(context, np.zeros((1, mean.shape[1])))[0],
            "plane": self._plane(context, mean),
            "interpolation": self._decode(context, np.linspace(mean[0], mean[1], 2 * STEPS + 1)),
        }  # fmt: skip

    @staticmethod
    def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        return float(np.corrcoef(a, b)[0, 1]) if np.std(b) > 0 else 0.0

    @staticmethod
    def _unit(direction: NDArray[np.float64]) -> NDArray[np.float64]:
        return direction / np.linalg.norm(direction)

    def _traversals(self, context: Context, mean: NDArray[np.float64], relevant: NDArray[np.int64]) -> list[Any]:
        """Decoded configurations along each relevant dimension, through the code of the first configuration."""
        steps = np.linspace(-REACH, REACH, 2 * STEPS + 1)
        found = []
        for dimension in relevant:
            codes = np.repeat(mean[:1], len(steps), axis=0)
            codes[:, dimension] = mean[:, dimension].mean() + steps * mean[:, dimension].std()
            found.append(self._decode(context, codes))
        return found

    def _plane(self, context: Context, mean: NDArray[np.float64]) -> NDArray[np.float32]:
        """Decoded configurations on a square grid in the plane of the first two principal components."""
        centre = mean.mean(axis=0)
        _, lengths, axes = np.linalg.svd(mean - centre, full_matrices=False)
        lengths, axes = np.resize(lengths[:2], 2), np.resize(axes[:2], (2, mean.shape[1]))  # one axis gives a line
        scale = REACH * lengths / np.sqrt(len(mean))
        u, v = np.meshgrid(*(np.linspace(-1, 1, SIDE) * s for s in scale))
        return self._decode(context, centre + u.reshape(-1, 1) * axes[0] + v.reshape(-1, 1) * axes[1])

    @staticmethod
    @torch.no_grad()
    def _decode(context: Context, codes: NDArray[np.float64]) -> NDArray[np.float32]:
        network = context.network
        z = torch.from_numpy(codes.astype(np.float32)).to(network.device)
        z = z.repeat_interleave(network.encoding.samples, dim=0)
        condition = network.condition(np.full(len(codes), float(np.mean(context.data.gammas))))
        module = network.module
        points = module.positions(z, condition) if module.gives_positions else module.decode(z, condition)
        return np.asarray(points.cpu().numpy().reshape(len(codes), -1).round(5))
