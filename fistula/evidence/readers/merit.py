"""Figures of merit of readers, each with what it would be without any one case: what a jackknife needs."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from fistula.evidence.inputs import Bools, Floats
from fistula.evidence.ranking.placements import place

Figure = Callable[[Bools, Floats], tuple[Floats, Floats]]
"""Maps labels ``(C,)`` and ratings ``(F, C)`` to figures ``(F,)`` and to those without each case ``(F, C)``.

The latter are NaN for cases that have no part in the figure.
"""


def auroc_figure(labels: Bools, ratings: Floats) -> tuple[Floats, Floats]:
    """The empirical AUROC, ties counting one half, and that without each case; ratings of any ordered scale."""
    placed = place(labels, ratings.T)
    return placed.aurocs, placed.left_out.T


def model_figure(networks: ArrayLike) -> Figure:
    """As `auroc_figure`, but the last row is a model's, whose cases are compared within its networks alone.

    Those of a cross-validation have no common scale, and a calibration of each on few patients gives them none: the
    model would lose what readers keep (benchmarks/folds.py). Where no two cases can be compared so, all are. `networks`
    say which ones scored each case, ``(C,)``.
    """

    def areas(labels: Bools, ratings: Floats) -> tuple[Floats, Floats]:
        figures, without = auroc_figure(labels, ratings)
        placed = place(labels, ratings[-1], runs=networks)
        if placed.reason:
            return figures, without
        return np.r_[figures[:-1], placed.aurocs], np.vstack([without[:-1], placed.left_out.T])

    return areas


def share_figure(of_positives: bool) -> Figure:
    """The share of right calls among the positives (sensitivity) or the negatives (specificity); calls are 0 or 1."""

    def share(labels: Bools, ratings: Floats) -> tuple[Floats, Floats]:
        counts = labels == of_positives
        right = np.where(labels, ratings, 1 - ratings) * counts
        total, number = right.sum(axis=1), counts.sum()
        without = (total[:, None] - right) / (number - 1)
        return total / number, np.where(counts, without, np.nan)

    return share


def mean_figure(labels: Bools, ratings: Floats) -> tuple[Floats, Floats]:
    """The mean over all cases, such as of reading times, and that without each case."""
    number = ratings.shape[1]
    total = ratings.sum(axis=1)
    return total / number, (total[:, None] - ratings) / (number - 1)


def located_ratings(labels: Bools, ratings: Floats, located: Bools) -> Floats:
    """Ratings whose AUROC is the area under the LROC curve: of a positive case found at a wrong place, below all.

    Labels are ``(C,)``, ratings ``(..., C)``, and so is `located`, whether the place was right; that of negative cases
    does not count.

    Source:
        Swensson (1996), Med Phys 23(10), 1709-1725.
    """
    return np.where(labels & ~located, ratings.min() - 1, ratings)
