"""Figures of scores as probabilities: reliability, net benefit."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fistula.evidence.probability.calibration import reliability_curve
from fistula.evidence.probability.decision import decision_curve
from fistula.report.figures.drawing import CALIBRATION, COLOURS, INK, blank, square
from fistula.report.results import Row

THRESHOLDS = np.linspace(0.01, 0.99, 99)
BINS = 10


def reliability(row: Row) -> Figure:
    """Observed proportion of positives against the mean score, before and after scaling on validation data."""
    figure, axes = blank(3.4)
    square(axes, *CALIBRATION)
    labels, keys = (row.rows[name].to_numpy() for name in ("label", "patient_key"))
    for column, colour, mark, label in (
        ("score", COLOURS[1], "s--", "uncalibrated"),
        ("calibrated", COLOURS[0], "o-", "calibrated on validation data"),
    ):
        if row.rows[column].has_nulls():
            continue
        curve = reliability_curve(labels, row.rows[column].to_numpy(), keys, bins=BINS)
        ends = np.clip(np.stack([curve.rate - curve.low, curve.high - curve.rate]), 0, None)
        axes.errorbar(
            curve.score, curve.rate, yerr=ends, fmt=mark, color=colour, markersize=4.5, linewidth=1.3,
            elinewidth=0.7, label=label,
        )  # fmt: skip
    figure.legend(loc="outside lower left", ncols=2)
    return figure


def net_benefit(row: Row, *, prevalence: float | None) -> Figure | None:
    """Decision curve of scaled scores, beside treating all and none; None without scaled scores of both classes.

    The prevalence is that where decisions will be made; None takes that of the test rows.
    """
    if row.rows["calibrated"].has_nulls() or row.rows["label"].n_unique() < 2:
        return None
    figure, axes = blank(3.4)
    rows = (row.rows[name].to_numpy() for name in ("label", "calibrated", "patient_key"))
    curve = decision_curve(*rows, thresholds=THRESHOLDS, prevalence=prevalence)
    axes.fill_between(THRESHOLDS, curve.low, curve.high, color=COLOURS[0], alpha=0.15, linewidth=0)
    axes.plot(THRESHOLDS, curve.model, color=COLOURS[0], linewidth=2.2, label=row.configuration.name)
    compare_with_all(axes, curve.everyone)
    figure.legend(loc="outside lower left", ncols=1)
    return figure


def compare_with_all(axes: Axes, everyone: NDArray[np.float64], *, room: float = 1.1) -> float:
    """Draw the net benefit of treating all and none, and set the axes; the greatest of treating all."""
    axes.plot(THRESHOLDS, everyone, color=INK, linewidth=0.8, linestyle=(0, (1, 1.5)), label="treat all")
    axes.axhline(0, color=INK, linewidth=0.8, label="treat none")
    top = float(np.nanmax(everyone)) if np.isfinite(everyone).any() else 1.0
    axes.set(xlabel="threshold probability", ylabel="net benefit", xlim=(0, 1), ylim=(-0.12, top * room))
    return top
