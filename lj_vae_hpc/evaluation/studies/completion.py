"""What is missing of a configuration: unknown distances, and a lost particle."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse.csgraph import shortest_path
from scipy.special import logsumexp

from lj_vae_hpc.evaluation.studies.base import Context, Study, too_many_particles
from lj_vae_hpc.evaluation.studies.reconstruction import aligned_error, classical_scaling, tumble
from lj_vae_hpc.representation.distances import pair_distances
from lj_vae_hpc.training.batches import Configurations

Floats = NDArray[np.float64]

CONFIGURATIONS, LOST = 48, 400  # whose matrices are completed, and whose particles are lost
FRACTIONS = (0.1, 0.3, 0.5, 0.7)  # of the pairs that are unknown, at random
BLOCK = 10  # rows and columns of an unknown block
ROWS = (1, 3)  # particles of which no distance is known
SEARCH = 40  # steps of the search for a code
CELLS = 100  # of the grid on which a lost particle is looked for, along each side
CLOSEST = 0.25  # σ², of the exact energy


class Completion(Study):
    """Position errors in σ where part of the distance matrix is unknown, and the mask is known.

    exact: classical scaling of shortest paths, then the known distances are fitted (s-stress; Takane, Young and de
    Leeuw, Psychometrika 42, 7, 1977). vae: the code whose decoded distances agree best with the known ones, starting
    from that of the exact solution laid on its side; distances do not tell left from right, and nothing else is
    aligned. vae_of_hidden: of particles of which no distance is known, which only the vae can place.

    lost_particle: one particle is taken away, and its place predicted: -log of the density at its true place in nats,
    and the distance in σ of the densest place, by the conditional model, by the exact conditional density, and at
    random.
    """

    name = "completion"
    weight = 10.0

    def objection(self, context: Context) -> str | None:
        """It needs distances and a decoder of coordinates."""
        if not context.network.encoding.matrix or not context.network.module.gives_positions:
            return "the decoder gives no coordinates of which distances are formed"
        return too_many_particles(context)

    def run(self, context: Context, part: str) -> dict[str, Any]:
        """The results by mask, and of lost particles."""
        test = context.data.test
        some = test.read(range(min(len(test), CONFIGURATIONS)))
        network, unit = context.network, context.config.system.box_side * np.sqrt(2.0)
        count = context.config.system.n_particles
        truth = network.points(some).double().cpu().numpy()[:, -count:] * unit
        random = np.random.default_rng(context.config.seed)
        found: dict[str, Any] = {}
        for name, known in _masks(len(truth), count, random).items():
            exact = np.stack([complete(t, k) for t, k in zip(truth, known, strict=True)])
            vae = self._by_code(context, some, truth, known, exact)
            hidden = np.logical_not(known.any(axis=2))  # particles of which nothing is known
            pairs = list(zip(truth, exact, vae, hidden, strict=True))
            found[name] = {
                "unknown": float(1.0 - known.sum() / (len(known) * count * (count - 1))),
                "exact": _median([aligned_error(t[~h], e[~h]) for t, e, _, h in pairs if not h.all()]),
                "vae": _median([_displacement(t, v, ~h, context) for t, _, v, h in pairs if not h.all()]),
                "vae_of_hidden": _median([_displacement(t, v, h, context) for t, _, v, h in pairs if h.any()]),
            }
        return {"masks": found, "lost_particle": self._lost(context, random)}

    @staticmethod
    def _by_code(
        context: Context, part: Configurations, truth: Floats, known: NDArray[np.bool_], exact: Floats
    ) -> Floats:
        """(n, N, 2) decoded positions in σ of the codes that agree best with the known distances."""
        network, unit = context.network, context.config.system.box_side * np.sqrt(2.0)
        target = torch.from_numpy(np.linalg.norm(truth[:, :, None] - truth[:, None], axis=-1) / unit).float()
        target, mask = target.to(network.device), torch.from_numpy(known).to(network.device)
        condition = network.condition(part.gamma)
        side = context.config.system.box_side
        laid = np.stack([tumble(one) for one in exact]) + np.array([side / 2, 0.0])
        start = Configurations(np.clip(laid, 0.0, side).astype(np.float32), part.gamma)
        with torch.no_grad():
            code = network.module.encode(*network.inputs(start))[0].clone().requires_grad_(True)
        search = torch.optim.LBFGS([code], lr=1.0, max_iter=SEARCH, line_search_fn="strong_wolfe")
        precision = float(torch.exp(-2 * network.module.log_sigma.detach()))

        def loss() -> torch.Tensor:
            search.zero_grad()
            points = network.module.positions(code, condition)
            distances = pair_distances(points)
            surprise = 0.5 * precision * ((distances - target).square() * mask).sum() / 2
            total: torch.Tensor = surprise + 0.5 * code.square().sum()
            total.backward()  # type: ignore[no-untyped-call]
            return total

        with torch.enable_grad():
            search.step(loss)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            return np.asarray(network.module.positions(code, condition).double().cpu().numpy() * unit)

    @staticmethod
    def _lost(context: Context, random: np.random.Generator) -> dict[str, Any]:
        """How well the place of a lost particle is predicted."""
        test, system, model = context.data.test, context.config.system, context.conditional
        some = test.read(range(min(len(test), LOST)))
        centres = (np.arange(CELLS) + 0.5) * system.box_side / CELLS
        grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
        found = {name: _Prediction(grid, system.box_side) for name in ("conditional_model", "exact", "uniform")}
        for positions, gamma in zip(some.positions, some.gamma, strict=True):
            lost = int(random.integers(len(positions)))
            others, true = np.delete(positions, lost, axis=0), positions[lost].astype(np.float64)
            at = np.concatenate([true[None], grid])
            slope = float(np.interp(gamma, model.gammas, model.slope))
            found["conditional_model"].add(model.energy(at, others, slope), true)
            squared = ((at[:, None] - others.astype(np.float64)) ** 2).sum(axis=-1)
            pairs = system.pair_potential.energy(np.maximum(squared, CLOSEST)).sum(axis=1)
            found["exact"].add((pairs + gamma * at[:, 1]) / system.temperature, true)
            found["uniform"].add(np.zeros(len(at)), true)
        return {name: prediction.summary() for name, prediction in found.items()}


class _Prediction:
    """Where one model expects lost particles."""

    def __init__(self, grid: Floats, box_side: float) -> None:
        self._grid, self._area = grid, box_side**2
        self._surprise: list[float] = []
        self._miss: list[float] = []

    def add(self, energy: Floats, true: Floats) -> None:
        """One more particle; energies in k_B T at its place and at those of the grid."""
        free_energy = -float(logsumexp(-energy[1:])) + np.log(len(self._grid))
        self._surprise.append(float(energy[0]) - free_energy + np.log(self._area))
        self._miss.append(float(np.linalg.norm(self._grid[energy[1:].argmin()] - true)))

    def summary(self) -> dict[str, float]:
        """Mean of -log density in nats, its standard error, and the median distance in σ of the likeliest place."""
        error = np.std(self._surprise, ddof=1) / np.sqrt(len(self._surprise))
        return {
            "surprise": float(np.mean(self._surprise)), "error": float(error),
            "median_distance": float(np.median(self._miss)),
        }  # fmt: skip


def _masks(n: int, count: int, random: np.random.Generator) -> dict[str, NDArray[np.bool_]]:
    """(n, N, N) which distances are known, by name."""
    everything = np.broadcast_to(~np.eye(count, dtype=bool), (n, count, count))
    found = {}
    for first in (0, 8):
        block = everything.copy()
        block[:, first : first + BLOCK, first : first + BLOCK] = False
        found[f"block_at_{first}"] = block
    for fraction in FRACTIONS:
        upper = np.triu(random.random((n, count, count)) >= fraction, 1)
        found[f"random_{fraction:g}"] = everything & (upper | upper.transpose(0, 2, 1))
    for rows in ROWS:
        known = everything.copy()
        for one in known:
            gone = random.choice(count, min(rows, count), replace=False)
            one[gone], one[:, gone] = False, False
        found[f"rows_{rows}"] = known
    found["all"] = np.zeros((n, count, count), bool)
    return {name: mask for name, mask in found.items() if name == "all" or mask.any()}


def complete(truth: Floats, known: NDArray[np.bool_]) -> Floats:
    """(N, 2) points, up to a rigid motion, from the known ones of the distances between `truth` (N, 2).

    Particles of which no distance is known are put in the middle.
    """
    distances = np.linalg.norm(truth[:, None] - truth[None], axis=-1)
    seen = known.any(axis=1)
    points = np.zeros_like(truth)
    if seen.sum() < 2:
        return points
    own, mask = distances[np.ix_(seen, seen)], known[np.ix_(seen, seen)]
    paths = shortest_path(np.where(mask, own, 0.0), directed=False)
    paths = np.where(np.isfinite(paths), paths, paths[np.isfinite(paths)].max())
    start = classical_scaling(paths)
    target = own**2

    def s_stress(flat: Floats) -> tuple[float, Floats]:
        x = flat.reshape(-1, 2)
        offset = x[:, None] - x[None]
        excess = np.where(mask, (offset**2).sum(axis=-1) - target, 0.0)
        return float((excess**2).sum()), (8 * (excess[..., None] * offset).sum(axis=1)).ravel()

    points[seen] = minimize(s_stress, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x.reshape(
        -1, 2
    )
    return points


def _displacement(truth: Floats, points: Floats, which: NDArray[np.bool_], context: Context) -> float:
    """Root mean square displacement in σ of some particles, after mirroring all if that brings them nearer."""
    mirrored = np.array([context.config.system.box_side, 0.0]) + points * np.array([-1.0, 1.0])
    best = min((points, mirrored), key=lambda one: float(((truth - one) ** 2).sum()))
    return float(np.sqrt(((truth - best)[which] ** 2).sum(axis=-1).mean()))


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None
