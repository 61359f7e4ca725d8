"""The part of the page on the sampled configurations."""

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lj_vae_hpc.config.system import System
from lj_vae_hpc.evaluation.structure import PAIR_DISTANCES, heights
from lj_vae_hpc.report.page import Entry, Section, Table, command, measured
from lj_vae_hpc.report.panels import BLUE, GREY, ORANGE, RED, Panel, panel, shades, spread
from lj_vae_hpc.report.results import Results

# Mean and standard deviation of U over 10,000 configurations, in ε, of the published protocol (LCP-B slides, 2023).
PUBLISHED = {0.1: (-14.04, 4.69), 0.4: (-3.99, 7.03), 0.7: (-0.78, 6.34), 1.0: (6.09, 6.04)}


def sections(results: Results) -> Iterator[Section]:
    """Energies, equilibrium and structure."""
    yield _energies(results)
    yield _equilibrium(results)
    yield _structure(results)


def _energies(results: Results) -> Section:
    published = results.config.system == System()
    text = "Total energy U of all sampled configurations. The line is the mean."
    if published:
        text += " The dashed line is the published mean; its protocol stops before equilibrium."
    panels = [_histogram(results, gamma, published) for gamma in spread(np.unique(results.columns["gamma"]))]
    return Section("Energies", text, panels=panels)


def _histogram(results: Results, gamma: float, published: bool) -> Panel:
    u = np.asarray(results.columns["energy"], float)[results.columns["gamma"] == gamma]
    error = next(one.error[0] for one in results.ensemble_summaries if one.gamma == gamma)
    low, high = np.percentile(u, [0.1, 99.9])
    density, edges = np.histogram(u, 40, (low, max(high, low + 1e-9)), density=True)

    def draw(axes: Axes) -> None:
        axes.stairs(density, edges, fill=True, color=BLUE, alpha=0.55)
        axes.axvline(u.mean(), color=BLUE, lw=1.4, label=f"mean {u.mean():.2f} ± {error:.2f}")
        if published and gamma in PUBLISHED:
            axes.axvline(PUBLISHED[gamma][0], color=RED, ls="--", lw=1.2, label=f"published {PUBLISHED[gamma][0]:.2f}")
        axes.set(title=f"γ = {gamma:g}", xlabel="U (ε)", ylabel="density (1/ε)")
        axes.set_ylim(0, 1.4 * axes.get_ylim()[1])  # room for the legend
        axes.legend(loc="upper left")

    columns = {"U_low_epsilon": edges[:-1], "U_high_epsilon": edges[1:], "density_per_epsilon": density}
    return panel(f"energy_gamma_{gamma:g}", columns, draw)


def _equilibrium(results: Results) -> Section:
    summaries, ensembles = results.ensemble_summaries, results.ensembles
    piloted = "pilot/mean" in ensembles
    head = [
        "γ",
        "⟨U⟩ of the data (ε)",
        "⟨U⟩ of the pilot (ε)",
        "verdict",
        "configurations",
        "sweeps",
        "burn-in",
        "R-hat",
        "τ (sweeps)",
        "pilot ESS",
        "acceptance",
    ]
    rows: list[list[Entry]] = []
    for k, e in enumerate(summaries):
        equilibrium: Entry = None
        pilot: list[Entry] = [None] * 4
        if piloted:
            equilibrium = measured(ensembles["pilot/mean"][k, 0], ensembles["pilot/error"][k, 0])
            pilot = [
                float(ensembles["pilot/burn_in"][k]), float(ensembles["pilot/rhat"][k].max()),
                float(ensembles["pilot/tau"][k].max()), float(ensembles["pilot/ess"][k].min()),
            ]  # fmt: skip
        acceptance = e.acceptance if np.isfinite(e.acceptance) else None
        rows.append([
            e.gamma, measured(e.mean[0], e.error[0]), equilibrium, e.verdict or "not checked",
            float(e.count), float(e.sweeps), *pilot, acceptance,
        ])  # fmt: skip
    text = "Mean energy with its standard error; the samples of one chain count as one."
    missing = ""
    if piloted:
        text += (
            " Pilot chains start from two opposite states, scattered and packed on the floor; the burn-in ends where"
            " they"
            " agree. R-hat, autocorrelation time τ and effective sample size (ESS) are the worst of U, Σy and the"
            " number of"
            " close pairs."
        )
        bad = [f"{e.gamma:g}" for e in summaries if e.verdict and e.verdict != "equilibrated"]
        conclusion = (
            f"At γ = {', '.join(bad)} the data are not shown to be equilibrated." if bad
            else f"The data are equilibrated at {'all ' if len(summaries) > 1 else ''}{len(summaries)} values of γ."
        )  # fmt: skip
    else:
        conclusion = "No pilot was run, so nothing is known about equilibrium."
        if results.config.sampling.protocol == "reference":
            missing = _pilots(results)
    panels = [_mean_energies(results)]
    if piloted:
        panels += [_differences(results), *_relaxation(results)]
    return Section("Equilibrium", text, conclusion, panels, Table.of(head, rows, ".4g"), missing=missing)


def _pilots(results: Results) -> str:
    """The commands that run pilots, in the run that the data belong to."""
    owner, key = results.run.data_owner, "sampling.check_equilibrium=true"
    if owner is None:
        return command(results.run.path, key)
    return f"{command(owner.path, key, name='generate')} && {command(results.run.path)}"


def _mean_energies(results: Results) -> Panel:
    gamma, mean, error = np.array([(e.gamma, e.mean[0], e.error[0]) for e in results.ensemble_summaries]).T
    shown = [g for g in gamma if results.config.system == System() and g in PUBLISHED]

    def draw(axes: Axes) -> None:
        axes.errorbar(gamma, mean, error, fmt="o-", ms=4, lw=1, capsize=2, color=BLUE, label="data")
        if shown:
            axes.plot(shown, [PUBLISHED[g][0] for g in shown], "x", color=RED, label="published")
        axes.set(title="Mean energy", xlabel="γ", ylabel="⟨U⟩ (ε)")
        axes.legend(loc="best")

    return panel("mean_energy", {"gamma": gamma, "mean_U_epsilon": mean, "standard_error_epsilon": error}, draw)


def _differences(results: Results) -> Panel:
    """Data minus pilots, which the eye could not see in the means."""
    gamma, mean, error = np.array([(e.gamma, e.mean[0], e.error[0]) for e in results.ensemble_summaries]).T
    pilot, pilot_error = results.ensembles["pilot/mean"][:, 0], results.ensembles["pilot/error"][:, 0]
    difference, together = mean - pilot, np.hypot(error, pilot_error)

    def draw(axes: Axes) -> None:
        axes.axhline(0, color=GREY, lw=1)
        axes.errorbar(gamma, difference, 2 * together, fmt="o", ms=4, lw=1, capsize=2, color=ORANGE)
        axes.set(title="Data minus pilots, ± 2 s.e.", xlabel="γ", ylabel="Δ⟨U⟩ (ε)")

    columns = {"gamma": gamma, "difference_epsilon": difference, "standard_error_epsilon": together}
    return panel("mean_energy_minus_pilot", columns, draw)


def _relaxation(results: Results) -> Iterator[Panel]:
    """Mean U of the pilot's chains from both starts."""
    ensembles = results.ensembles
    gammas = ensembles["gamma"]
    for k in spread(np.argsort(gammas), 4):
        yield _relaxation_of(float(gammas[k]), {name: values[k] for name, values in ensembles.items()})


def _relaxation_of(gamma: float, pilot: dict[str, np.ndarray]) -> Panel:  # type: ignore[type-arg]
    sweeps, traces = pilot["pilot/trace_sweeps"], pilot["pilot/traces"][:, 0]
    mean, error = pilot["pilot/mean"][0], pilot["pilot/error"][0]
    starts = dict(zip(("scattered", "packed"), traces, strict=True))

    def draw(axes: Axes) -> None:
        for (label, trace), colour in zip(starts.items(), (BLUE, ORANGE), strict=True):
            axes.plot(sweeps[1:], trace[1:], color=colour, lw=1, label=label)
        axes.axhspan(mean - 2 * error, mean + 2 * error, color=GREY, alpha=0.35, lw=0, label="equilibrium ± 2 s.e.")
        axes.axvline(float(pilot["pilot/burn_in"]), color=GREY, lw=1, ls=":", label="burn-in")
        shown = traces[:, len(sweeps) // 8 :]
        low, high = min(shown.min(), mean - 4 * error), max(shown.max(), mean + 4 * error)
        axes.set(title=f"Relaxation, γ = {gamma:g}", xlabel="sweeps", ylabel="mean U (ε)", xscale="log")
        axes.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
        axes.legend(loc="best", fontsize=7)

    columns = {"sweeps": sweeps, **{f"mean_U_{name}_epsilon": trace for name, trace in starts.items()}}
    return panel(f"relaxation_gamma_{gamma:g}", columns, draw)


def _structure(results: Results) -> Section:
    curves, side = results.structure, results.config.system.box_side
    colours = shades(len(curves))

    def draw(axes: Axes, x: NDArray[np.float64], which: int) -> None:
        for (gamma, both), colour in zip(curves.items(), colours, strict=True):
            axes.plot(x, both[which], lw=1.3, color=colour, label=f"γ = {gamma:g}")
        axes.legend(fontsize=7, ncols=1 if len(curves) < 6 else 2)

    def pairs(axes: Axes) -> None:
        draw(axes, PAIR_DISTANCES, 0)
        axes.axhline(1, color=GREY, lw=0.8)
        axes.set(title="Pair distribution", xlabel="r (σ)", ylabel="g(r)")

    def profile(axes: Axes) -> None:
        draw(axes, heights(side), 1)
        axes.set(title="Density profile", xlabel="y (σ)", ylabel="ρ(y) (σ⁻²)")

    distributions = {f"g_gamma_{gamma:g}": g for gamma, (g, _) in curves.items()}
    profiles = {f"rho_gamma_{gamma:g}_per_sigma2": rho for gamma, (_, rho) in curves.items()}
    panels = [
        panel("pair_distribution", {"r_sigma": PAIR_DISTANCES} | distributions, pairs),
        panel("density_profile", {"y_sigma": heights(side)} | profiles, profile),
    ]
    return Section(
        "Structure",
        "g(r) counts pairs within configurations over pairs between different ones of the same γ, because the"
        " density is not"
        " uniform. ρ(y) is the number density at height y.",
        panels=panels,
    )  # fmt: skip
