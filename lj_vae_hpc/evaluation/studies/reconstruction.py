"""Configurations from their reconstructions: absolute, from distances alone, and how physical they are."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import jensenshannon

from lj_vae_hpc.evaluation.scoring import batch_size
from lj_vae_hpc.evaluation.sources import pieces
from lj_vae_hpc.evaluation.structure import Sample, products_of_cells
from lj_vae_hpc.evaluation.studies.base import Context, Study, some_gammas, too_many_particles
from lj_vae_hpc.physics.energies import pair_distances_squared
from lj_vae_hpc.training.accuracy import Linear, Positions
from lj_vae_hpc.training.batches import Configurations

Floats = NDArray[np.float64]

COUNT, PAIRS = 1000, 1 << 22  # test configurations of each γ, at most, and their pairs
ALL = 4  # times as many of all γ together
FEWEST = 20  # of a γ whose structure is looked at
CLOSE = 1.0  # σ; the published figure leaves out pairs that are closer
FAILED = 1.0  # σ; a configuration that the tumbler has put farther off lies on the wrong side


class Reconstruction(Study):
    """Position errors, energies and structure of reconstructed test configurations; of grids, their structure."""

    name = "reconstruction"
    version = 4
    weight = 3.0

    def objection(self, context: Context) -> str | None:
        """It needs distances between all particles, or a grid."""
        if _is_grid(context):
            return None
        if not context.network.encoding.matrix:
            return "the representation holds neither distances nor a grid"
        return too_many_particles(context)

    def run(self, context: Context, part: str) -> dict[str, Any]:
        """Errors over all γ, and the structure of each; of grids the two-point correlation of each γ."""
        if _is_grid(context):
            return {"two_point_correlation": {f"{gamma:g}": _grids(context, gamma)
                                              for gamma in some_gammas(context.data.gammas)}}  # fmt: skip
        n, test = context.config.system.n_particles, context.data.test
        most = min(COUNT, PAIRS // n**2)
        parts = [_Reconstructed(context, test.read(some)).numbers() for some in pieces(
            min(len(test), ALL * most), batch_size(n))]  # fmt: skip
        numbers = {name: np.concatenate([one[name] for one in parts]) for name in parts[0]}
        errors = {name: _root(numbers[name]) if name in SQUARED else float(np.median(numbers[name]))
                  for name in ERRORS if name in numbers}  # fmt: skip
        found: dict[str, Any] = {
            "position_error": errors,
            "components": self._components(context, ALL * most),
            "tumbler_failure_rate": {
                "reconstructed": (numbers["tumbler"] > FAILED).mean(),
                "exact": (numbers["tumbler_of_exact_distances"] > FAILED).mean(),
            },
        }
        if "decoder" in numbers:
            found["structure"] = {f"{gamma:g}": own for gamma in some_gammas(context.data.gammas)
                                  if (own := self._structure(context, gamma, most))}  # fmt: skip
        return found | {"energy_histograms": {name: _histograms(*(numbers[f"{kind}/{name}"] for kind in ENERGIES))
                                              for name in LEAST}}  # fmt: skip

    @staticmethod
    def _components(context: Context, most: int) -> dict[str, float | None]:
        """Error in σ of as many principal components of the ordered coordinates as there are latent dimensions."""
        training, test, network = context.data.training, context.data.test, context.network
        some = training.read(range(min(len(training), network.rows_for_components)))
        others = test.read(range(min(len(test), most)))
        dimensions = network.module.latent_dim
        linear = Linear.of(Positions(network, context.config.system.box_side), some, dimensions)
        return {"dimensions": dimensions, "position_error": linear.error(others, dimensions)}

    @staticmethod
    def _structure(context: Context, gamma: float, most: int) -> dict[str, Any]:
        """One γ: reconstructions against another Monte Carlo sample, beside two such samples."""
        system, splits = context.config.system, (context.data.test, context.data.calibration)
        own, other = (one.read(range(min(len(one), most))) for one in (split.of(gamma) for split in splits))
        if min(len(own.gamma), len(other.gamma)) < FEWEST:
            return {}
        decoded = [_Reconstructed(context, own.part(slice(some.start, some.stop))).absolute
                   for some in pieces(len(own.gamma), batch_size(system.n_particles))]  # fmt: skip
        sample = Sample(other.positions, gamma, system)
        reconstructed = Sample(np.concatenate([one for one in decoded if one is not None]), gamma, system)
        return {
            "reconstructed": reconstructed.compare(sample),
            "noise_floor": Sample(own.positions, gamma, system).compare(sample),
            "curves": {"monte_carlo": sample.curves, "reconstructed": reconstructed.curves},
        }


def _is_grid(context: Context) -> bool:
    return context.config.representation.kind == "occupancy_grid"


@torch.no_grad()
def _grids(context: Context, gamma: float) -> dict[str, list[float]]:
    """The two-point correlation of the grids of one γ and of their reconstructions, with standard errors.

    From one cell apart on: the decoder gives the mean of each cell, and products of means are those of different cells,
    if independent.
    """
    network, own = context.network, context.data.test.of(gamma)
    each: dict[str, list[Floats]] = {"monte_carlo": [], "reconstructed": []}
    for part in pieces(min(len(own), COUNT), batch_size(context.config.representation.cells)):
        x, condition = network.inputs(own.read(part))
        decoded = network.module.decode(network.module.encode(x, condition)[0], condition)
        for name, grids in zip(each, (x, decoded), strict=True):
            each[name].append(products_of_cells(grids.squeeze(1).double().cpu().numpy())[:, 1:])
    found: dict[str, list[float]] = {}
    for name, parts in each.items():
        values = np.concatenate(parts)
        found[name] = values.mean(axis=0).tolist()
        found[f"{name}_error"] = (values.std(axis=0) / np.sqrt(len(values))).tolist()
    return found


class _Reconstructed:
    """Some configurations beside their reconstructions; lengths in σ.

    Args:
        context: what the study uses.
        some: n configurations.

    Attributes:
        truth: (n, N, 2) ordered positions.
        distances: (n, N, N) reconstructed distances of the particles.
        to_corners: (n, N, 2) those to the corners (0, 0) and (L, 0), where these are landmarks.
        absolute: (n, N, 2) decoded positions, where the decoder gives them.
    """

    @torch.no_grad()
    def __init__(self, context: Context, some: Configurations) -> None:
        network, self._system, count = context.network, context.config.system, context.config.system.n_particles
        unit = self._system.box_side * np.sqrt(2.0)
        x, condition = network.inputs(some)
        z = network.module.encode(x, condition)[0]
        assert network.encoding.matrix is not None
        matrix = network.encoding.matrix(network.module.decode(z, condition)).double().cpu().numpy() * unit
        self.truth = network.points(some).double().cpu().numpy() * unit
        self.distances = matrix[:, -count:, -count:]
        landmarks, direct = context.config.representation.landmarks, network.module.gives_positions
        self.to_corners = matrix[:, -count:, :2] if landmarks else None  # the corners are the first two points
        self.absolute = network.module.positions(z, condition).double().cpu().numpy() * unit if direct else None

    def numbers(self) -> dict[str, Floats]:
        """Of each configuration, (n,): the position errors ERRORS in σ, and energies in ε as ENERGY/LEAST."""
        truth = self.truth
        exact = np.linalg.norm(truth[:, :, None] - truth[:, None], axis=-1)
        scaled, own = ([classical_scaling(one) for one in distances] for distances in (self.distances, exact))
        found = {
            "classical_scaling": [aligned_error(t, s) for t, s in zip(truth, scaled, strict=True)],
            "tumbler": [resting_error(t, tumble(s)) for t, s in zip(truth, scaled, strict=True)],
            "tumbler_of_exact_distances": [resting_error(t, tumble(s)) for t, s in zip(truth, own, strict=True)],
        }
        if self.to_corners is not None:
            both = trilaterate(self.to_corners, self._system.box_side)
            found["landmarks"] = [_rms(t - s) for t, s in zip(truth, both, strict=True)]
        if self.absolute is not None:
            found["decoder"] = [_rms(t - a) for t, a in zip(truth, self.absolute, strict=True)]
        return {name: np.array(values) for name, values in found.items()} | self._energies()

    def _energies(self) -> dict[str, Floats]:
        potential, upper = self._system.pair_potential, np.triu_indices(self.truth.shape[1], 1)
        squares = pair_distances_squared(self.truth), self.distances[:, upper[0], upper[1]] ** 2
        return {
            f"{kind}/{name}": np.where(squared >= least**2, potential.energy(np.maximum(squared, 1e-6)), 0.0).sum(1)
            for name, least in LEAST.items()
            for kind, squared in zip(ENERGIES, squares, strict=True)
        }


ERRORS = ("classical_scaling", "tumbler", "tumbler_of_exact_distances", "landmarks", "decoder")
SQUARED = ("classical_scaling", "landmarks", "decoder")  # whose root mean square is given, of the others the median
ENERGIES = ("true", "reconstructed")
LEAST = {"published": CLOSE, "corrected": 0.0}  # σ, of the pairs whose energies are summed


def _histograms(true: Floats, decoded: Floats) -> dict[str, float]:
    """Jensen-Shannon distance of the histograms of energies."""
    low, high = np.percentile(true, [0.1, 99.9])
    p, q = (np.histogram(np.clip(e, low, high), 40, (low, high))[0] / len(e) for e in (true, decoded))
    return {"jensen_shannon": float(jensenshannon(p, q, base=2))}


def classical_scaling(distances: Floats) -> Floats:
    """(N, 2) centred points from (N, N) distances, by the Gram matrix (Torgerson, Psychometrika 17, 401, 1952)."""
    squared = distances**2
    centred = squared - squared.mean(axis=0) - squared.mean(axis=1)[:, None] + squared.mean()
    values, vectors = np.linalg.eigh(-0.5 * (centred + centred.T) / 2)
    return np.asarray(vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 0.0)))


def trilaterate(to_corners: Floats, side: float) -> Floats:
    """(n, N, 2) points from (n, N, 2) distances to (0, 0) and (L, 0); y >= 0 makes them unique."""
    first, second = to_corners[..., 0] ** 2, to_corners[..., 1] ** 2
    x = (first - second + side**2) / (2 * side)
    return np.stack([x, np.sqrt(np.maximum(first - x**2, 0.0))], axis=-1)


def tumble(points: Floats) -> Floats:
    """(N, 2) points turned so that they rest on the side of their hull that is nearest to the centre of mass.

    The "turbo tumbler" of the published analysis. Which way is left stays unknown.
    """
    centred = points - points.mean(axis=0)
    try:
        hull = ConvexHull(centred)
    except QhullError:  # all on a line
        return np.asarray(centred)
    outward = hull.equations[np.argmax(hull.equations[:, 2]), :2]  # the offset is minus the distance from the centre
    down = np.array([0.0, -1.0])
    cosine, sine = outward @ down, outward[0] * down[1] - outward[1] * down[0]
    turned = centred @ np.array([[cosine, sine], [-sine, cosine]])
    return np.asarray(turned - [turned[:, 0].mean(), turned[:, 1].min()])


def aligned(points: Floats, truth: Floats) -> Floats:
    """(N, 2) points after the rotation, reflection and translation that bring them closest to the truth (N, 2).

    The orthogonal Procrustes problem (Schönemann, Psychometrika 31, 1, 1966).
    """
    centre, own = truth.mean(axis=0), points - points.mean(axis=0)
    u, _, v = np.linalg.svd(own.T @ (truth - centre))
    return np.asarray(own @ (u @ v) + centre)


def aligned_error(truth: Floats, points: Floats) -> float:
    """Root mean square displacement in σ after the best rotation, reflection and translation, without scaling."""
    return _rms(aligned(points, truth) - truth)


def resting_error(truth: Floats, points: Floats) -> float:
    """The same after the best horizontal shift and mirroring only, for points that rest on the floor."""
    floor, own = (x - [x[:, 0].mean(), x[:, 1].min()] for x in (truth, points))
    return min(_rms(own * [sign, 1.0] - floor) for sign in (1.0, -1.0))


def _rms(offset: Floats) -> float:
    return float(np.sqrt((offset**2).sum(axis=-1).mean()))


def _root(errors: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))
