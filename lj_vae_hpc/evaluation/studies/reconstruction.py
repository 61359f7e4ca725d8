"""Configurations from their reconstructions: absolute, from distances alone, and how physical they are."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import jensenshannon

from lj_vae_hpc.evaluation.structure import Sample
from lj_vae_hpc.evaluation.studies.base import Context, Study, too_many_particles
from lj_vae_hpc.physics.energies import pair_distances_squared
from lj_vae_hpc.training.accuracy import principal_components
from lj_vae_hpc.training.batches import Configurations

Floats = NDArray[np.float64]

COUNT, PAIRS = 1000, 1 << 22  # test configurations of each γ, at most, and their pairs
CLOSE = 1.0  # σ; the published figure leaves out pairs that are closer
FAILED = 1.0  # σ; a configuration that the tumbler has put farther off lies on the wrong side


class Reconstruction(Study):
    """Position errors, energies and structure of reconstructed test configurations."""

    name = "reconstruction"
    version = 2

    def objection(self, context: Context) -> str | None:
        """It needs distances between all particles."""
        if not context.network.encoding.matrix:
            return "the representation holds no distances"
        return too_many_particles(context)

    def run(self, context: Context, part: str) -> dict[str, Any]:
        """Errors over all γ, and the structure of each."""
        test, config = context.data.test, context.config
        some = test.read(
            range(min(len(test), min(COUNT, PAIRS // config.system.n_particles**2) * len(context.data.gammas)))
        )
        truth, distances, absolute = self._reconstruct(context, some)
        scaled = np.stack([classical_scaling(one) for one in distances])
        exact = np.linalg.norm(truth[:, :, None] - truth[:, None], axis=-1)
        tumbled, own = (np.stack([tumble(one) for one in points]) for points in (scaled, self._scaled(exact)))
        errors = {
            "classical_scaling": _root([aligned_error(t, s) for t, s in zip(truth, scaled, strict=True)]),
            "tumbler": _median([resting_error(t, s) for t, s in zip(truth, tumbled, strict=True)]),
            "tumbler_of_exact_distances": _median([resting_error(t, s) for t, s in zip(truth, own, strict=True)]),
        }
        if config.representation.landmarks:
            both = self._with_landmarks(context, some)
            errors["landmarks"] = _root([_rms(t - s) for t, s in zip(truth, both, strict=True)])
        found: dict[str, Any] = {"position_error": errors, "components": self._components(context, some, truth)}
        failures = {name: np.mean([resting_error(t, s) > FAILED for t, s in zip(truth, points, strict=True)])
                    for name, points in (("reconstructed", tumbled), ("exact", own))}  # fmt: skip
        found["tumbler_failure_rate"] = failures
        if absolute is not None:
            errors["decoder"] = _root([_rms(t - a) for t, a in zip(truth, absolute, strict=True)])
            found["structure"] = self._structure(context, some, absolute)
        found["energy_histograms"] = self._energies(context, some.gamma, truth, distances)
        return found

    @staticmethod
    @torch.no_grad()
    def _reconstruct(context: Context, part: Configurations) -> tuple[Floats, Floats, Floats | None]:
        """Ordered true positions, reconstructed distance matrices without landmarks, and decoded positions; in σ."""
        network, unit = context.network, context.config.system.box_side * np.sqrt(2.0)
        count = context.config.system.n_particles
        truths, matrices, decoded = [], [], []
        for start in range(0, len(part.gamma), 512):
            some = part.part(slice(start, start + 512))
            x, condition = network.inputs(some)
            z = network.module.encode(x, condition)[0]
            assert network.encoding.matrix is not None
            matrix = network.encoding.matrix(network.module.decode(z, condition))
            matrices.append(matrix[:, -count:, -count:].double().cpu().numpy() * unit)
            truths.append(network.points(some).double().cpu().numpy()[:, -count:] * unit)
            if network.module.gives_positions:
                decoded.append(network.module.positions(z, condition).double().cpu().numpy() * unit)
        absolute = np.concatenate(decoded) if decoded else None
        return np.concatenate(truths), np.concatenate(matrices), absolute

    @staticmethod
    @torch.no_grad()
    def _with_landmarks(context: Context, part: Configurations) -> Floats:
        """Positions from the distances to the corners (0, 0) and (L, 0), which are the first two points."""
        network, side = context.network, context.config.system.box_side
        x, condition = network.inputs(part)
        assert network.encoding.matrix is not None
        matrix = network.encoding.matrix(network.module.decode(network.module.encode(x, condition)[0], condition))
        count = context.config.system.n_particles
        to_corners = matrix[:, -count:, :2].double().cpu().numpy() * side * np.sqrt(2.0)
        return trilaterate(to_corners, side)

    @staticmethod
    def _scaled(distances: Floats) -> Floats:
        return np.stack([classical_scaling(one) for one in distances])

    @staticmethod
    def _components(context: Context, part: Configurations, truth: Floats) -> dict[str, float]:
        """Error in σ of as many principal components of the ordered coordinates as there are latent dimensions."""
        network, unit = context.network, context.config.system.box_side * np.sqrt(2.0)
        training = context.data.training.read(range(min(len(context.data.training), 8192)))
        rows = (network.points(training).double().cpu().numpy() * unit).reshape(len(training.gamma), -1)
        own = (network.points(part).double().cpu().numpy() * unit).reshape(len(part.gamma), -1)
        model = principal_components(rows, context.config.model.latent_dim)
        error = own - model.inverse_transform(model.transform(own))
        return {"dimensions": int(model.n_components_), "position_error": float(np.sqrt(2 * (error**2).mean()))}

    @staticmethod
    def _structure(context: Context, part: Configurations, absolute: Floats) -> dict[str, Any]:
        """Each γ: reconstructions against another Monte Carlo sample, beside two such samples."""
        system, found = context.config.system, {}
        calibration = context.data.calibration
        other = calibration.read(range(len(calibration)))
        for gamma in context.data.gammas:
            own, reference = part.gamma == gamma, other.positions[other.gamma == gamma]
            if min(own.sum(), len(reference)) < 20:
                continue
            sample = Sample(reference, gamma, system)
            reconstructed = Sample(absolute[own].astype(np.float32), gamma, system)
            found[f"{gamma:g}"] = {
                "reconstructed": reconstructed.compare(sample),
                "noise_floor": Sample(part.positions[own], gamma, system).compare(sample),
                "curves": {"monte_carlo": sample.curves, "reconstructed": reconstructed.curves},
            }
        return found

    @staticmethod
    def _energies(context: Context, gamma: Floats, truth: Floats, distances: Floats) -> dict[str, Any]:
        """Jensen-Shannon distances of the histograms of pair energies, as published and with no pair left out."""
        potential = context.config.system.pair_potential
        upper = np.triu_indices(truth.shape[1], 1)
        true, decoded = pair_distances_squared(truth), distances[:, upper[0], upper[1]] ** 2
        found = {}
        for name, least in (("published", CLOSE), ("corrected", 0.0)):
            energies = [np.where(squared >= least**2, potential.energy(np.maximum(squared, 1e-6)), 0.0).sum(axis=1)
                        for squared in (true, decoded)]  # fmt: skip
            low, high = np.percentile(energies[0], [0.1, 99.9])
            p, q = (np.histogram(np.clip(e, low, high), 40, (low, high))[0] / len(e) for e in energies)
            found[name] = {"jensen_shannon": float(jensenshannon(p, q, base=2)),
                           "median_true": float(np.median(energies[0])),
                           "median_reconstructed": float(np.median(energies[1]))}  # fmt: skip
        return found


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


def _root(errors: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


def _median(errors: list[float]) -> float:
    return float(np.median(errors))
