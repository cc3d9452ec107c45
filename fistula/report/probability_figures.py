"""Figures of scores as probabilities: precision and recall, reliability, net benefit."""

import numpy as np
from matplotlib.figure import Figure

from fistula.evidence.calibration import reliability_curve
from fistula.evidence.decision import decision_curve
from fistula.evidence.roc import precision_recall_curve
from fistula.report.drawing import COLOURS, SOFT, WIDTH, look, panels, share_axis, style
from fistula.report.results import Row

THRESHOLDS = np.linspace(0.01, 0.99, 99)
BINS = 10


def precision_recall(rows: list[Row]) -> Figure:
    """Precision against recall of the pooled scores of every configuration.

    Args:
        rows: Of one class and level.
    """
    with style():
        figure = Figure(figsize=(WIDTH * 0.8, 4.3), layout="constrained")
        axes = figure.subplots()
        prevalence = rows[0].num[1] / rows[0].num[0] if rows[0].num[0] else 0.0
        axes.axhline(prevalence, color=SOFT, linewidth=0.7)
        for number, row in enumerate(rows):
            labels, scores = row.rows["label"].to_numpy(), row.rows["score"].to_numpy()
            recall, precision, _ = precision_recall_curve(labels, scores)
            colour, line = look(number)
            area = row.more["average_precision"]
            value = f"{area.value:.3f}" if area.is_defined else "n/a"
            label = f"{row.configuration.name}  {value}"
            axes.step(recall, precision, where="pre", color=colour, linestyle=line, linewidth=1.2, label=label)
        axes.set(xlabel="recall (sensitivity)", ylabel="precision (positive predictive value)")
        share_axis(axes, side="x")
        axes.set_ylim(max(0.0, prevalence - 0.35), 1.02)
        figure.legend(loc="outside right center", title="average precision", title_fontsize=8.5, alignment="left")
    return figure


def reliability(rows: list[Row]) -> Figure:
    """One panel a configuration: share of positives against mean score, before and after scaling on validation."""
    with style():
        figure, grid = panels([row.configuration.name for row in rows], height=2.45, square=True)
        for axes, row in zip(grid, rows, strict=True):
            axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.7)
            labels = row.rows["label"].to_numpy()
            for column, colour, mark in (("raw", COLOURS[1], "s--"), ("calibrated", COLOURS[0], "o-")):
                if row.rows[column].has_nulls():
                    continue
                curve = reliability_curve(labels, row.rows[column].to_numpy(), bins=BINS)
                ends = np.clip(np.stack([curve.rate - curve.low, curve.high - curve.rate]), 0, None)
                axes.errorbar(
                    curve.score,
                    curve.rate,
                    yerr=ends,
                    fmt=mark,
                    color=colour,
                    markersize=3.5,
                    linewidth=1,
                    elinewidth=0.6,
                )
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        figure.supxlabel("mean score in the bin", fontsize=9)
        figure.supylabel("share of positives", fontsize=9)
        grid[0].plot([], [], "s--", color=COLOURS[1], markersize=3.5, label="as the network gave it")
        grid[0].plot([], [], "o-", color=COLOURS[0], markersize=3.5, label="after scaling on validation")
        figure.legend(loc="outside upper left", ncols=2)
    return figure


def net_benefit(rows: list[Row], *, prevalence: float | None) -> Figure | None:
    """Decision curves of scaled scores, beside acting on everyone and on no one; None if no scores could be scaled.

    Args:
        rows: Of one class, by slice.
        prevalence: Where decisions will be made; None takes that of the test rows.
    """
    shown = [(number, row) for number, row in enumerate(rows) if not row.rows["calibrated"].has_nulls()]
    if not shown:
        return None
    with style():
        figure = Figure(figsize=(WIDTH * 0.8, 4.1), layout="constrained")
        axes = figure.subplots()
        for number, row in shown:
            labels, scores = row.rows["label"].to_numpy(), row.rows["calibrated"].to_numpy()
            curve = decision_curve(labels, scores, thresholds=THRESHOLDS, prevalence=prevalence)
            colour, line = look(number)
            axes.plot(
                THRESHOLDS, curve.model, color=colour, linestyle=line, linewidth=1.3, label=row.configuration.name
            )
        axes.plot(
            THRESHOLDS, curve.everyone, color="#1b1f24", linewidth=0.8, linestyle=(0, (1, 1.5)), label="act on all"
        )
        axes.axhline(0, color="#1b1f24", linewidth=0.8, label="act on none")
        top = np.nanmax(curve.everyone) if np.isfinite(curve.everyone).any() else 1.0
        axes.set(xlabel="threshold probability", ylabel="net benefit", xlim=(0, 1), ylim=(-0.12, top * 1.1))
        figure.legend(loc="outside right center")
    return figure
