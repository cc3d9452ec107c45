"""The forest plot: AUROCs with their intervals, in a column of the page's table and as a figure for print."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import floor

from matplotlib.figure import Figure

from fistula.evidence.estimate import Estimate
from fistula.report.figures.drawing import COLOURS, INK, SOFT, WIDTH, blank

CHANCE = 0.5
LEAST = 0.4  # where the axis starts, unless an interval reaches below it


@dataclass(frozen=True)
class Axis:
    """The axis that all bars of a table share, from `start` to an AUROC of 1; places on it are in percent."""

    start: float

    def at(self, value: float) -> float:
        """Where a value stands.

        Example:
            >>> Axis(0.4).at(0.7)
            50.0
        """
        return round(100 * (value - self.start) / (1 - self.start), 2)

    @property
    def ticks(self) -> list[float]:
        """Values that the axis names: chance, the middle between it and 1, and 1."""
        return [CHANCE, (CHANCE + 1) / 2, 1.0]


def axis_of(estimates: Iterable[Estimate]) -> Axis:
    """The axis on which all of these have room.

    Example:
        >>> axis_of([Estimate(0.8, 0.27, 0.9, "")]).start
        0.2
    """
    ends = [one.low if one.has_interval else one.value for one in estimates if one.is_defined]
    return Axis(floor(10 * min([LEAST, *ends]) + 1e-9) / 10)


def forest(shown: list[tuple[str, Estimate]], *, other: bool = False) -> Figure:
    """AUROCs with their intervals, a line each, the first spoken of; with `other` the last, a program's, is hollow."""
    figure, axes = blank(0.75 + 0.24 * len(shown), width=WIDTH)
    axes.axvline(CHANCE, color=SOFT, linewidth=0.7)
    for height, (_, estimate) in enumerate(shown):
        is_other = other and height == len(shown) - 1
        colour = COLOURS[0] if height == 0 else SOFT if is_other else INK
        if not estimate.is_defined:
            axes.text(CHANCE, height, f" n/a: {estimate.reason}", va="center", fontsize=8, color=colour)
            continue
        if estimate.has_interval:
            axes.plot([estimate.low, estimate.high], [height, height], color=colour, linewidth=1.4)
        axes.plot(
            estimate.value, height, "s", color=colour, markersize=5, markerfacecolor="white" if is_other else colour
        )
        axes.annotate(
            f"{estimate}", (1, height), xycoords=("axes fraction", "data"), xytext=(8, 0),
            textcoords="offset points", va="center", fontsize=8, annotation_clip=False,
        )  # fmt: skip
    axes.set_yticks(range(len(shown)), [name for name, _ in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(axis_of(estimate for _, estimate in shown).start, 1.005)
    axes.set_xlabel("AUROC with 95% CI; the vertical line is chance")
    return figure
