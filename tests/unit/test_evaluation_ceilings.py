"""Ceilings against exact free energies, and against numerical quadrature for two particles in a box."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation import ceilings
from lj_vae_hpc.evaluation.ceilings import Ceiling, NormalMixture, fit_mixture, relative_free_energies
from lj_vae_hpc.evaluation.observables import Arrays, observables
from lj_vae_hpc.evaluation.suites.base import Suite
from lj_vae_hpc.evaluation.suites.corrupted import Corrupted, corrupt
from lj_vae_hpc.evaluation.suites.registry import suites_of
from lj_vae_hpc.physics.energies import total_energy

GAMMAS, T, SIDE = (0.5, 1.0, 1.5), 0.75, 3.0
CONFIG = RunConfig.model_validate({
    "system": {"n_particles": 2, "box_side": SIDE, "temperature": T},
    "sampling": {"gammas": list(GAMMAS)},
    "evaluation": {
        "unseen_gammas": [4.0, 0.75], "fluids": {"soft": {"potential": "soft", "gamma": 0.5}}, "size_ratio": None,
        "claims": [{"claimed": 0.5, "true": 0.75}], "early_sweeps": None,
        "corruptions": {
            "kept": {"particles": 1, "amplitude": 1.0},
            "published": {"particles": 1, "amplitude": 1.0, "keep_in_box": False},
        },
    },
})  # fmt: skip
SUITES = {suite.name: suite for suite in suites_of(CONFIG, GAMMAS)[0]}
DRAWS = 20_000  # an AUROC of so many is known to 0.0025 or better, four standard errors are 0.01


def barometric(gammas: tuple[float, ...], n: int, side: float) -> np.ndarray:
    """(n, k) heights of one ideal particle under each γ, by inversion."""
    u = np.random.default_rng(2).uniform(size=(n, len(gammas)))
    g = np.array(gammas) / T
    return -np.log(1 - u * (1 - np.exp(-g * side))) / g


def test_free_energies_of_an_ideal_gas() -> None:
    # One particle: Z_γ = (T/γ) (1 - exp(-γL/T)) exactly. 20,000 heights per γ give ln Z to 0.02.
    side = 6.0
    heights = barometric(GAMMAS, 20_000, side)
    which = np.tile(np.arange(3), len(heights))
    log_z = relative_free_energies(heights.ravel(), which, GAMMAS, T)
    g = np.array(GAMMAS) / T
    exact = np.log((1 - np.exp(-g * side)) / g)
    np.testing.assert_allclose(log_z - log_z[0], exact - exact[0], atol=0.02)


def test_free_energies_of_unequal_numbers_of_configurations() -> None:
    side = 6.0
    heights = barometric(GAMMAS, 20_000, side)
    kept = np.r_[heights[:5000, 0], heights[:, 1], heights[:10_000, 2]]
    which = np.repeat(np.arange(3), (5000, 20_000, 10_000))
    log_z = relative_free_energies(kept, which, GAMMAS, T)
    g = np.array(GAMMAS) / T
    exact = np.log((1 - np.exp(-g * side)) / g)
    np.testing.assert_allclose(log_z - log_z[0], exact - exact[0], atol=0.03)


def test_free_energies_of_gammas_without_overlap() -> None:
    """The sums of heights of 2,000 ideal particles: what overlap does not tell follows from means and variances."""
    side, gammas = 80.0, np.linspace(0.1, 0.3, 9)
    heights = [barometric((g,), 40 * 2000, side).reshape(40, 2000).sum(axis=1) for g in gammas]
    assert min(min(a) - max(b) for a, b in pairwise(heights)) > 0
    log_z = relative_free_energies(np.concatenate(heights), np.repeat(np.arange(9), 40), tuple(gammas), T)
    exact = 2000 * np.log((1 - np.exp(-gammas / T * side)) / (gammas / T))
    np.testing.assert_allclose(log_z - log_z[0], exact - exact[0], rtol=0.01)


def test_an_estimate_that_does_not_converge_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    heights = barometric(GAMMAS, 100, 6.0)
    which = np.tile(np.arange(3), 100)
    with pytest.raises(UserError, match="one has none"):
        relative_free_energies(heights[:, 0], np.zeros(100, np.int64), GAMMAS, T)
    original = ceilings.minimize
    far, once = np.array([9.0, 0.0, -9.0]), {"options": {"maxiter": 1}}
    monkeypatch.setattr(ceilings, "minimize", lambda loss, start, **k: original(loss, start + far, **(k | once)))
    with pytest.raises(UserError, match=r"did not converge \(gradient"):
        relative_free_energies(heights.ravel(), which, GAMMAS, T)


def grid(cells: int) -> np.ndarray:
    """(cells^4, 2, 2) every placement of two particles at the centres of cells."""
    centres = (np.arange(cells) + 0.5) / cells * SIDE
    axes = np.meshgrid(centres, centres, centres, centres, indexing="ij")
    return np.stack(axes, axis=-1).reshape(-1, 2, 2).astype(np.float32)


def boltzmann(positions: np.ndarray, gamma: float, potential: str) -> np.ndarray:
    """Probabilities of placements, from the energy as physics has it."""
    cutoff = CONFIG.system.cutoff if potential == "lennard_jones" else None
    system = CONFIG.system.model_copy(update={"potential": potential, "cutoff": cutoff})
    energy = total_energy(positions, gamma, system.pair_potential)
    weights = np.exp(-(energy - energy.min()) / T)
    return weights / weights.sum()


def exact_auroc(normal: np.ndarray, anomalous: np.ndarray, score_of_normal: np.ndarray, score: np.ndarray) -> float:
    """AUROC of two discrete distributions with the given probabilities and scores, ties counted half."""
    values, inverse = np.unique(np.r_[score_of_normal, score], return_inverse=True)
    n = np.bincount(inverse[: len(normal)], normal, len(values))
    a = np.bincount(inverse[len(normal) :], anomalous, len(values))
    return float((a * (np.cumsum(n) - 0.5 * n)).sum())


POINTS = grid(20)
NORMAL = np.mean([boltzmann(POINTS, gamma, "lennard_jones") for gamma in GAMMAS], axis=0)


def draw(probability: np.ndarray, n: int, seed: int) -> np.ndarray:
    return POINTS[np.random.default_rng(seed).choice(len(POINTS), n, p=probability)]


@pytest.fixture(scope="module")
def mixture() -> NormalMixture:
    """Fitted on draws of its own."""
    parts = [draw(boltzmann(POINTS, g, "lennard_jones"), DRAWS, 10 + k) for k, g in enumerate(GAMMAS)]
    height = np.concatenate(parts)[..., 1].sum(axis=1, dtype=float)
    return fit_mixture(height, np.repeat(GAMMAS, DRAWS), GAMMAS, T)


def columns_of(suite: Suite, positions: np.ndarray) -> Arrays:
    columns = observables(positions, CONFIG.system)
    density = suite.log_density(positions, columns)
    return columns if density is None else columns | {"log_density": density}


def found_ceiling(suite: Suite, mixture: NormalMixture, normal: np.ndarray, anomalous: np.ndarray) -> Ceiling:
    at_normal = columns_of(suite, normal)
    own = columns_of(suite, anomalous)
    if "log_density" in at_normal:
        own["of_normal/log_density"] = at_normal.pop("log_density")
    return suite.ceiling(mixture, at_normal, own)


def check(found: Ceiling, exact: float) -> None:
    assert found.value == pytest.approx(exact, abs=0.01)
    low, high = found.interval
    # 99.99 % for 95 %: the interval's half-width is 1.96 standard errors, and twice it 3.9.
    assert low - (high - low) / 2 <= exact <= high + (high - low) / 2
    assert 0 < high - low < 0.02


@pytest.mark.parametrize(
    ("name", "probability"),
    [
        ("gamma_4", boltzmann(POINTS, 4.0, "lennard_jones")),
        ("gamma_0.75", boltzmann(POINTS, 0.75, "lennard_jones")),
        ("soft", boltzmann(POINTS, 0.5, "soft")),
        ("uniform", np.full(len(POINTS), 1 / len(POINTS))),
    ],
)
def test_likelihood_ratio_of_two_particles(name: str, probability: np.ndarray, mixture: NormalMixture) -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(probability) - np.log(NORMAL)
    exact = exact_auroc(NORMAL, probability, ratio.round(9), ratio.round(9))
    found = found_ceiling(SUITES[name], mixture, draw(NORMAL, DRAWS, 1), draw(probability, DRAWS, 2))
    assert found.kind == "likelihood ratio" and exact > 0.52
    check(found, exact)


def moved_by_quadrature(keep: bool, cells: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities of normal placements on a grid, placements after one particle was moved, and their probabilities.

    The first particle is the one moved: the density is symmetric in both.
    """
    start = grid(16)
    weight = np.mean([boltzmann(start, gamma, "lennard_jones") for gamma in GAMMAS], axis=0)
    chosen = weight > 1e-7
    start, weight = start[chosen], weight[chosen]
    nodes = (np.arange(cells) + 0.5) / cells
    low, high = start[:, 0] - 1.0, start[:, 0] + 1.0
    if keep:
        low, high = np.maximum(low, 0), np.minimum(high, SIDE)
    moved = np.repeat(start[:, None], cells**2, axis=1)
    fraction = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(1, -1, 2)
    moved[:, :, 0] = low[:, None] + fraction * (high - low)[:, None]
    return weight, moved.reshape(-1, 2, 2), np.repeat(weight / cells**2, cells**2) / weight.sum()


@pytest.mark.parametrize("name", ["kept", "published"])
def test_lower_bound_for_two_particles_of_which_one_is_moved(name: str, mixture: NormalMixture) -> None:
    suite = SUITES[name]
    assert isinstance(suite, Corrupted)
    keep = suite.corruption.keep_in_box
    _, moved, weight = moved_by_quadrature(keep)

    def surprise(positions: np.ndarray) -> np.ndarray:
        """-log density of the mixture on the grid's own normalisation; infinite outside the box."""
        density = np.zeros(len(positions))
        for gamma in GAMMAS:
            energy = total_energy(positions, gamma, CONFIG.system.pair_potential)
            reference = total_energy(POINTS, gamma, CONFIG.system.pair_potential)
            density += np.exp(-energy / T) / np.exp(-reference / T).sum()
        inside = ((positions >= 0) & (positions <= SIDE)).all(axis=(1, 2))
        with np.errstate(divide="ignore"):
            return np.where(inside, -np.log(density), np.inf)

    def closeness(positions: np.ndarray) -> np.ndarray:
        return -np.linalg.norm(positions[:, 0].astype(float) - positions[:, 1], axis=1)

    start = grid(16)
    start_weight = np.mean([boltzmann(start, gamma, "lennard_jones") for gamma in GAMMAS], axis=0)
    scores: tuple[Callable[[np.ndarray], np.ndarray], ...] = (surprise, closeness)
    exact = max(exact_auroc(start_weight, weight, score(start), score(moved)) for score in scores)
    sampled = draw(NORMAL, DRAWS, 1)
    origins = np.stack([np.zeros(DRAWS, int), np.arange(DRAWS), np.zeros(DRAWS, int)], axis=1)
    anomalous = corrupt(sampled, origins, suite.corruption, 5, SIDE)
    found = found_ceiling(suite, mixture, sampled, anomalous)
    assert found.kind.startswith("at least")
    # The two grids differ by less than this.
    assert found.value == pytest.approx(exact, abs=0.02)
    assert 0 < found.interval[1] - found.interval[0] < 0.02


def test_the_lower_bound_takes_the_smallest_distance_where_that_tells_more() -> None:
    normal = {"pair_energy": np.zeros(40), "height_sum": np.zeros(40), "outside": np.zeros(40)}
    far, near = normal | {"smallest_distance": np.linspace(1, 2, 40)}, normal | {"smallest_distance": np.full(40, 0.5)}
    flat = NormalMixture((1.0,), np.zeros(1), T)
    assert ceilings.physics_alone(flat, far, near, paired=True).value == 1.0
    assert ceilings.physics_alone(flat, near, far, paired=True).value == 0.5, "energy alone says nothing here"


def test_what_is_outside_the_box_is_infinitely_anomalous(mixture: NormalMixture) -> None:
    inside = draw(NORMAL, 100, 3)
    outside = inside.copy()
    outside[:, 0, 0] = SIDE + 0.01
    columns = observables(outside, CONFIG.system)
    assert (mixture.log_density(columns) == -np.inf).all()
    assert np.isfinite(mixture.log_density(observables(inside, CONFIG.system))).all()
    for name in ("kept", "uniform", "gamma_4"):
        found = found_ceiling(SUITES[name], mixture, inside, outside)
        assert found.value == 1.0 and found.interval[1] == 1.0 > found.interval[0]


def test_no_score_beats_the_likelihood_ratio(mixture: NormalMixture) -> None:
    normal, anomalous = draw(NORMAL, DRAWS, 1), draw(boltzmann(POINTS, 4.0, "lennard_jones"), DRAWS, 2)
    best = found_ceiling(SUITES["gamma_4"], mixture, normal, anomalous).value
    for score in (lambda p: -p[..., 1].sum(axis=1), lambda p: -np.abs(p[..., 1].sum(axis=1) - 0.5)):
        assert ceilings.auroc(score(normal), score(anomalous))[0] <= best + 1e-3
