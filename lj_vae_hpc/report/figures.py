"""Every figure of the page, as an SVG or PNG string that can be put into it."""

import base64
import io
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.metrics import roc_curve

mpl.rcParams.update({
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "svg.fonttype": "path", "svg.hashsalt": "lj-vae", "figure.constrained_layout.use": True,
})  # fmt: skip

# Mean and standard deviation of U over 10,000 configurations, in ε, of the published protocol (LCP-B slides, 2023).
PUBLISHED = {0.1: (-14.04, 4.69), 0.4: (-3.99, 7.03), 0.7: (-0.78, 6.34), 1.0: (6.09, 6.04)}
MOST_PANELS = 8
COLOURS = ("#4c78a8", "#f58518")


def loss_curves(history: list[dict[str, float]]) -> str:
    """Squared error and KL over epochs, training and validation."""
    figure = Figure(figsize=(8, 2.8))
    for axes, name, label in zip(
        figure.subplots(1, 2), ("mse", "kl"),
        ("mean squared error", "KL per latent dimension (nats)"), strict=True,
    ):  # fmt: skip
        epochs = [h["epoch"] for h in history]
        axes.plot(epochs, [h[name] for h in history], "o-", ms=3, label="training")
        axes.plot(epochs, [h[f"validation_{name}"] for h in history], "s--", ms=3, label="validation")
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if name == "mse":
            axes.set_yscale("log")
        axes.legend(frameon=False)
    return svg(figure)


def energy_histograms(energy: NDArray[np.float64], gamma: NDArray[np.float64], published: bool) -> str:
    """Histogram of U for each γ, with its mean ± standard error; the published mean where there is one."""
    values = _spread(np.unique(gamma))
    figure, panels = _grid(len(values), 2.6, 2.2)
    for axes, g in zip(panels, values, strict=True):
        u = energy[gamma == g]
        error = u.std(ddof=1) / np.sqrt(len(u))
        low, high = np.percentile(u, [0.1, 99.9])
        axes.hist(u, bins=40, range=(low, high), density=True, color="#4c78a8", alpha=0.75)
        axes.axvline(u.mean(), color="#1b2a41", lw=1.2, label=f"mean {u.mean():.2f} ± {error:.2f}")
        if published and g in PUBLISHED:
            mean, _ = PUBLISHED[g]
            axes.axvline(mean, color="#e45756", ls="--", lw=1.2, label=f"published {mean:.2f}")
        axes.set(title=f"γ = {g:g}", xlabel="U (ε)", ylabel="density (1/ε)")
        axes.set_ylim(0, 1.45 * axes.get_ylim()[1])  # room for the legend
        axes.legend(frameon=False, fontsize=7, loc="upper left")
    return svg(figure)


def relaxation(ensembles: dict[str, NDArray[Any]]) -> str:
    """Mean U of the pilot's chains from both starts, the equilibrium mean ± 2 standard errors, and the burn-in.

    Args:
        ensembles: of a data set with pilots (Dataset.ensembles).
    """
    gammas = ensembles["gamma"]
    chosen = np.searchsorted(gammas, _spread(np.unique(gammas)), sorter=np.argsort(gammas))
    order = np.argsort(gammas)
    figure, panels = _grid(len(chosen), 2.6, 2.2)
    for axes, k in zip(panels, order[chosen], strict=True):
        sweeps, traces = ensembles["pilot/trace_sweeps"][k], ensembles["pilot/traces"][k][:, 0]
        mean, error = ensembles["pilot/mean"][k][0], ensembles["pilot/error"][k][0]
        for trace, label, colour in zip(traces, ("random start", "lattice on the floor"), COLOURS, strict=True):
            axes.plot(sweeps[1:], trace[1:], color=colour, lw=1, label=label)
        axes.axhspan(mean - 2 * error, mean + 2 * error, color="grey", alpha=0.35, lw=0, label="equilibrium ± 2 s.e.")
        axes.axvline(ensembles["pilot/burn_in"][k], color="#1b2a41", lw=0.8, ls=":", label="burn-in")
        shown = traces[:, len(sweeps) // 8 :]
        low, high = min(shown.min(), mean - 4 * error), max(shown.max(), mean + 4 * error)
        axes.set(title=f"γ = {gammas[k]:g}", xlabel="sweeps", ylabel="mean U (ε)", xscale="log")
        axes.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, ncols=4, loc="outside upper center")
    return svg(figure)


def latent_map(latent: NDArray[np.float32], gamma: NDArray[np.float64]) -> str:
    """First two principal components of the latent means of the test split, coloured by γ."""
    pca = PCA(n_components=min(2, latent.shape[1])).fit(latent)
    points = pca.transform(latent)
    if points.shape[1] < 2:
        points = np.c_[points, np.zeros(len(points))]
    share = [f"{100 * v:.1f} %" for v in pca.explained_variance_ratio_] + ["0 %"]
    figure = Figure(figsize=(5.2, 4))
    axes = figure.subplots()
    order = np.random.default_rng(0).permutation(len(points))
    dots = axes.scatter(
        points[order, 0], points[order, 1], c=gamma[order], s=5, cmap="viridis", alpha=0.7, linewidths=0
    )
    figure.colorbar(dots, label="γ")
    axes.set(xlabel=f"component 1 ({share[0]} of variance)", ylabel=f"component 2 ({share[1]})")
    return _png(figure)


def configurations(examples: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]], box_side: float) -> str:
    """Particles and their reconstructions in the box, a panel per suite; nothing where there are none.

    Args:
        examples: by suite (N, 2) positions and reconstructed positions, in the same order, in σ.
        box_side: L, in σ.
    """
    if not examples:
        return ""
    figure, panels = _grid(len(examples), 2.1, 2.4, 5)
    for axes, (name, (original, reconstruction)) in zip(panels, examples.items(), strict=True):
        axes.plot(*np.stack([original, reconstruction]).transpose(2, 0, 1), color="grey", lw=0.8)
        axes.scatter(*original.T, s=22, facecolors="none", edgecolors=COLOURS[0], label="original")
        axes.scatter(*reconstruction.T, s=6, color=COLOURS[1], label="reconstruction")
        axes.set(title=name, xlabel="x (σ)", ylabel="y (σ)", aspect="equal")
        low, high = min(0.0, original.min()), max(box_side, original.max())
        axes.set(xlim=(low - 0.3, high + 0.3), ylim=(low - 0.3, high + 0.3))
        axes.add_patch(Rectangle((0, 0), box_side, box_side, fill=False, lw=0.8))
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, ncols=2, loc="outside upper center")
    return svg(figure)


def matrices(examples: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]) -> str:
    """Original, reconstruction and their difference, one row per suite."""
    figure = Figure(figsize=(7.2, 2.1 * len(examples)))
    rows = figure.subplots(len(examples), 3, squeeze=False)
    for panels, (name, (original, reconstruction)) in zip(rows, examples.items(), strict=True):
        low, high = min(0.0, original.min()), max(1.0, original.max())
        most = max(0.02, np.abs(reconstruction - original).max())
        for axes, image, title in zip(
            panels, (original, reconstruction, reconstruction - original),
            (f"{name}: original", "reconstruction", "difference"), strict=True,
        ):  # fmt: skip
            difference = title == "difference"
            shown = axes.imshow(
                image, cmap="RdBu_r" if difference else "magma", vmin=-most if difference else low,
                vmax=most if difference else high, interpolation="nearest",
            )  # fmt: skip
            axes.set_title(title, fontsize=8)
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
            figure.colorbar(shown, ax=axes, shrink=0.8)
    return _png(figure)


def roc_curves(scores: dict[str, dict[str, NDArray[Any]]], normal: dict[str, NDArray[Any]]) -> str:
    """ROC curves of some scores, a panel per suite.

    Args:
        scores: of each suite, by suite and score.
        normal: of the normal configurations, by score.
    """
    figure, panels = _grid(len(scores), 2.4, 2.3)
    for axes, (suite, values) in zip(panels, scores.items(), strict=True):
        for name, own in values.items():
            labels = np.r_[np.zeros(len(normal[name])), np.ones(len(own))]
            false_positive, true_positive, _ = roc_curve(labels, np.r_[normal[name], own])
            axes.plot(false_positive, true_positive, lw=1.2, label=name.replace("_", " "))
        axes.plot([0, 1], [0, 1], color="grey", lw=0.6)
        axes.set(title=suite, xlabel="false positives", ylabel="true positives", aspect="equal")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, ncols=len(normal), loc="outside upper center")
    return svg(figure)


def learned_physics(learned: dict[str, Any]) -> str:
    """The learned pair energy and γ beside the true ones, with standard errors (learned_physics of summary.json)."""
    figure = Figure(figsize=(8, 3.2))
    pairs, slopes = figure.subplots(1, 2)
    r, error = np.array(learned["r"]), np.array(learned["error"])
    shown = error < 2.0
    true = np.array([np.nan if u is None else u for u in learned["true"]], float)
    pairs.plot(r, true, color="#1b2a41", lw=1, label="true")
    pairs.errorbar(r[shown], np.array(learned["learned"])[shown], error[shown], fmt="o", ms=2.5, lw=0.8,
                   color="#e45756", label="learned")  # fmt: skip
    pairs.set(xlabel="r (σ)", ylabel="pair energy (ε)", ylim=(1.4 * min(-0.5, np.nanmin(true)), 3.0))
    pairs.legend(frameon=False)
    gamma = np.array(learned["gamma"])
    slopes.plot(gamma, gamma, color="#1b2a41", lw=1, label="true")
    slopes.errorbar(gamma, learned["learned_gamma"], learned["gamma_error"], fmt="o", ms=3, lw=0.8, color="#e45756",
                    label="learned")  # fmt: skip
    slopes.set(xlabel="γ (ε/σ)", ylabel="learned γ (ε/σ)")
    slopes.legend(frameon=False)
    return svg(figure)


def severity(ladder: dict[int, list[tuple[float, float, float, float, float]]]) -> str:
    """AUROC over the amplitude of a corruption, for each number of moved particles.

    Args:
        ladder: by number of particles: amplitude in σ, AUROC, its interval, and the ceiling.
    """
    figure = Figure(figsize=(5, 3.2))
    axes = figure.subplots()
    for k, (particles, rows) in enumerate(sorted(ladder.items())):
        amplitude, area, low, high, ceiling = np.array(sorted(rows)).T
        colour = f"C{k}"
        axes.errorbar(amplitude, area, [area - low, high - area], fmt="o-", ms=3, lw=1, color=colour,
                      label=f"{particles} particle{'s' * (particles > 1)}")  # fmt: skip
        axes.plot(amplitude, ceiling, "_", ms=9, color=colour)
    axes.set(xscale="log", xlabel="largest displacement (σ)", ylabel="AUROC", ylim=(0.48, 1.01))
    axes.legend(frameon=False)
    return svg(figure)


def _spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most MOST_PANELS of the values, evenly chosen."""
    chosen = np.linspace(0, len(values) - 1, min(len(values), MOST_PANELS)).round().astype(int)
    return np.asarray(values[chosen])


def _grid(n: int, width: float, height: float, most: int = 4) -> tuple[Figure, list[Any]]:
    columns = min(n, most)
    rows = -(-n // columns)
    figure = Figure(figsize=(width * columns, height * rows))
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axes in panels[n:]:
        axes.set_visible(False)
    return figure, panels[:n]


def svg(figure: Figure) -> str:
    """A figure as the text of an SVG element."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _png(figure: Figure) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=130)
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}">'
