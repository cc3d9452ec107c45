"""What a study of this many patients could have found: the least difference of two AUROCs, by simulated studies."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr

from fistula.evidence.inputs import Floats

POWER = 0.8
STUDIES = 4000  # of 1000, what was to have a power of 80% had 77% to 83%
_PAIRS = 20_000_000  # of patients compared at once, over the simulated studies
_FIRST = 8  # parts of the range that are tried in turn
_STEPS = 6  # halvings of the part that suffices: to 0.002
_ROOM = 0.02  # from an AUROC of 0, which no worse model need pass


def detectable_difference(
    auroc: float, runs: Sequence[tuple[int, int]], *, correlation: float = 0.5, alpha: float = 0.05
) -> float:
    """The least difference by which a worse model is found with a power of 80%, by the test that `compare` makes.

    Studies are simulated in which the better model has this AUROC and the worse one less: normal scores, one a patient,
    each with the variance that its own AUROC gives. Patients are compared within a run only, as the test compares them:
    five folds have a fifth of the pairs that one test set has, and find less. What a formula takes from the models that
    were compared, the power at no difference, is optimistic, the more so the fewer patients there are. Found in steps
    of about 0.002; NaN where no worse model would be found with this power.

    Args:
        auroc: Of the better model, in (0, 1).
        runs: Positive and negative patients of each run's test set, such as each fold's; at least 2 of each in all.
        correlation: Of the two models' scores within a class, in (-1, 1).
        alpha: Level of the two-sided test, as a correction for several tests leaves it.

    Raises:
        ValueError: If a value is out of range.
    """
    positives, negatives = (np.array(side, dtype=np.intp) for side in zip(*runs, strict=True))
    patients = int(positives.sum()), int(negatives.sum())
    if not (0 < auroc < 1 and min(patients) >= 2 and -1 < correlation < 1 and 0 < alpha < POWER):
        raise ValueError(
            "expected auroc in (0, 1), two patients of each class, a correlation in (-1, 1) and alpha in "
            f"(0, {POWER}), got {auroc}, {patients[0]}, {patients[1]}, {correlation}, {alpha}"
        )
    studies = int(np.clip(_PAIRS // max(1, int(positives @ negatives)), 200, STUDIES))
    random = np.random.default_rng(0)
    share = np.array([[1.0, 0.0], [correlation, np.sqrt(1 - correlation**2)]])
    noise = [random.standard_normal((studies, count, 2)) @ share.T for count in patients]
    ends = [np.r_[0, np.cumsum(side)] for side in (positives, negatives)]

    def found(difference: float) -> float:
        ahead = np.sqrt(2) * ndtri([auroc, auroc - difference])
        return float(_rejects(noise[0] + ahead, noise[1], ends, alpha).mean())

    # Power falls again at the far end, where a model that is never right has no variance to test with: the first step
    # that suffices is what is looked for, and halved from there.
    steps = np.linspace(0, auroc - _ROOM, _FIRST + 1) if auroc > _ROOM else np.zeros(1)
    low, high = next(((low, high) for low, high in pairwise(steps) if found(high) >= POWER), (0.0, float("nan")))
    for _ in range(_STEPS if high > 0 else 0):
        middle = (low + high) / 2
        if found(middle) < POWER:
            low = middle
        else:
            high = middle
    return float(high)


def _rejects(positive: Floats, negative: Floats, ends: list[NDArray[np.intp]], alpha: float) -> NDArray[np.bool_]:
    """Whether patients left out in turn tell the difference of two AUROCs from 0, the first being ahead: `(S,)`.

    Args:
        positive: Scores by two models, `(S, P, 2)`.
        negative: Likewise, `(S, N, 2)`.
        ends: Where each run begins and ends among the positives, and among the negatives.
        alpha: Two-sided level.
    """
    # By how many more opponents the first model puts each patient on the right side of than the second does.
    more = [np.zeros(side.shape[:2]) for side in (positive, negative)]
    faced = [np.zeros(side.shape[1]) for side in (positive, negative)]
    pairs = 0
    for ours, theirs in zip(pairwise(ends[0]), pairwise(ends[1]), strict=True):
        up, down = slice(*ours), slice(*theirs)
        above = _ahead(positive[:, up], negative[:, down])
        more[0][:, up], more[1][:, down] = above
        faced[0][up], faced[1][down] = theirs[1] - theirs[0], ours[1] - ours[0]
        pairs += int((ours[1] - ours[0]) * (theirs[1] - theirs[0]))
    total = more[0].sum(axis=1)
    left_out = np.concatenate(
        [(total[:, None] - side) / (pairs - count) for side, count in zip(more, faced, strict=True)], axis=1
    )
    patients = left_out.shape[1]
    variance = (patients - 1) / patients * ((left_out - left_out.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    value = total / pairs
    parts, spread = np.zeros(len(value)), np.zeros(len(value))
    for side, count in zip(more, faced, strict=True):
        number = len(count)
        part = number / (number - 1) * (((side - value[:, None] * count) / pairs) ** 2).sum(axis=1)
        parts, spread = parts + part, spread + part**2 / (number - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        degrees = np.maximum(1.0, parts**2 / spread)
        p_value = 2 * stdtr(degrees, -value / np.sqrt(variance))
    return (value > 0) & (variance > 1e-24) & (spread > 0) & (p_value < alpha)


def _ahead(positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    """Wins of the first model less those of the second, of each positive `(S, P)` and each negative `(S, N)`."""
    step = max(1, _PAIRS // 8 // max(1, positive.shape[1] * negative.shape[1]))
    of_positives, of_negatives = [], []
    for first in range(0, len(positive), step):
        block = slice(first, first + step)
        wins = positive[block, :, None] > negative[block, None]
        difference = wins[..., 0].astype(np.int8) - wins[..., 1].astype(np.int8)
        of_positives.append(difference.sum(axis=2, dtype=np.float64))
        of_negatives.append(difference.sum(axis=1, dtype=np.float64))
    return np.concatenate(of_positives), np.concatenate(of_negatives)
