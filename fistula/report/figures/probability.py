"""Figures of scores as probabilities: reliability, net benefit."""

import numpy as np
from matplotlib.figure import Figure

from fistula.evidence.probability.calibration import reliability_curve
from fistula.evidence.probability.decision import decision_curve
from fistula.report.figures.drawing import CALIBRATION, COLOURS, INK, WIDTH, look, square, style
from fistula.report.results import Row

THRESHOLDS = np.linspace(0.01, 0.99, 99)
BINS = 10
SHOWN = 4  # configurations in a figure


def reliability(row: Row) -> Figure:
    """Observed proportion of positives against the mean score, before and after scaling on validation data."""
    with style():
        figure = Figure(figsize=(WIDTH / 2, 3.4), layout="constrained")
        axes = figure.subplots()
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


def net_benefit(rows: list[Row], *, prevalence: float | None) -> Figure | None:
    """Decision curves of scaled scores, beside treating all and none; None without scaled scores of both classes.

    The prevalence is that where decisions will be made; None takes that of the test rows.
    """
    calibrated = [row for row in rows if not row.rows["calibrated"].has_nulls()]
    shown = [row for row in calibrated if row.rows["label"].n_unique() > 1][:SHOWN]
    if not shown:
        return None
    with style():
        figure = Figure(figsize=(WIDTH / 2, 3.4), layout="constrained")
        axes = figure.subplots()
        for number, row in enumerate(shown):
            labels, scores = row.rows["label"].to_numpy(), row.rows["calibrated"].to_numpy()
            curve = decision_curve(labels, scores, thresholds=THRESHOLDS, prevalence=prevalence)
            colour, line, width = look(number, len(shown))
            axes.plot(
                THRESHOLDS, curve.model, color=colour, linestyle=line, linewidth=width, label=row.configuration.name
            )
        axes.plot(THRESHOLDS, curve.everyone, color=INK, linewidth=0.8, linestyle=(0, (1, 1.5)), label="treat all")
        axes.axhline(0, color=INK, linewidth=0.8, label="treat none")
        top = np.nanmax(curve.everyone) if np.isfinite(curve.everyone).any() else 1.0
        axes.set(xlabel="threshold probability", ylabel="net benefit", xlim=(0, 1), ylim=(-0.12, top * 1.1))
        figure.legend(loc="outside lower left", ncols=2)
    return figure
