"""How figures look, and how each is saved: SVG for the page, PDF for print, PNG for slides."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Distinct for colour-blind readers (Okabe and Ito 2008), the orange darkened to be seen on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b07800", "#56b4e9")
INK, SOFT, REST = "#1b1f24", "#8a929b", "#b9c0c8"
# On the page a colour is a variable of its style sheet, which has another value in the dark.
VARIABLES = {colour: f"var(--c{number})" for number, colour in enumerate(COLOURS)} | {
    INK: "var(--ink)", "#57606a": "var(--soft)", SOFT: "var(--axis)", REST: "var(--rest)", "#ffffff": "var(--page)",
}  # fmt: skip
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a name from data is text, also with two dollar signs in it
    "axes.edgecolor": "#57606a",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "xtick.color": "#57606a",
    "ytick.color": "#57606a",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "svg.fonttype": "none",  # text stays text: it can be searched, and read aloud
    "svg.hashsalt": "fistula",  # the same figure is the same file
    "legend.frameon": False,
    "legend.fontsize": 8,
}
ROC = "1 \N{MINUS SIGN} specificity", "sensitivity"  # axes of a ROC curve
CALIBRATION = "mean predicted probability", "observed proportion"  # of a reliability curve
WIDTH = 10.6  # inches, the page's column
styled = mpl.rc_context(STYLE)  # for what draws and saves figures, as a decorator


def blank(height: float, *, width: float = WIDTH / 2) -> tuple[Figure, Axes]:
    """A figure of one panel; inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def name_lines(figure: Figure, axes: Axes, *, columns: int = 1) -> None:
    """Set a legend below, the first configuration first: it was drawn last, in front of the others."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower left", ncols=columns)


def look(number: int, of: int) -> tuple[str, str, float]:
    """Colour, line style and width of the n-th of several configurations, the first being the one that is spoken of.

    Each has a colour of its own where there are as many colours; where there are more, the others are grey.
    """
    if number == 0:
        return COLOURS[0], "-", 2.2
    return (COLOURS[number], "--" if number % 2 else "-", 1.3) if of <= len(COLOURS) else (REST, "-", 0.9)


def panels(titles: Sequence[str], *, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of small panels, at most four a line, all on the same scale.

    Titles are broken after the second ``·``, where they are long; `height` is of a line of panels, inches.
    """
    columns = min(4, len(titles))
    lines = -(-len(titles) // columns)
    # One or two panels are not blown up to the width of four.
    figure = Figure(figsize=(WIDTH * max(columns, 2) / 4, 0.55 + height * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, title in zip(grid, titles, strict=False):
        axes.set_title(_broken(title))
    for axes in grid[len(titles) :]:
        axes.set_visible(False)
    # A panel above an empty place has no neighbour below to show the numbers.
    for axes in grid[max(0, len(titles) - columns) : len(titles)]:
        axes.xaxis.set_tick_params(labelbottom=True)
    return figure, list(grid[: len(titles)])


def save(figure: Figure, folder: Path, name: str, *, says: str) -> str:
    """Save a figure in three formats and give its SVG for the page.

    `name` is of the files, and begins the identifiers inside the SVG: several figures stand on one page; `says` is what
    a reader who cannot see it is told.
    """
    drawn = io.StringIO()
    # Without the date, which would make the same figure another file at every call.
    figure.savefig(drawn, format="svg", metadata={"Date": None, "Title": says})
    figure.set_layout_engine("none")  # what was laid out lies so in every format: once takes a quarter less time
    further: dict[str, dict[str, Any]] = {"pdf": {"metadata": {"CreationDate": None}}, "png": {"dpi": 150}}
    for kind, options in further.items():
        file = io.BytesIO()  # of a full disk matplotlib's PDF makes an error that nobody understands
        figure.savefig(file, format=kind, **options)
        (folder / f"{name}.{kind}").write_bytes(file.getvalue())
    svg = drawn.getvalue()
    (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    inline = svg[svg.index("<svg") :].replace("<svg ", '<svg role="img" ', 1)
    for colour, variable in VARIABLES.items():
        inline = inline.replace(f": {colour}", f": {variable}")
    return inline.replace('id="', f'id="{name}-').replace('"#', f'"#{name}-').replace("url(#", f"url(#{name}-")


def square(axes: Axes, x: str, y: str) -> None:
    """Let both axes run from 0 to 1, with names, and draw the diagonal."""
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.7)
    axes.set(xlabel=x, ylabel=y, aspect="equal")
    share_axis(axes, side="x")
    share_axis(axes, side="y")


def share_axis(axes: Axes, *, side: str) -> None:
    """Let an axis run from 0 to 1 with a little room, and name every fifth of it."""
    setter, ticks = (axes.set_xlim, axes.set_xticks) if side == "x" else (axes.set_ylim, axes.set_yticks)
    setter(-0.02, 1.02)
    ticks(np.linspace(0, 1, 6))


def _broken(title: str) -> str:
    parts = title.split(" · ")
    half = -(-len(parts) // 2)
    return title if len(title) < 30 else " · ".join(parts[:half]) + " ·\n" + " · ".join(parts[half:])
