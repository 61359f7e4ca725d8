"""Thermodynamics over γ: energy, heat capacity, height and free energy as curves, with two checks.

All of it is configurational: momenta add N k_B to the heat capacity and a constant in γ to F.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from lj_vae_hpc.scan.reweighting import AT_ONCE, Floats, Observed, Reweighting

FEWEST = 25  # configurations that the γ below and above a gap share, and that count at a point of a curve
ENOUGH = 100  # configurations of one γ in a half for a check of it
BETWEEN = 4  # points of a curve between one sampled γ and the next
FALSE_ALARMS = 1e-3  # of each check

Row = dict[str, float | int | bool | None]


@dataclass(frozen=True, eq=False)
class Check:
    """Two estimates of one quantity at K values of γ, from different chains.

    Attributes:
        name: what is compared.
        gamma: (K,) γ.
        left, left_error: (K,) by reweighting one half of the chains of all γ.
        right, right_error: (K,) from the other half of the chains of this γ alone; cube roots of C in the second check.
    """

    name: str
    gamma: Floats
    left: Floats
    left_error: Floats
    right: Floats
    right_error: Floats

    @property
    def pulls(self) -> Floats:
        """(K,) difference over its standard error; standard normal, though not independent of each other."""
        return np.asarray((self.left - self.right) / np.hypot(self.left_error, self.right_error))

    @property
    def p_value(self) -> float:
        """Bonferroni's p-value of the largest pull, which holds however they depend on each other."""
        return float(min(1.0, len(self.gamma) * 2 * norm.sf(np.abs(self.pulls).max())))

    @property
    def fails(self) -> bool:
        """Whether the two disagree."""
        return len(self.gamma) > 0 and self.p_value < FALSE_ALARMS

    @property
    def text(self) -> str:
        """One line."""
        if not len(self.gamma):
            return f"{self.name}: too few configurations of every γ to check"
        worst = int(np.abs(self.pulls).argmax())
        verdict = "FAILS" if self.fails else "holds"
        return (
            f"{self.name}: {verdict} at {len(self.gamma)} γ; χ²/{len(self.gamma)} = {(self.pulls**2).mean():.2f}, "
            f"largest pull {self.pulls[worst]:+.2f} at γ = {self.gamma[worst]:g}, Bonferroni p = {self.p_value:.2g} "
            f"(below {FALSE_ALARMS:g} would fail)"
        )


@dataclass(frozen=True, eq=False)
class Thermodynamics:
    """What the configurations of many γ say.

    Attributes:
        rows: a point of the curves each, in order of γ (as `curves`).
        gammas: γ that entered.
        shared: (K − 1,) configurations that those up to each share with those beyond.
        configurations: those that entered, of how many.
        checks: dF/dγ = ⟨Σy⟩ and C = var U / T².
    """

    rows: list[Row]
    gammas: Floats
    shared: Floats
    configurations: tuple[int, int]
    checks: Sequence[Check]

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """Neighbouring γ that do not overlap: F across them is not known."""
        return [
            (float(self.gammas[k]), float(self.gammas[k + 1]))
            for k in np.flatnonzero(self.shared < FEWEST)
        ]  # fmt: skip

    @property
    def overlap(self) -> list[str]:
        """A line on the overlap, and one on each gap in it."""
        lines = []
        if len(self.shared):
            k = int(self.shared.argmin())
            lines.append(
                f"overlap: weakest between γ = {self.gammas[k]:g} and {self.gammas[k + 1]:g}, worth "
                f"{self.shared[k]:.0f} configurations; {FEWEST} are needed"
            )
        for low, high in self.gaps:
            lines.append(f"gap: γ = {low:g} and {high:g} share fewer than {FEWEST}; F starts anew at {high:g}, and "
                         "values between need a γ between or more configurations")  # fmt: skip
        return lines

    @property
    def text(self) -> str:
        """What entered, the overlap, its gaps and the checks."""
        used, total = self.configurations
        first = f"thermodynamics: {used} of {total} configurations at {len(self.gammas)} γ"
        return "\n".join([first, *self.overlap, *(check.text for check in self.checks)])


def thermodynamics(observed: Observed, n_particles: int, configurations: int | None = None) -> Thermodynamics:
    """Curves over γ, the overlap and the checks.

    Args:
        observed: configurations of many γ in equilibrium, thinned where there are many.
        n_particles: N.
        configurations: how many there were before they were thinned, if they were.
    """
    chosen = observed.of_some_states()
    whole = Reweighting(chosen)
    shared = whole.shared
    rows: list[Row] = []
    for group, gammas in enumerate(connected(chosen.gammas, shared)):
        undivided = len(gammas) == len(chosen.gammas)
        part = whole if undivided else Reweighting(chosen.take(np.isin(chosen.gamma, gammas)))
        points = points_of(gammas)
        rows += curves(part, points, n_particles, observed.temperature, group, gammas)
    return Thermodynamics(
        rows, chosen.gammas, shared, (len(chosen), configurations or len(observed)), checks(chosen, shared)
    )  # fmt: skip


def connected(gammas: Floats, shared: Floats) -> list[Floats]:
    """The values of γ, divided where neighbours share fewer than FEWEST configurations."""
    return np.split(gammas, np.flatnonzero(shared < FEWEST) + 1)


def points_of(gammas: Floats) -> Floats:
    """The γ (K,), ascending, and BETWEEN points between each and the next."""
    steps = np.arange(BETWEEN + 1) / (BETWEEN + 1)
    inner = (gammas[:-1, None] + np.diff(gammas)[:, None] * steps).ravel()
    return np.append(inner, gammas[-1])


def curves(
    reweighting: Reweighting, points: Floats, n_particles: int, temperature: float, group: int, sampled: Floats
) -> Iterator[Row]:
    """Rows with gamma, sampled, group, effective, and NAME and NAME_error of each quantity; None where unknown.

    The quantities: energy ⟨U⟩ in ε, heat_capacity in k_B, height ⟨y⟩ in σ, and free_energy F − F(first γ of the group)
    in ε. `effective` is the number of configurations that count at a point; below FEWEST nothing is known.

    Args:
        reweighting: of the configurations of a group.
        points: (L,) γ; the first one is where F is 0.
        n_particles: N.
        temperature: T.
        group: number of the group.
        sampled: γ that were sampled.
    """
    for start in range(0, len(points), AT_ONCE):
        chunk = np.r_[points[0], points[start : start + AT_ONCE]]
        found = reweighting.averages(chunk)
        for k in range(1, len(chunk)):
            gamma, covariance = float(chunk[k]), found.covariance
            (energy, variance), gradient = reweighting.energy_moments(gamma, found.values[k])
            errors = np.sqrt(np.einsum("ai,ij,aj->a", gradient, covariance[k, :, k], gradient))
            spread = covariance[k, 0, k, 0] + covariance[0, 0, 0, 0] - 2 * covariance[k, 0, 0, 0]
            known = found.effective[k] >= FEWEST
            quantities = {
                "energy": (energy, errors[0]),
                "heat_capacity": (variance / temperature**2, errors[1] / temperature**2),
                "height": (found.values[k, 2] / n_particles, np.sqrt(covariance[k, 2, k, 2]) / n_particles),
                "free_energy": (
                    temperature * (found.values[k, 0] - found.values[0, 0]),
                    temperature * np.sqrt(max(spread, 0.0)) if gamma != points[0] else 0.0,
                ),
            }
            row: Row = {"gamma": gamma, "sampled": gamma in sampled, "group": group,
                        "effective": float(found.effective[k])}  # fmt: skip
            for name, (value, error) in quantities.items():
                row |= {name: float(value) if known else None, f"{name}_error": float(error) if known else None}
            yield row


def checks(observed: Observed, shared: Floats) -> list[Check]:
    """Two laws of thermodynamics, each between independent halves of the chains.

    The left sides come from all γ of the first half by differences: dF/dγ of the free energy, and C = d⟨U⟩/dT by
    reweighting in T. The right sides, ⟨Σy⟩ and var U / T², are plain averages over the second half of one γ. Where
    configurations are not in equilibrium, or the γ of a row is wrong, they disagree.

    Args:
        observed: thinned configurations.
        shared: configurations that the γ up to each share with those beyond.
    """
    _, order = np.unique(observed.chain, return_inverse=True)
    left, right = observed.take(order % 2 == 0), observed.take(order % 2 == 1)
    rows, kurtosis = [], []
    for gammas in connected(observed.gammas, shared):
        here = left.take(np.isin(left.gamma, gammas))
        testable = [g for g in gammas if min(len(here.at(g)), len(right.at(g))) >= ENOUGH]
        if not testable:
            continue
        reweighting, chosen = Reweighting(here), np.array(testable)
        slopes, capacities = reweighting.free_energy_slopes(chosen), reweighting.heat_capacities(chosen)
        for k, gamma in enumerate(testable):
            own = right.at(gamma)
            inflation = np.sqrt(reweighting.inefficiency / len(own))
            variance = own.energy.var(ddof=1)
            kurtosis.append((((own.energy - own.energy.mean()) ** 2).std() / variance) ** 2)
            rows.append((
                gamma, slopes[0][k], slopes[1][k], own.height_sum.mean(), own.height_sum.std(ddof=1) * inflation,
                capacities[0][k], capacities[1][k], variance / own.temperature**2, inflation,
            ))  # fmt: skip
    table = np.array(rows).reshape(-1, 9).T
    capacity = capacity_check(
        table[0], table[5], table[6], table[7], table[8], float(np.mean(kurtosis)) if kurtosis else 0.0
    )
    return [Check("dF/dγ = ⟨Σy⟩", table[0], *table[1:5]), capacity]


def capacity_check(
    gamma: Floats, left: Floats, left_error: Floats, variance: Floats, inflation: Floats, kurtosis: float
) -> Check:
    """C against var U / T², by their cube roots.

    The cube root of a variance is close to normal even if it comes from few configurations (Wilson and Hilferty, PNAS
    17, 684, 1931). Its error is what the left side and the kurtosis of all γ predict: an error from the same few
    energies would be small just where their variance is small.

    Args:
        gamma: (K,) γ.
        left: (K,) C by reweighting, in k_B.
        left_error: (K,) its standard error.
        variance: (K,) var U / T² of the other half.
        inflation: (K,) standard error of a mean over that half, in standard deviations.
        kurtosis: ⟨(U − ⟨U⟩)⁴⟩ / var² U − 1, the mean over all γ.
    """
    root = np.cbrt(left)
    right_error = root / 3 * np.sqrt(kurtosis) * inflation
    return Check("C = var U / T²", gamma, root, root / 3 * left_error / left, np.cbrt(variance), right_error)
