"""What a pilot's chains prove: after which burn-in nothing tells from which of two opposite states they started."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

OBSERVABLES = ("energy", "height", "close_pairs")
"""U in ε, Σy in σ, number of pairs closer than 1.5 σ."""

CHAINS_PER_START = 64
TRACE_POINTS = 128
RHAT_MAX = 1.01  # Vehtari, Gelman, Simpson, Carpenter and Bürkner, Bayesian Analysis 16, 667 (2021)
ERRORS_APART = 4.0  # the two starts' means may differ by this many standard errors
FEWEST_CHAINS = 30  # for a verdict on data
RELAXATIONS = 5.0  # least burn-in in autocorrelation times: a start's memory has decayed to exp(-2 * 5)


class Stored:
    """What is stored as an array per attribute."""

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """Every attribute as an array."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def of(cls, columns: dict[str, NDArray[np.generic]]) -> Self:
        """The inverse of columns()."""
        return cls(**{name: v.item() if v.ndim == 0 else v for name, v in columns.items()})


@dataclass(frozen=True)
class Pilot(Stored):
    """What is known of an ensemble before it is sampled. Arrays have an entry per observable.

    Attributes:
        step: largest trial displacement of the pilot, in σ.
        acceptance: of the pilot's chains.
        converged: whether equilibrium was proved within the budget.
        burn_in: proved sweeps to equilibrium; all that were tried where it was not.
        length: sweeps of each pilot chain.
        interval: sweeps between samples of one chain: 2 tau, over which a memory has decayed to exp(-4).
        rhat: rank-normalised split R-hat of all chains after the burn-in.
        tau: integrated autocorrelation time 1 + 2 Σ ρ(t), in sweeps.
        ess: effective sample size of the pilot's second half.
        mean, error: equilibrium mean over the pilot's second half, and its standard error from the independent chains.
        difference, difference_error: between the means of the two starts in the first sweeps after the burn-in.
        trace_sweeps: (TRACE_POINTS,) when the traces were recorded.
        traces: (2, 3, TRACE_POINTS) mean over chains from each start, uniform first.
    """

    step: float
    acceptance: float
    converged: bool
    burn_in: int
    length: int
    interval: int
    rhat: NDArray[np.float64]
    tau: NDArray[np.float64]
    ess: NDArray[np.float64]
    mean: NDArray[np.float64]
    error: NDArray[np.float64]
    difference: NDArray[np.float64]
    difference_error: NDArray[np.float64]
    trace_sweeps: NDArray[np.int64]
    traces: NDArray[np.float64]


def assess_equilibrium(records: NDArray[np.float64], every: int, step: float, acceptance: float) -> Pilot:
    """The verdict on records (3, chains, times) taken every so many sweeps."""
    times = records.shape[-1]
    half = records[..., times // 2 :]
    ess = np.array([_ess(series) for series in half])
    tau = every * half[0].size / ess
    chain_means = half.mean(axis=-1)
    at = min(max(1, int(np.ceil(RELAXATIONS * tau.max() / every))), times // 2)
    while True:
        difference, error = _between_starts(records[..., at : 2 * at])
        later, later_error = _between_starts(records[..., at:])
        agree = bool(
            (abs(difference) <= ERRORS_APART * error).all() and (abs(later) <= ERRORS_APART * later_error).all()
        )
        if agree or at == times // 2:
            break
        at = min(int(np.ceil(at * 1.4)), times // 2)
    rhat = np.array([_rhat(series) for series in records[..., at:]])
    long_enough = at * every >= RELAXATIONS * tau.max()
    shown = np.unique(np.geomspace(1, times, TRACE_POINTS).astype(int) - 1)
    shown = np.r_[shown, np.full(TRACE_POINTS - len(shown), times - 1)]
    starts = records.reshape(3, 2, CHAINS_PER_START, times)[..., shown].mean(axis=2)
    return Pilot(
        step=step,
        acceptance=acceptance,
        converged=agree and long_enough and bool((rhat < RHAT_MAX).all()),
        burn_in=at * every,
        length=(times - 1) * every,
        interval=int(np.ceil(2 * tau.max())),
        rhat=rhat,
        tau=tau,
        ess=ess,
        mean=chain_means.mean(axis=1),
        error=chain_means.std(axis=1, ddof=1) / np.sqrt(chain_means.shape[1]),
        difference=difference,
        difference_error=error,
        trace_sweeps=shown * every,
        traces=starts.swapaxes(0, 1),
    )


def _between_starts(records: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(3,) differences between the means of the two starts' chains, and their standard errors."""
    means = records.mean(axis=-1)
    uniform, lattice = means[:, :CHAINS_PER_START], means[:, CHAINS_PER_START:]
    error = np.sqrt((uniform.var(axis=1, ddof=1) + lattice.var(axis=1, ddof=1)) / CHAINS_PER_START)
    return uniform.mean(axis=1) - lattice.mean(axis=1), error


def verdict(
    protocol: str, converged: bool, pilot: tuple[NDArray[np.float64], NDArray[np.float64]],
    data: tuple[NDArray[np.float64], NDArray[np.float64]], chains: int,
) -> str:  # fmt: skip
    """Whether sampled data are equilibrated: their means of U and Σy against the pilot's, at ERRORS_APART errors.

    Args:
        protocol: that the data were sampled with.
        converged: whether the pilot proved equilibrium.
        pilot: means and standard errors of the pilot's observables.
        data: means and standard errors of U and Σy of the data.
        chains: independent chains that the data come from; standard errors of few are not to be trusted.
    """
    if not converged:
        return "not proved"
    if chains < FEWEST_CHAINS:
        return "too few chains to tell"
    error = np.hypot(pilot[1][:2], data[1])
    apart = np.divide(data[0] - pilot[0][:2], error, out=np.zeros(2), where=error > 0)
    for k, name in enumerate(("U", "sum y")):
        if abs(apart[k]) > ERRORS_APART:
            return f"NOT equilibrated: {name} is {data[0][k] - pilot[0][k]:+.2f} ± {error[k]:.2f} off"
    return "equilibrated" if protocol == "equilibrated" else "not told from equilibrium"


def _rhat(series: NDArray[np.float64]) -> float:
    from arviz_stats.base import array_stats  # late: it takes a second to load

    if np.ptp(series) == 0.0:
        return 1.0
    return float(array_stats.rhat(series, chain_axis=0, draw_axis=1, method="rank"))


def _ess(series: NDArray[np.float64]) -> float:
    from arviz_stats.base import array_stats

    if np.ptp(series) == 0.0:
        return float(series.size)
    return float(array_stats.ess(series, chain_axis=0, draw_axis=1, method="mean"))
