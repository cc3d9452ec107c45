"""How far off places are, what they cost in false marks, and which way clock positions err."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fistula.report.figures.drawing import COLOURS, SOFT, WIDTH, look, name_lines, share_axis
from fistula.report.places.numbers import FAR, NEAR, Where


def where_figure(found: list[Where]) -> Figure:
    """Draw cumulative distances, FROC curves, and the clock errors of the first configuration."""
    has_clock = found[0].clock is not None
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    columns = 3 if has_clock else 2
    distances, marks = (figure.add_subplot(1, columns, number) for number in (1, 2))
    for number, one in reversed(list(enumerate(found))):
        colour, line, width = look(number, len(found))
        kind: Any = {"color": colour, "linestyle": line, "linewidth": width}
        far = np.sort(one.slices["distance"].to_numpy())
        shares = np.arange(1, len(far) + 1) / max(1, len(far))
        distances.step(far, shares, where="post", label=one.configuration.name, **kind)
        marks.step(one.froc.false_marks, one.froc.sensitivity, where="post", **kind)
    for limit in (NEAR, FAR):
        distances.axvline(limit, color=SOFT, linewidth=0.7)
    distances.set(xlim=(0, 4 * FAR), xlabel=f"distance from the reference, {found[0].unit}", ylabel="share of slices")
    marks.set(xlim=(0, 5), xlabel="false marks per patient", ylabel="findings marked")
    for axes, title in ((distances, "Distance"), (marks, "FROC")):
        share_axis(axes, side="y")
        axes.set_title(title)
    if has_clock:
        _rose(figure, columns, found[0])
    name_lines(figure, distances, columns=2)
    return figure


def _rose(figure: Figure, columns: int, found: Where) -> None:
    """Errors of clock positions, a petal an hour; no error points up, too far clockwise to the right."""
    axes: Any = figure.add_subplot(
        1, columns, 3, projection="polar"
    )  # whose types are those of axes that are not polar
    errors = found.slices["hours"].drop_nulls().to_numpy()
    counts, edges = np.histogram((errors + 0.5) % 12, bins=np.arange(13))
    axes.bar((edges[:-1]) * np.pi / 6, counts, width=np.pi / 6, color=COLOURS[0], edgecolor="#ffffff", linewidth=0.7)
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    axes.set_xticks(
        np.arange(12) * np.pi / 6,
        [f"{hour:{'+d' if hour else 'd'}}".replace("-", "\N{MINUS SIGN}") for hour in (*range(7), *range(-5, 0))],
    )
    axes.set_yticks([])
    axes.grid(color=SOFT, linewidth=0.3)
    axes.set_title("Clock error, hours", pad=12)
