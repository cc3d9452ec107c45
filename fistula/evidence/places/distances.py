"""Is the finding where the model says? Distances and the localisation ROC, with patients as the units."""

from math import inf, isinf, nan

import numpy as np
from numpy.typing import ArrayLike

from fistula.evidence.estimate import LEVEL, Estimate, name_method, undefined, without_interval
from fistula.evidence.inputs import Codes, Floats, check_labels, check_scores, patient_codes, sum_by_patient, turns_of
from fistula.evidence.ranking.area import clustered_auroc
from fistula.evidence.ranking.placements import kish
from fistula.evidence.rates.clustered import clustered_rate
from fistula.evidence.rates.counts import two_sided


def distances_mm(points: ArrayLike, truths: ArrayLike, *, pixel_mm: ArrayLike = 1.0) -> Floats:
    """Distance of each point from the true one, in the plane of the slice.

    Gives ``(N,)`` in mm; infinite where there is no point: it is farther off than any.

    Args:
        points: Row and column, ``(N, 2)``; NaN where the model names no place.
        truths: Likewise, finite.
        pixel_mm: Distance of pixels, one number or ``(N,)``.

    Raises:
        ValueError: If the shapes differ, or a true place is not finite.

    Example:
        >>> distances_mm([[3.0, 4.0], [float("nan"), 0.0]], [[0.0, 0.0], [0.0, 0.0]], pixel_mm=0.5).tolist()
        [2.5, inf]
    """
    found, truth = np.asarray(points, dtype=np.float64), np.asarray(truths, dtype=np.float64)
    if found.shape != truth.shape or found.ndim != 2 or found.shape[1] != 2:
        raise ValueError(f"points and truths must both have shape (N, 2), got {found.shape} and {truth.shape}")
    if not np.isfinite(truth).all():
        raise ValueError("true places must be finite")
    far = np.hypot(*(found - truth).T) * np.asarray(pixel_mm, dtype=np.float64)
    return np.where(np.isnan(far), inf, far)


def share_within(distances: ArrayLike, patients: ArrayLike, *, limit: float) -> Estimate:
    """Share of distances that are at most `limit`, slices of a patient being alike; interval as `clustered_rate`.

    Args:
        distances: Not negative, infinite where no place was named, ``(N,)``.
        patients: Whom each is of, ``(N,)``.
        limit: In the distances' unit.

    Raises:
        ValueError: If a distance is negative or NaN, or the lengths differ.
    """
    return clustered_rate((_check_distances(distances) <= limit).astype(int), patients)


def median_distance(distances: ArrayLike, patients: ArrayLike) -> Estimate:
    """The median distance; its interval has every value that a sign test, with patients as the units, would not reject.

    The test sums, for each patient, the distances beyond a value less those below it; under the null that the value is
    the median, the square of that sum estimates its variance, and the estimate needs no correction for few patients.

    Args:
        distances: As for `share_within`.
        patients: Whom each is of, ``(N,)``.

    Returns:
        Undefined without rows, or where half of the places or more are missing; without an interval for fewer than four
        patients. An upper end that falls among the missing ones is infinite.

    Raises:
        ValueError: As `share_within`.

    Source:
        Larocque, Nevalainen & Oja (2007), Biometrika 94(2), 267-283, with one dimension and equal weights. Where each
        patient has one distance it is the sign test in its normal approximation.
    """
    method = name_method("sign test by patient, inverted", LEVEL)
    far = _check_distances(distances)
    keys, codes = patient_codes(patients, rows=len(far))
    if len(far) == 0:
        return undefined(method, "no rows")
    value = float(np.quantile(far, 0.5, method="inverted_cdf"))
    if isinf(value):
        return undefined(method, "no location was given for half of them or more")
    if len(keys) < 4:  # who reject no value, even if all of theirs lie beyond it
        return without_interval(value, method, "only one patient" if len(keys) < 2 else "fewer than four patients")
    # As the value passes one distance after the other, the patient's sum rises by 2 each time.
    order = np.argsort(far, kind="stable")
    far, whose, sizes = far[order], codes[order], np.bincount(codes)
    turns = np.empty(len(far))
    turns[np.argsort(whose, kind="stable")] = turns_of(np.sort(whose))
    sums = np.r_[0, 2 * np.arange(1, len(far) + 1)] - float(len(far))
    squares = np.r_[0, np.cumsum(4 * (2 * turns - sizes[whose] + 1))] + float(np.sum(sizes**2))
    reach, differs = two_sided(LEVEL) * np.sqrt(squares), far[1:] > far[:-1]
    is_low = (sums >= -reach)[1:] & np.r_[differs, True]
    is_high = (sums <= reach)[:-1] & np.r_[True, differs]
    low, high = far[is_low.argmax()], far[len(far) - 1 - is_high[::-1].argmax()]
    return Estimate(value, float(low), float(high), method)


def mean_distance(distances: ArrayLike, patients: ArrayLike) -> Estimate:
    """The mean of the distances of the places that were named; interval as `clustered_mean`.

    Raises:
        ValueError: As `share_within`.
    """
    far = _check_distances(distances)
    named = np.isfinite(far)
    return clustered_mean(far[named], np.asarray(patients)[named])


def clustered_mean(values: ArrayLike, patients: ArrayLike) -> Estimate:
    """Mean of rows whose patients are independent: delete-one-patient jackknife, with Student's t for few patients.

    Its degrees of freedom are those of Kish's number of patients: of one who brings half of the rows, the linearised
    variance sees little, and its interval covers in 64%.

    Args:
        values: Finite, ``(N,)``; where none is below 0, neither is the interval.
        patients: Whom each is of, ``(N,)``.

    Returns:
        Undefined without rows; without an interval for one patient, or where all have the same mean.

    Raises:
        ValueError: If a value is not finite or the lengths differ.

    Source:
        Efron & Tibshirani (1993), An Introduction to the Bootstrap, ch. 11; Kish (1965), Survey Sampling, section 11.7.
    """
    method = name_method("mean, delete-one-patient jackknife, t", LEVEL)
    rows = check_scores(values, rows=np.size(values), name="values")
    keys, codes = patient_codes(patients, rows=len(rows))
    if len(rows) == 0:
        return undefined(method, "no rows")
    value, clusters, sizes = float(rows.mean()), len(keys), np.bincount(codes)
    if clusters < 2:
        return without_interval(value, method, "only one patient")
    left_out = (rows.sum() - sum_by_patient(rows, codes, patients=clusters)) / (len(rows) - sizes)
    error = float(np.sqrt((clusters - 1) * np.var(left_out)))
    if error < 1e-12:
        return without_interval(value, method, "no variability between patients")
    half = two_sided(LEVEL, max(1.0, kish(sizes) - 1)) * error
    return Estimate(value, value - half, value + half, method).within(0 if rows.min() >= 0 else -inf, inf)


def best_of(distances: ArrayLike, ranks: ArrayLike, patients: ArrayLike, *, most: int) -> tuple[Codes, Floats]:
    """For each patient the smallest distance among the `most` places that were named first.

    Args:
        distances: Of each place, ``(N,)``.
        ranks: Order of the places of a patient, the likeliest lowest, ``(N,)``.
        patients: Whom each is of, ``(N,)``.
        most: Places that count, at least 1.

    Returns:
        Patients, sorted, and their distances, each ``(P,)``.

    Raises:
        ValueError: As `share_within`, or if `most` is below 1.
    """
    if most < 1:
        raise ValueError(f"most must be at least 1, got {most}")
    far = _check_distances(distances)
    keys, codes = patient_codes(patients, rows=len(far))
    order = np.lexsort((np.asarray(ranks), codes))
    first = order[turns_of(codes) < most]
    best = np.full(len(keys), inf)
    np.minimum.at(best, codes[first], far[first])
    return keys, best


def lroc_area(
    labels: ArrayLike, scores: ArrayLike, located: ArrayLike, patients: ArrayLike, runs: ArrayLike | None = None
) -> Estimate:
    """Area under the localisation ROC curve: how often a positive is both placed rightly and scored above a negative.

    A positive whose place is wrong counts as scored below every negative. Guessing gives no fixed value: the area is
    at most the share of positives that are placed rightly, and half of it where scores are drawn at random.

    Args:
        labels: 0 or 1, ``(N,)``.
        scores: Finite, ``(N,)``.
        located: Whether the place is right, ``(N,)``; not looked at where the label is 0.
        patients: Whom each is of, ``(N,)``.
        runs: Which network gave each score, as `clustered_auroc` takes it.

    Raises:
        ValueError: As `clustered_auroc`.

    Source:
        Swensson (1996), Med Phys 23(10), 1709-1725; as a Mann-Whitney statistic: Popescu (2007), Med Phys 34(5),
        1556-1564.
    """
    truth = check_labels(labels)
    values = check_scores(scores, rows=len(truth))
    is_right = check_labels(located)
    floor = values.min(initial=0.0) - 1.0
    return clustered_auroc(truth, np.where(truth & ~is_right, floor, values), patients, runs)


def _check_distances(distances: ArrayLike) -> Floats:
    array = np.asarray(distances, dtype=np.float64)
    if array.ndim != 1 or np.isnan(array).any() or (array < 0).any():
        worst = nan if np.isnan(array).any() else float(array.min())
        raise ValueError(f"distances must be one-dimensional and 0 or more, got {worst}")
    return array
