"""Figures of ranking and training: ROC curves, loss curves."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from fistula.evidence.ranking.roc import mean_roc_curve, roc_curve
from fistula.evidence.resample import roc_band
from fistula.report.figures.drawing import COLOURS, ROC, blank, look, name_lines, panels, square
from fistula.report.pooling import ranking
from fistula.report.readers.analysis import Readers
from fistula.report.results import Row
from fistula.report.study import Configuration

LINES = ("-", "--", ":", "-.")  # of classes, where they are more than colours
GRID = np.linspace(0, 1, 101)
SHOWN = 20  # configurations in a figure; more cannot be told apart, and stand in the table


def roc(rows: list[Row], *, resamples: int) -> Figure:
    """ROC curves of the pooled scores, the first configuration in front in its 95% band over resampled patients."""
    shown = rows[:SHOWN]
    figure, axes = blank(3.9 + 0.17 * min(len(shown), len(COLOURS) + 1))
    square(axes, *ROC)
    low, high = roc_band(*ranking(rows[0].rows), fpr=GRID, resamples=resamples)
    axes.fill_between(GRID, low, high, color=COLOURS[0], alpha=0.15, linewidth=0)
    for number, row in reversed(list(enumerate(shown))):
        name: str | None = _valued(row, row.configuration.name)
        if number and len(shown) > len(COLOURS):  # then all others look alike
            name = f"the {len(shown) - 1} others" if number == 1 else None
        colour, line, width = look(number, len(shown))
        _curve(axes, row, name, colour=colour, line=line, width=width)
    name_lines(figure, axes)
    return figure


def roc_of_classes(rows: list[Row]) -> Figure:
    """ROC curves of one configuration, each class against the rest."""
    figure, axes = blank(3.9 + 0.17 * len(rows))
    square(axes, *ROC)
    for number, row in reversed(list(enumerate(rows))):
        colour, line, _ = look(number, len(rows))
        if len(rows) > len(COLOURS):  # no class matters more than the others
            colour, line = COLOURS[number % len(COLOURS)], LINES[number // len(COLOURS) % len(LINES)]
        _curve(axes, row, _valued(row, row.positive), colour=colour, line=line, width=1.7)
    name_lines(figure, axes)
    return figure


def readers_figure(found: Readers) -> Figure:
    """ROC curves and points of all readers, one colour for each modality, and the model's in front."""
    names = list(found.means)
    figure, axes = blank(5.2)
    square(axes, *ROC)
    labelled: set[str] = set()
    for one in found.single:
        labels, scores = one.curve["label"].to_numpy(), one.curve["score"].to_numpy()
        if not 0 < labels.sum() < len(labels):
            continue
        colour = COLOURS[1 + names.index(one.modality) % (len(COLOURS) - 1)]
        said = "readers" if not one.modality else f"readers, {one.modality}"
        axes.plot(*roc_curve(labels, scores)[:2], color=colour, linewidth=0.9, alpha=0.8,
                  label=None if said in labelled else said)  # fmt: skip
        labelled.add(said)
        if one.sensitivity.is_defined and one.specificity.is_defined:
            axes.plot(1 - one.specificity.value, one.sensitivity.value, "D", color=colour, markersize=5)
    labels = found.labels["label"].to_numpy()
    if 0 < labels.sum() < len(labels):
        scores = found.labels["score"].to_numpy()
        within = mean_roc_curve(labels, scores, found.labels["networks"].to_numpy())
        curve = within if len(within[0]) else roc_curve(labels, scores)[:2]
        axes.plot(*curve, color=COLOURS[0], linewidth=2.2, label=found.model)
        called = found.labels["called"].to_numpy()
        point = float(np.mean(called[labels == 0])), float(np.mean(called[labels == 1]))
        axes.plot(*point, "o", color=COLOURS[0], markersize=7, markeredgecolor="white")
    figure.legend(loc="outside lower left", ncols=1)
    return figure


def loss_curves(configurations: list[Configuration]) -> Figure | None:
    """Training and validation loss of every run, a panel for each configuration; None where no run has a history."""
    shown = [(c, [run for run in c.runs if run.history is not None]) for c in configurations]
    shown = [(configuration, runs) for configuration, runs in shown if runs][:SHOWN]
    if not shown:
        return None
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
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    low, high = grid[0].get_ylim()  # which all panels share
    for axes in grid:  # over several decades, ticks between their ends would stand on one another
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("loss", fontsize=9)
    grid[0].plot([], [], color=COLOURS[0], label="training")
    grid[0].plot(
        [], [], color=COLOURS[1], linestyle="--", marker="o", markersize=4, label="validation (dot: epoch scored)"
    )
    figure.legend(loc="outside upper left", ncols=2)
    return figure


def _curve(axes: Axes, row: Row, name: str | None, *, colour: str, line: str, width: float) -> None:
    labels, called = row.rows["label"].to_numpy(), row.rows["called"].to_numpy()
    rates, sensitivities = mean_roc_curve(labels, row.rows["score"].to_numpy(), row.rows["run"].to_numpy())
    axes.plot(rates, sensitivities, color=colour, linestyle=line, linewidth=width, label=name)
    if width > 1 and 0 < labels.sum() < len(labels):
        point = called[labels == 0].mean(), called[labels == 1].mean()
        axes.plot(*point, "o", color=colour, markersize=3 + 1.6 * width, markeredgecolor="white", markeredgewidth=0.8)


def _valued(row: Row, name: str) -> str:
    estimate = row.estimates["auroc"]
    return f"{name}, " + (f"{estimate.value:.3f}" if estimate.is_defined else "n/a")
