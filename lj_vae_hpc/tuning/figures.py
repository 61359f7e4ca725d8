"""Optuna's figures of a search, each an SVG file."""

import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import optuna
from matplotlib import pyplot
from matplotlib.ticker import LogLocator, NullFormatter
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import TrialState
from optuna.visualization import matplotlib as plots

from lj_vae_hpc.run.files import publish

VALUE = "description length (nats)"
REPRODUCIBLE: Any = {
    "backend": "agg",
    "svg.hashsalt": "lj-vae",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.labelsize": 9,
}
FEWEST_VALUES = 4  # for importances: a forest fitted to fewer says nothing


def write_figures(study: optuna.Study, folder: Path) -> list[Path]:
    """Writes the history and the slices of a study and, from four different values on, the importances of its keys.

    An importance is the share of a key in the variance of a forest fitted to the complete trials (Hutter et al., ICML
    2014). The same study gives the same bytes.
    """
    values = [trial.value for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]
    with mpl.rc_context(REPRODUCIBLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these figures are experimental in Optuna; axes of one value
        history = plots.plot_optimization_history(study, target_name=VALUE)
        history.set_title("")
        history.legend(loc="upper right")
        slices: Any = np.atleast_1d(np.asarray(plots.plot_slice(study, target_name=VALUE)))
        for axes in (history, slices[0]):  # the slices share their y axis
            _leave_out_outliers(axes, np.array(values, float))
        written = [_write(history.figure, (7.5, 4), folder / "history.svg")]
        slices[0].figure.suptitle("")
        for axes in slices:
            _space_ticks(axes)
        written.append(_write(slices[0].figure, (2 + 2.6 * len(slices), 3.5), folder / "slice.svg"))
        if len(set(values)) >= FEWEST_VALUES:
            importances: Any = plots.plot_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
            importances.set_title("", loc="left")
            importances.set(xlabel="share of the variance", ylabel="")
            importances.get_legend().remove()
            height = 1.2 + 0.4 * len(slices)
            written.append(_write(importances.figure, (7.5, height), folder / "importance.svg"))
    return written


def _leave_out_outliers(axes: Any, values: Any) -> None:
    """Ends the y axis a little above the 85th percentile, so that a few bad trials do not hide the rest."""
    low, high = values.min(), np.quantile(values, 0.85)
    margin = 0.1 * max(high - low, 1.0)
    axes.set_ylim(low - margin, high + 2 * margin)


def _space_ticks(axes: Any) -> None:
    """Keeps the labels of a narrow panel apart, those of less than a decade too."""
    axes.set_title("")
    axes.tick_params("x", rotation=60)
    if axes.get_xscale() == "log":
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())


def _write(figure: Any, size: tuple[float, float], path: Path) -> Path:
    figure.set_size_inches(*size)
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format="svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    publish(partial, path)
    return path
