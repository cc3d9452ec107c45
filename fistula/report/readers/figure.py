"""The ROC figure of a reader study: every reader's curve and point, and the model's."""

import numpy as np
from matplotlib.figure import Figure

from fistula.evidence.ranking.roc import roc_curve
from fistula.report.figures.drawing import COLOURS, ROC, blank, square
from fistula.report.readers.analysis import Readers


def readers_figure(found: Readers) -> Figure:
    """One colour for each modality; the model in front."""
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
        axes.plot(*roc_curve(labels, found.labels["score"].to_numpy())[:2], color=COLOURS[0], linewidth=2.2,
                  label=found.model)  # fmt: skip
        called = found.labels["called"].to_numpy()
        point = float(np.mean(called[labels == 0])), float(np.mean(called[labels == 1]))
        axes.plot(*point, "o", color=COLOURS[0], markersize=7, markeredgecolor="white")
    figure.legend(loc="outside lower left", ncols=1)
    return figure
