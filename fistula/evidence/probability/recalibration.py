"""What a few patients of another hospital would mend: recalibration on k of them, judged on the others."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit, logit

from fistula.evidence.inputs import Bools, Floats, check_labels, check_probabilities, patient_codes
from fistula.evidence.probability.calibration import brier_score, fit_platt

SIZES = (10, 20, 50, 100, 200)
REPEATS = 100
_CLIP = 1e-6  # keeps a saturated score's logit finite


@dataclass(frozen=True)
class Recalibrated:
    """Means over repeated draws of k patients, always of those who were not drawn.

    Attributes:
        patients: Drawn, k.
        repeats: Draws.
        before: Brier score of the probabilities as they are.
        intercept: After their level alone was moved.
        line: After level and slope were fitted.
        gap_before: Mean over the draws of the distance of the mean probability from the observed share.
        gap_intercept: The same after the level was moved.
        gap_line: The same after both were fitted.
    """

    patients: int
    repeats: int
    before: float
    intercept: float
    line: float
    gap_before: float
    gap_intercept: float
    gap_line: float


def recalibrations(
    labels: ArrayLike, probabilities: ArrayLike, patients: ArrayLike, *, repeats: int = REPEATS, seed: int = 0
) -> list[Recalibrated]:
    """Recalibrate on k patients drawn by class, and judge on the others, for each k of `SIZES` that leaves as many.

    Ranking does not change: the AUROC stays what it is.

    Args:
        labels: 0 or 1, ``(N,)``.
        probabilities: In [0, 1], ``(N,)``.
        patients: Whom each row is of, ``(N,)``; a patient with a positive row counts as positive.
        repeats: Draws of each size.
        seed: Of the draws.

    Returns:
        Empty where a class has too few patients to be drawn and judged.

    Raises:
        ValueError: If a label is not 0 or 1, a probability not in [0, 1], or the lengths differ.

    Source:
        Janssen et al. (2008), J Clin Epidemiol 61(1), 76-86, on updating the intercept, or intercept and slope; draws
        by class so that both can be fitted.
    """
    truth = check_labels(labels)
    values = check_probabilities(probabilities, rows=len(truth))
    keys, codes = patient_codes(patients, rows=len(truth))
    of_patient = np.bincount(codes, weights=truth, minlength=len(keys)) > 0
    found = []
    for size in SIZES:
        positives = min(max(2, round(size * of_patient.mean())), size - 2)
        counts = {True: positives, False: size - positives}
        if any(2 * number > (of_patient == label).sum() for label, number in counts.items()):
            continue
        random = np.random.default_rng((seed, size))
        judged = [_judge(truth, values, codes, _draw(random, of_patient, counts)) for _ in range(repeats)]
        found.append(Recalibrated(size, repeats, *np.mean(judged, axis=0).tolist()))
    return found


def move_level(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """What to add to every logit so that the mean probability is the observed share.

    The share is drawn in by half a row of each class, so that it can be had where one class is missing.
    """
    truth = check_labels(labels)
    scale = _logits(check_probabilities(probabilities, rows=len(truth)))
    share = (truth.sum() + 0.5) / (len(truth) + 1)
    return float(brentq(lambda level: float(expit(scale + level).mean()) - share, -40, 40))


def _draw(random: np.random.Generator, of_patient: Bools, counts: dict[bool, int]) -> Bools:
    chosen = np.zeros(len(of_patient), bool)
    for label, number in counts.items():
        chosen[random.choice(np.flatnonzero(of_patient == label), number, replace=False)] = True
    return chosen


def _judge(truth: Bools, values: Floats, codes: np.ndarray, chosen: Bools) -> list[float]:
    fitted = chosen[codes]
    own, others, judged = truth[fitted], values[~fitted], truth[~fitted]
    levelled = expit(_logits(others) + move_level(own, values[fitted]))
    # Rows of drawn patients may all be of one class, where patients are positive by one slice of many.
    both = own.any() and not own.all()
    lined = fit_platt(own, values[fitted]).apply(others) if both else levelled
    told = (others, levelled, lined)
    return [brier_score(judged, one) for one in told] + [abs(float(one.mean() - judged.mean())) for one in told]


def _logits(values: Floats) -> Floats:
    return logit(np.clip(values, _CLIP, 1 - _CLIP))
