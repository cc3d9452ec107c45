"""Placements: how every row stands among those of the other class, and what each patient does to the AUROC."""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit

from fistula.evidence.inputs import (
    Bools,
    Codes,
    Floats,
    check_labels,
    check_scores,
    class_reason,
    patient_codes,
    sum_by_patient,
)


@dataclass(frozen=True)
class Placements:
    """AUROCs of R models on the same rows, and how far each patient's rows pull them."""

    aurocs: Floats  # ``(R,)``, NaN if there is no pair to compare
    left_out: Floats  # the AUROCs without each patient in turn, ``(P, R)``
    positive: Floats  # sum over a patient's positive rows of (placement - AUROC), divided by the pairs, ``(P, R)``
    negative: Floats  # the same over the negative rows
    patients: tuple[int, int]  # how many patients have positive rows, how many have negative rows
    effective: tuple[float, float]  # the same by Kish: as many patients of equally many rows would say as much
    # How many pairs of a positive and a negative row were compared; of macro AUROCs, of the class with fewest.
    pairs: float
    reason: str  # why a variance is undefined; empty if it is not
    single: bool  # whether no run scored two rows of a patient
    # Of macro AUROCs, the placements of each class, of which `aurocs` and `left_out` are the mean.
    classes: tuple["Placements", ...] = ()
    owners: Codes | None = None  # of macro AUROCs, the rarest class that each patient has, ``(P,)``

    def covariance(self) -> Floats:
        """Covariance of the AUROCs by leaving out one patient at a time, ``(R, R)``; NaN where `reason` says why.

        Source:
            Efron & Tibshirani (1993), An Introduction to the Bootstrap, ch. 11, patients being the sample.
        """
        return self._spread(self.left_out)

    def obuchowski(self) -> Floats:
        """The covariance by formula, ``(R, R)``; NaN where `reason` says why. Too small where patients are few.

        Source:
            Obuchowski (1997), Biometrics 53(2), 567-578; with one row a patient it is that of
            DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44(3), 837-845.
        """
        if self.reason:
            return np.full((len(self.aurocs),) * 2, nan)
        from_positives, from_negatives = self._parts()
        everyone = len(self.positive)
        cross = everyone / (everyone - 1) * self.positive.T @ self.negative
        return from_positives + from_negatives + cross + cross.T

    def contrast(self, weights: ArrayLike) -> tuple[float, float, float]:
        """A linear combination of the AUROCs: its value, standard error and degrees of freedom.

        Standard error and degrees are NaN where `reason` says why; degrees also where nothing varies. The weights are
        ``(R,)``: ``[1, -1]`` is the difference of two models.
        """
        combination = np.asarray(weights, dtype=np.float64)
        value = float(combination @ self.aurocs)
        if self.reason:
            return value, nan, nan
        variance = float(self._spread((self.left_out @ combination)[:, None])[0, 0])
        # A rounding residue of identical placements is no variance, and that of their difference is no -0.
        if variance < 1e-24:
            return round(value, 12) + 0.0, 0.0, nan
        return value, float(np.sqrt(variance)), self.degrees(combination)

    def degrees(self, weights: Floats) -> float:
        """Degrees of freedom of a combination ``(R,)``: few patients in the class that varies most give few.

        Kish's effective number stands for that of patients: where one brings many rows and another few, the variance
        rests on fewer of them. At least 1; NaN where nothing varies. Of macro AUROCs, each class of patients is a part
        of the variance, so that a rare class counts for as much as it varies.

        Source:
            Satterthwaite (1946), Biometrics Bulletin 2(6), 110-114; Kish (1965), Survey Sampling, section 11.7.
        """
        if self.classes:
            pulls = np.mean([(one.positive + one.negative) @ weights for one in self.classes], axis=0)
            own = [pulls[self.owners == number] for number in range(len(self.classes))]
            parts = [len(of) / max(len(of) - 1, 1) * float(of @ of) for of in own]
            counts = [one.effective[0] for one in self.classes]
        else:
            parts = [max(0.0, float(weights @ part @ weights)) for part in self._parts()]
            counts = list(self.effective)
        spread = sum(part**2 / max(count - 1, 1e-9) for part, count in zip(parts, counts, strict=True))
        return max(1.0, sum(parts) ** 2 / spread) if spread > 0 else nan

    def logit_error(self) -> float:
        """Standard error of the first model's logit: by leaving out patients, on the scale on which it is used.

        On that scale the left-out values near 1 count for more than the AUROC's own would: with few patients or a high
        AUROC the interval needs it (benchmarks/coverage.py). A left-out AUROC of 1 counts as one wrong pair in two.
        """
        half = 1 / (2 * self.pairs)
        logits = logit(np.clip(self.left_out[:, :1], half, 1 - half))
        return float(np.sqrt(self._spread(logits)[0, 0]))

    def _spread(self, left_out: Floats) -> Floats:
        if self.reason:
            return np.full((left_out.shape[1],) * 2, nan)
        away = left_out - left_out.mean(axis=0)
        return (len(away) - 1) / len(away) * away.T @ away

    def _parts(self) -> tuple[Floats, Floats]:
        with_positives, with_negatives = self.patients
        return (
            with_positives / (with_positives - 1) * self.positive.T @ self.positive,
            with_negatives / (with_negatives - 1) * self.negative.T @ self.negative,
        )


def place(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike | None = None, runs: ArrayLike | None = None
) -> Placements:
    """Compare each positive row with all negatives and each negative with all positives, ties counting one half.

    Rows are compared within a run only: scores of two networks have no common scale, and any way of giving them one
    (ranks within a fold, scaling on validation) biases the AUROC where folds are small or differ in their case mix.

    Args:
        labels: 0 or 1, ``(N,)``.
        scores: Finite, ``(N,)`` for one model or ``(N, R)`` for R models of the same rows.
        patients: Whom each row is of, ``(N,)``; left out, each row is a patient (DeLong).
        runs: Which network scored each row, ``(N,)``: a fold and a seed; left out, one did all.

    Raises:
        ValueError: If a label is not 0 or 1, a score is not finite, or the lengths differ.
    """
    truth = check_labels(labels)
    columns = np.asarray(scores, dtype=np.float64)
    columns = columns.reshape(len(columns), -1) if columns.size else columns.reshape(0, max(1, columns.shape[-1]))
    models = [check_scores(column, rows=len(truth)) for column in columns.T]
    keys, codes = patient_codes(np.arange(len(truth)) if patients is None else patients, rows=len(truth))
    _, of_run = patient_codes(np.zeros(len(truth)) if runs is None else runs, rows=len(truth))
    sizes = [np.bincount(codes[rows], minlength=len(keys)) for rows in (truth, ~truth)]
    with_class = int((sizes[0] > 0).sum()), int((sizes[1] > 0).sum())
    opponents = count_opponents(truth, of_run)
    pairs = float(opponents[truth].sum())
    reason = class_reason(truth) or ("" if pairs else "no run tested both classes")
    if reason:
        empty = np.full((len(keys), len(models)), nan)
        undefined_areas = np.full(len(models), nan)
        return Placements(undefined_areas, empty, empty, empty, with_class, (nan, nan), pairs, reason, single=False)
    # What a patient's removal takes away: the pairs of its rows, those among themselves counted once.
    _, alone = np.unique(of_run * len(keys) + codes, return_inverse=True)
    among_own = count_opponents(truth, alone)
    lost = _without(codes, opponents, truth, among_own, len(keys))
    if min(with_class) < 2:
        reason = f"all {'positives' if with_class[0] < 2 else 'negatives'} are of one patient"
    elif (lost > pairs - 0.5).any():
        reason = "without one patient no run has both classes"
    areas, left_out, pulls = [], [], []
    for values in models:
        won = count_won(truth, values, of_run)
        total = float(won[truth].sum())
        areas.append(total / pairs)
        # Where patients have rows of one class alone, none meets its own, and half of the ranking is spared.
        won_own = count_won(truth, values, alone) if among_own.any() else among_own
        taken = _without(codes, won, truth, won_own, len(keys))
        with np.errstate(invalid="ignore", divide="ignore"):
            left_out.append((total - taken) / (pairs - lost))
        pulls.append((won - opponents * areas[-1]) / pairs)
    pull = np.stack(pulls, axis=1)
    return Placements(
        aurocs=np.array(areas),
        left_out=np.stack(left_out, axis=1),
        positive=sum_by_patient(pull[truth], codes[truth], patients=len(keys)),
        negative=sum_by_patient(pull[~truth], codes[~truth], patients=len(keys)),
        patients=with_class,
        effective=(kish(sizes[0]), kish(sizes[1])),
        pairs=pairs,
        reason=reason,
        single=len(np.unique(alone)) == len(truth),
    )


def count_opponents(truth: Bools, groups: Codes) -> Floats:
    """For each row, the rows of the other class in its group."""
    positives, negatives = (np.bincount(groups[rows], minlength=groups.max(initial=0) + 1) for rows in (truth, ~truth))
    return np.where(truth, negatives[groups], positives[groups]).astype(np.float64)


def count_won(truth: Bools, values: Floats, groups: Codes) -> Floats:
    """For each row, the rows of the other class in its group that it stands on the right side of; a tie is a half."""
    below = _midranks(values, groups) - _midranks(values, 2 * groups + truth)
    return np.where(truth, below, count_opponents(truth, groups) - below)


def kish(sizes: NDArray) -> float:
    """How many patients of equal size would say as much as those of these sizes, ``(P,)``; none counts where it is 0.

    Source:
        Kish (1965), Survey Sampling, section 11.7.

    Example:
        >>> kish(np.array([4, 4, 4, 0])), kish(np.array([10, 1, 1]))
        (3.0, 1.411764705882353)
    """
    return float(sizes.sum() ** 2 / np.sum(sizes.astype(np.float64) ** 2))


def _without(codes: Codes, of_rows: Floats, truth: Bools, among_own: Floats, patients: int) -> Floats:
    """What all pairs lose with each patient: those of its rows, less those among its own, which were counted twice."""
    return sum_by_patient(of_rows, codes, patients=patients) - sum_by_patient(
        among_own[truth], codes[truth], patients=patients
    )


def _midranks(values: Floats, groups: NDArray) -> Floats:
    """Rank of each value within its group, ties sharing their mean rank, from 1."""
    order = np.lexsort((values, groups))
    ordered, group = values[order], groups[order]
    starts_group = np.r_[True, group[1:] != group[:-1]]
    starts_tie = starts_group | np.r_[True, ordered[1:] != ordered[:-1]]
    tie = np.cumsum(starts_tie) - 1
    first_of_group = np.maximum.accumulate(np.where(starts_group, np.arange(len(order)), 0))
    ranks = np.empty(len(order))
    ranks[order] = np.flatnonzero(starts_tie)[tie] + (np.bincount(tie)[tie] + 1) / 2 - first_of_group
    return ranks
