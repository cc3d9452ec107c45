"""What may enter: labels of two classes, finite scores, one patient a row."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_CLIP = 1e-6  # keeps a saturated score's logit finite: 0 and 1 become -13.8 and 13.8

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.intp]


def check_labels(labels: ArrayLike) -> Bools:
    """Labels ``(N,)`` as booleans, true for the positive class.

    Raises:
        ValueError: If they are not one-dimensional, or hold anything but 0 and 1.
    """
    array = np.asarray(labels)
    if array.ndim != 1:
        raise ValueError(f"labels must be one-dimensional, got shape {array.shape}")
    wrong = ~np.isin(array, (0, 1))
    if wrong.any():
        raise ValueError(f"labels must be 0 or 1, got {array[wrong][0]} at row {int(wrong.argmax())}")
    return array == 1


def check_scores(scores: ArrayLike, *, rows: int, name: str = "scores") -> Floats:
    """Scores ``(rows,)`` as finite float64.

    Raises:
        ValueError: If their number is not `rows`, or one is NaN or infinite.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.shape != (rows,):
        raise ValueError(f"{name} must have shape ({rows},) like the labels, got {array.shape}")
    wrong = ~np.isfinite(array)
    if wrong.any():
        raise ValueError(f"{name} must be finite, got {array[wrong][0]} at row {int(wrong.argmax())}")
    return array


def check_probabilities(scores: ArrayLike, *, rows: int) -> Floats:
    """Scores ``(rows,)`` as float64 in [0, 1].

    Raises:
        ValueError: As `check_scores`, or if one is outside [0, 1].
    """
    array = check_scores(scores, rows=rows)
    wrong = (array < 0) | (array > 1)
    if wrong.any():
        raise ValueError(f"scores must be in [0, 1], got {array[wrong][0]} at row {int(wrong.argmax())}")
    return array


def logits_of(probabilities: Floats) -> Floats:
    """Their logits; what is within 1e-6 of 0 or 1 counts as if there."""
    from scipy.special import logit  # here, because every ingest would wait for its import

    return logit(np.clip(probabilities, _CLIP, 1 - _CLIP))


def check_pairs(labels: ArrayLike, scores: ArrayLike) -> tuple[Bools, Floats]:
    """Labels and scores of the same rows; raises as `check_labels` and `check_scores`."""
    checked = check_labels(labels)
    return checked, check_scores(scores, rows=len(checked))


def patient_codes(patients: ArrayLike, *, rows: int) -> tuple[NDArray, Codes]:
    """The distinct patients ``(P,)``, sorted, and for each row the index of its patient ``(rows,)``.

    Raises:
        ValueError: If the number of patients' rows is not `rows`.
    """
    array = np.asarray(patients)
    if array.shape != (rows,):
        raise ValueError(f"patients must have shape ({rows},) like the labels, got {array.shape}")
    keys, codes = np.unique(array, return_inverse=True)
    return keys, codes.astype(np.intp)


def sum_by_patient(values: NDArray, codes: Codes, *, patients: int) -> Floats:
    """Sums over each patient's rows: ``(N, ...)`` becomes ``(patients, ...)``; 0 for a patient without rows."""
    totals = np.zeros((patients, *values.shape[1:]))
    np.add.at(totals, codes, values)
    return totals


def turns_of(codes: Codes) -> Codes:
    """Of rows that are sorted by patient, the place of each among its patient's, from 0."""
    sizes = np.bincount(codes)
    return np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def class_reason(labels: Bools) -> str:
    """Why what needs both classes is undefined; empty if both are there."""
    if len(labels) == 0:
        return "no rows"
    if not labels.any():
        return "no positives"
    return "no negatives" if labels.all() else ""
