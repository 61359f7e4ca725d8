"""The section of the page on training: errors over epochs."""

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lj_vae_hpc.report.page import Section, command
from lj_vae_hpc.report.panels import Panel, panel
from lj_vae_hpc.report.results import Results


def section(results: Results) -> Section:
    """Error and divergence over epochs."""
    history = results.history
    if not history:
        return Section("Training", "", missing=command(results.run.path))
    epochs = [int(h["epoch"]) for h in history]
    panels = [
        _curve(epochs, history, "mse", "Mean squared error", True),
        _curve(epochs, history, "kl", "KL (nats per configuration)", False),
    ]
    best = min(history, key=lambda h: h["validation_loss"])
    gap = best["validation_mse"] / best["mse"] if best["mse"] else 1.0
    conclusion = f"The validation loss is smallest after epoch {int(best['epoch'])} of {len(history)}."
    if best is history[-1]:
        conclusion += " It was still falling: a model trained for more epochs (training.epochs) may be better."
    if gap > 1.5:
        conclusion += f" There the validation error is {gap:.1f} times that of the training: the network overfits."
    return Section(
        "Training", "Averages over each epoch, of the training and the validation split.", conclusion, panels
    )


def _curve(epochs: list[int], history: list[dict[str, float]], key: str, title: str, logarithmic: bool) -> Panel:
    own, validation = ([h[prefix + key] for h in history] for prefix in ("", "validation_"))

    def draw(axes: Axes) -> None:
        axes.plot(epochs, own, "o-", ms=3, lw=1, label="training")
        axes.plot(epochs, validation, "s--", ms=3, lw=1, label="validation")
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if logarithmic and min(*own, *validation) > 0:
            axes.set_yscale("log")
        axes.legend()

    return panel(f"training_{key}", {"epoch": epochs, "training": own, "validation": validation}, draw)
