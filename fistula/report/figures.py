"""Figures of ranking and training: ROC curves, the forest plot, loss curves."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from fistula.evidence.resample import roc_band
from fistula.evidence.roc import roc_curve
from fistula.report.drawing import COLOURS, SOFT, WIDTH, look, panels, share_axis, style
from fistula.report.results import Row
from fistula.report.study import Study

GRID = np.linspace(0, 1, 101)


def roc_overlay(rows: list[Row]) -> Figure:
    """ROC curves of the pooled scores of every configuration, with the operating point of each as a dot.

    Args:
        rows: Of one class and level.
    """
    with style():
        figure = Figure(figsize=(WIDTH * 0.8, 4.9), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.7)
        for number, row in enumerate(rows):
            colour, line = look(number)
            _curve(axes, row, colour=colour, line=line, label=f"{row.configuration.name}  {_area(row)}")
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
        share_axis(axes, side="x")
        share_axis(axes, side="y")
        figure.legend(loc="outside right center", title="AUROC by slice", title_fontsize=8.5, alignment="left")
    return figure


def roc_bands(rows: list[Row], *, resamples: int) -> Figure:
    """One panel a configuration: the ROC curve in its 95 % band over resampled patients, with the operating point."""
    with style():
        figure, grid = panels([row.configuration.name for row in rows], height=2.45, square=True)
        for axes, row in zip(grid, rows, strict=True):
            axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.7)
            labels, scores, patients = (row.rows[name].to_numpy() for name in ("label", "score", "patient_key"))
            low, high = roc_band(labels, scores, patients, fpr=GRID, resamples=resamples)
            axes.fill_between(GRID, low, high, color=COLOURS[0], alpha=0.18, linewidth=0)
            _curve(axes, row, colour=COLOURS[0], line="-", label=None)
            axes.text(0.98, 0.04, _area(row), ha="right", fontsize=8)
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        figure.supxlabel("1 - specificity", fontsize=9)
        figure.supylabel("sensitivity", fontsize=9)
    return figure


def forest(rows: list[Row], metric: str = "auroc") -> Figure:
    """One metric of every configuration with its interval, by patient and by slice.

    Args:
        rows: Of one class.
        metric: One of `fistula.evidence.standard.METRICS`.
    """
    names = list(dict.fromkeys(row.configuration.name for row in rows))
    with style():
        figure = Figure(figsize=(WIDTH, 1.1 + 0.5 * len(names)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0.5, color=SOFT, linewidth=0.7)
        for row in rows:
            estimate = row.estimates[metric]
            by_patient = row.level == "patient"
            height = names.index(row.configuration.name) + (-0.14 if by_patient else 0.14)
            colour = COLOURS[0] if by_patient else COLOURS[1]
            if not estimate.is_defined:
                axes.text(0.5, height, f" n/a: {estimate.reason}", va="center", fontsize=8, color=colour)
                continue
            if estimate.has_interval:
                axes.plot([estimate.low, estimate.high], [height, height], color=colour, linewidth=1.4)
            axes.plot(estimate.value, height, "o" if by_patient else "s", color=colour, markersize=5)
            axes.annotate(
                f"{estimate}", (1, height), xycoords=("axes fraction", "data"), xytext=(8, 0),
                textcoords="offset points", va="center", fontsize=8, annotation_clip=False,
            )  # fmt: skip
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(min(0.3, axes.get_xlim()[0]), 1.005)
        axes.set_xlabel("AUROC with 95 % interval; the line is chance")
        axes.plot([], [], "o-", color=COLOURS[0], label="by patient")
        axes.plot([], [], "s-", color=COLOURS[1], label="by slice")
        figure.legend(loc="outside upper left", ncols=2)
    return figure


def loss_curves(study: Study) -> Figure | None:
    """Training and validation loss of every run, a panel for each configuration; None where no run has a history."""
    shown = [(c, [run for run in c.runs if run.history is not None]) for c in study.configurations]
    shown = [(configuration, runs) for configuration, runs in shown if runs]
    if not shown:
        return None
    with style():
        figure, grid = panels([configuration.name for configuration, _ in shown], height=1.9)
        for axes, (_, runs) in zip(grid, shown, strict=True):
            for run in runs:
                history = run.history
                assert history is not None  # such runs are not among those shown
                epochs = history["epoch"] + 1
                axes.plot(epochs, history["train/loss"], color=COLOURS[0], linewidth=1)
                axes.plot(epochs, history["val/loss"], color=COLOURS[1], linewidth=1, linestyle="--")
                best = run.record.get("best_epoch")
                if best is not None and best < len(history):
                    axes.plot(best + 1, history["val/loss"][best], "o", color=COLOURS[1], markersize=4)
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.supxlabel("epoch", fontsize=9)
        figure.supylabel("cross-entropy", fontsize=9)
        grid[0].plot([], [], color=COLOURS[0], label="training")
        grid[0].plot(
            [], [], color=COLOURS[1], linestyle="--", marker="o", markersize=4, label="validation (dot: epoch scored)"
        )
        figure.legend(loc="outside upper left", ncols=2)
    return figure


def _curve(axes: Axes, row: Row, *, colour: str, line: str, label: str | None) -> None:
    labels, called = row.rows["label"].to_numpy(), row.rows["called"].to_numpy()
    rates, sensitivities, _ = roc_curve(labels, row.rows["score"].to_numpy())
    axes.plot(rates, sensitivities, color=colour, linestyle=line, linewidth=1.4, label=label)
    if 0 < labels.sum() < len(labels):
        point = called[labels == 0].mean(), called[labels == 1].mean()
        axes.plot(*point, "o", color=colour, markersize=5.5, markeredgecolor="white", markeredgewidth=0.8)


def _area(row: Row) -> str:
    estimate = row.estimates["auroc"]
    return f"{estimate.value:.3f}" if estimate.is_defined else "n/a"
