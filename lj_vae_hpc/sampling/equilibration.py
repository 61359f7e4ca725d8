"""What the chains of a pilot prove: after which burn-in nothing tells from which of two opposite states they started.

The chains are many and short. Their correlations are therefore measured about the mean of all chains: a memory that
outlives a chain lengthens the measured autocorrelation time instead of hiding in the chain's own mean.
"""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

OBSERVABLES = ("energy", "height", "close_pairs")
"""U in ε, Σy in σ, number of pairs closer than 1.5 σ."""

CHAINS = 256  # of a pilot; those of even number start from uniform positions, the others from the lattice
SUPERCHAINS = 8  # of each start, for R-hat
TRACE_POINTS = 128
RHAT_MAX = 1.01  # Vehtari, Gelman, Simpson, Carpenter and Bürkner, Bayesian Analysis 16, 667 (2021)
ERRORS_APART = 4.0  # the two starts' means may differ by this many standard errors
FEWEST_CHAINS = 30  # for a verdict on data
RELAXATIONS = 5.0  # least burn-in in autocorrelation times: one exponential decays to exp(-2 * 5) over them
WINDOW = 5.0  # autocorrelation times over which correlations are summed


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
    """What the pilot found out about an ensemble. Arrays have an entry per observable.

    Attributes:
        step: largest trial displacement, in σ.
        acceptance: of the pilot's chains.
        converged: whether equilibrium was proved within the budget.
        burn_in: proved sweeps to equilibrium; all that were tried where it was not.
        length: sweeps of each pilot chain.
        interval: sweeps between samples of one chain: 2 tau; one exponential decays to exp(-4) over it.
        rhat: rank-normalised split nested R-hat of all chains after the burn-in.
        tau: integrated autocorrelation time 1 + 2 Σ ρ(t), in sweeps.
        ess: effective sample size of the pilot's second half.
        mean, error: equilibrium mean over the pilot's second half, and its standard error from the independent chains.
        difference, difference_error: between the means of the two starts from the burn-in to twice the burn-in.
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
    correlated = np.array([autocorrelation_time(series) for series in half])
    chain_means = half.mean(axis=-1)
    at = min(max(1, int(np.ceil(RELAXATIONS * correlated.max()))), times // 2)
    while not suffices(records, at) and at < times // 2:
        at = min(int(np.ceil(at * 1.2)), times // 2)
    rhat = nested_rhat(records[..., at:])
    proved = suffices(records, at) and at >= RELAXATIONS * correlated.max() and bool((rhat < RHAT_MAX).all())
    difference, error = between_starts(records[..., at : 2 * at])
    shown = np.unique(np.geomspace(1, times, TRACE_POINTS).astype(int) - 1)
    shown = np.r_[shown, np.full(TRACE_POINTS - len(shown), times - 1)]
    return Pilot(
        step=step,
        acceptance=acceptance,
        converged=proved,
        burn_in=at * every,
        length=(times - 1) * every,
        interval=int(np.ceil(2 * every * correlated.max())),
        rhat=rhat,
        tau=every * correlated,
        ess=half[0].size / correlated,
        mean=chain_means.mean(axis=1),
        error=chain_means.std(axis=1, ddof=1) / np.sqrt(chain_means.shape[1]),
        difference=difference,
        difference_error=error,
        trace_sweeps=shown * every,
        traces=np.stack([records[:, start::2, shown].mean(axis=1) for start in (0, 1)]),
    )


def suffices(records: NDArray[np.float64], at: int) -> bool:
    """Whether a burn-in of so many records leaves no trace of the start.

    The means of the two starts are compared over a quarter of the burn-in after it, where a bias that decays would be
    largest, over all of the burn-in after it, and over everything after it. A bias that both starts share shows as a
    drift, from that quarter to the last half of everything after the burn-in.
    """
    quarter, times = at + -(-at // 4), records.shape[-1]
    drift = records[..., at:quarter].mean(axis=-1) - records[..., (at + times) // 2 :].mean(axis=-1)
    differences = [between_starts(records[..., at:stop]) for stop in (quarter, 2 * at, times)]
    differences.append((drift.mean(axis=1), drift.std(axis=1, ddof=1) / np.sqrt(drift.shape[1])))
    return all((abs(difference) <= ERRORS_APART * error).all() for difference, error in differences)


def between_starts(records: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(3,) differences between the means of the two starts' chains, and their standard errors."""
    means = records.mean(axis=-1)
    uniform, lattice = means[:, ::2], means[:, 1::2]
    error = np.sqrt(uniform.var(axis=1, ddof=1) / uniform.shape[1] + lattice.var(axis=1, ddof=1) / lattice.shape[1])
    return uniform.mean(axis=1) - lattice.mean(axis=1), error


def autocorrelation_time(series: NDArray[np.float64]) -> float:
    """1 + 2 Σ ρ(t) of (chains, times), in records, at least 1, with ρ about the mean of all chains.

    The sum ends at the first t of at least WINDOW times its value (Sokal's rule; Goodman and Weare, Comm. App. Math.
    Comp. Sci. 5, 65, 2010), or at the end of the series.
    """
    times = series.shape[1]
    deviation = series - series.mean()
    power = (np.abs(np.fft.rfft(deviation, 2 * times)) ** 2).mean(axis=0)
    covariance = np.fft.irfft(power)[:times] / (times - np.arange(times))
    if covariance[0] <= 0.0:
        return 1.0
    sums = 2.0 * np.cumsum(covariance / covariance[0]) - 1.0
    closed = np.flatnonzero(np.arange(times) >= WINDOW * sums)
    return max(1.0, float(sums[closed[0] if len(closed) else -1]))


def nested_rhat(records: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) rank-normalised split R-hat of superchains, each of many short chains from the same start.

    Margossian et al., Bayesian Analysis 20 (2025). The same as ArviZ gives, without the seconds that it takes to load.
    """
    chain = np.arange(records.shape[1])
    superchain = chain % 2 + 2 * (chain * SUPERCHAINS // len(chain))
    half = records.shape[-1] // 2
    split = np.concatenate([records[..., :half], records[..., -half:]], axis=1)
    return np.array([
        max(_rhat(_rank_normalised(x), np.tile(superchain, 2)) for x in (one, abs(one - np.median(one))))
        for one in split
    ])  # fmt: skip


def _rhat(series: NDArray[np.float64], superchain: NDArray[np.int64]) -> float:
    means, within = series.mean(axis=1), series.var(axis=1, ddof=1)
    groups = [superchain == k for k in range(2 * SUPERCHAINS)]
    inside = np.mean([within[group].mean() + means[group].var(ddof=1) for group in groups])
    return float(np.sqrt(1.0 + np.var([means[group].mean() for group in groups], ddof=1) / inside)) if inside else 1.0


def _rank_normalised(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normal quantiles of the ranks, which equal values share."""
    from scipy.special import ndtri  # late: only a proof needs it

    _, place, count = np.unique(series, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2
    return np.asarray(ndtri((rank - 0.375) / (series.size + 0.25))[place].reshape(series.shape))


NOT_PROVED, TOO_FEW_CHAINS, NOT_EQUILIBRATED = "not proved", "too few chains to tell", "NOT equilibrated"


def verdict(
    protocol: str, converged: bool, pilot: tuple[NDArray[np.float64], NDArray[np.float64]],
    chain_means: NDArray[np.float64],
) -> str:  # fmt: skip
    """Whether sampled data are equilibrated: their means of U and Σy against the pilot's, at ERRORS_APART errors.

    Under `equilibrated` the pilot's chains are the first of the data; a data set of hardly more is as good as proved.

    Args:
        protocol: that the data were sampled with.
        converged: whether the pilot proved equilibrium.
        pilot: means and standard errors of the pilot's observables.
        chain_means: (2, chains) mean U and Σy of each chain of the data that is none of the pilot's; standard errors
            from few are not to be trusted.
    """
    if not converged:
        return NOT_PROVED
    good = "equilibrated" if protocol == "equilibrated" else "not told from equilibrium"
    chains = chain_means.shape[1]
    if chains < FEWEST_CHAINS:
        return good if protocol == "equilibrated" else TOO_FEW_CHAINS
    off = chain_means.mean(axis=1) - pilot[0][:2]
    error = np.hypot(pilot[1][:2], chain_means.std(axis=1, ddof=1) / np.sqrt(chains))
    apart = np.divide(off, error, out=np.zeros(2), where=error > 0)
    for k, name in enumerate(("U", "sum y")):
        if abs(apart[k]) > ERRORS_APART:
            return f"{NOT_EQUILIBRATED}: {name} is {off[k]:+.2f} ± {error[k]:.2f} off"
    return good
