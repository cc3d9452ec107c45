"""A sheet of what an augmentation does: slices as they are, and draws of each with their parameters."""

import textwrap
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import albumentations
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fistula.folder import write_whole
from fistula.learning.data.slices import Resize, draw

NOT_SHOWN = ("shape", "seed", "coefficients", "interpolation", "fill", "fill_mask")


def rows_to_show(labels: NDArray[np.int64], number: int) -> list[int]:
    """Rows of slices to show, as many of each class as can be, spread over the cohort."""
    classes = np.unique(labels)
    share = -(-number // len(classes))
    chosen = [
        rows[np.linspace(0, len(rows) - 1, min(share, len(rows))).astype(int)]
        for rows in (np.flatnonzero(labels == label) for label in classes)
    ]
    return sorted(np.concatenate(chosen).tolist())[:number]


def draw_sheet(
    images: Sequence[Mapping[str, NDArray[np.uint8]]],
    pipeline: albumentations.Compose,
    path: Path,
    *,
    draws: int,
    resize: Resize,
    seed: int,
) -> None:
    """Write the sheet as a PNG: a row a slice, the original first; the sequences of one below each other, drawn alike.

    Of each slice the sequences' pictures ``(H, H)`` are given, by what stands above them. The first epochs of a run
    with this seed begin like this.
    """
    pipeline.save_applied_params = True
    rows = [(number, name, whole) for number, one in enumerate(images) for name, whole in one.items()]
    figure = Figure(figsize=(1.8 * (draws + 1), 2.35 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), draws + 1, squeeze=False)
    for line, (number, name, whole) in zip(axes, rows, strict=True):
        image = resize(np.asarray(whole))
        _show(line[0], image, name)
        for epoch in range(draws):
            drawn = draw(pipeline, image, seed=(seed, epoch, number, 0))
            _show(line[epoch + 1], drawn["image"], _described(drawn["applied_transforms"]))
    file = BytesIO()  # Python writes it: a full disk is then one line
    figure.savefig(file, format="png", dpi=110)
    write_whole(path, file.getvalue())


def _show(axis: Any, image: NDArray[np.uint8], text: str) -> None:
    axis.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.set_axis_off()
    axis.set_title(text, fontsize=4.5, loc="left", pad=2)


def _described(applied: list[tuple[str, dict[str, Any]]]) -> str:
    lines = []
    for name, parameters in applied:
        shown = [f"{key} {_short(value)}" for key, value in parameters.items() if key not in NOT_SHOWN]
        lines += textwrap.wrap(f"{name}: {', '.join(text for text in shown if not text.endswith(' '))}", 40)[:2]
    return "\n".join(lines) or "unchanged"


def _short(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.2g}"
    if isinstance(value, dict):
        return "/".join(_short(one) for one in value.values())
    return str(value) if isinstance(value, int | bool | str) else ""
