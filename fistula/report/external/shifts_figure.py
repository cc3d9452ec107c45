"""AUROC and abstentions over the strength of each shift, a panel each."""

from matplotlib.figure import Figure

from fistula.report.external.shifts import Robustness
from fistula.report.figures.drawing import COLOURS, REST, SOFT, panels


def shifts_figure(found: Robustness) -> Figure:
    """Draw it."""
    names = list(found.amounts)
    figure, grid = panels(names, height=2.1)
    for axes, name in zip(grid, names, strict=True):
        steps = found.of(name)
        at = [step.strength for step in steps]
        for scanner in steps[0].by_scanner:
            line = [step.by_scanner[scanner].value if scanner in step.by_scanner else float("nan") for step in steps]
            axes.plot(at, line, color=REST, linewidth=0.9)
        axes.axhline(0.5, color=SOFT, linewidth=0.7)
        axes.plot(at, [step.auroc.value for step in steps], "o-", color=COLOURS[0], markersize=4)
        for step in steps:
            if step.auroc.has_interval:
                axes.plot([step.strength] * 2, [step.auroc.low, step.auroc.high], color=COLOURS[0], linewidth=0.8)
        axes.plot(at, [step.abstained for step in steps], "s--", color=COLOURS[1], markersize=3.5)
        axes.set_xticks([0, 1, 2, 3])
        axes.set_ylim(-0.03, 1.03)
    figure.supxlabel("strength", fontsize=9)
    grid[0].plot([], [], "o-", color=COLOURS[0], label="AUROC, 95% CI")
    grid[0].plot([], [], "s--", color=COLOURS[1], label="proportion abstained")
    if found.steps[0].by_scanner:
        grid[0].plot([], [], color=REST, label="AUROC of one scanner")
    figure.legend(loc="outside upper left", ncols=3)
    return figure
