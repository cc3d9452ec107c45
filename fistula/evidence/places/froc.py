"""The free-response ROC curve: findings marked, at the price of false marks a patient."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fistula.evidence.estimate import LEVEL, Estimate, name_method, undefined, without_interval
from fistula.evidence.inputs import Bools, Codes, Floats, sum_by_patient
from fistula.evidence.rates.clustered import clustered_rate
from fistula.evidence.resample import percentile_interval

RESAMPLED = 400  # thresholds at which resampled patients are looked at, evenly among all


@dataclass(frozen=True)
class Froc:
    """A free-response ROC curve."""

    false_marks: Floats  # per patient, rising, ``(T,)``
    sensitivity: Floats  # share of findings that are marked, ``(T,)``
    # Sensitivity, with its interval, at some rates of false marks a patient; without an interval where no resampled
    # patients give another.
    at: dict[float, Estimate]


def froc(
    findings: ArrayLike,
    of_findings: ArrayLike,
    false_marks: ArrayLike,
    of_false_marks: ArrayLike,
    patients: ArrayLike,
    *,
    rates: tuple[float, ...] = (0.5, 1.0, 2.0),
    resamples: int = 2000,
) -> Froc:
    """How many findings are marked at the price of how many false marks a patient.

    Args:
        findings: For each finding the highest score of a mark on it, ``(F,)``; minus infinity where none is.
        of_findings: Whose each is, ``(F,)``.
        false_marks: Scores of the marks that are on no finding, ``(M,)``.
        of_false_marks: Whose each is, ``(M,)``.
        patients: All of them, each once, with or without findings and marks, ``(P,)``.
        rates: False marks a patient at which the sensitivity is wanted: the highest that costs no more.
        resamples: Of the patients, for the intervals: each end is the wider one of percentiles, which know that the
            threshold varies, and of the interval of a share at this threshold, which holds for few patients.

    Raises:
        ValueError: If a patient is not among `patients`, or one is there twice.

    Source:
        Bunch et al. (1978), J Appl Photogr Eng 4(4), 166-171; patients resampled whole: Samuelson & Petrick (2006),
        Proc ISBI, 1312-1315.
    """
    everyone, counts = np.unique(np.asarray(patients), return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"patients must stand there once, got {everyone[counts > 1][0]} twice")
    hits, wrong = np.asarray(findings, dtype=np.float64), np.asarray(false_marks, dtype=np.float64)
    whose_hit, whose_wrong = _numbers(of_findings, everyone), _numbers(of_false_marks, everyone)
    method = name_method(f"the wider of bootstrap of patients, {resamples} resamples, seed 0, and of the share", LEVEL)
    if len(hits) == 0:
        empty = np.zeros(0)
        return Froc(empty, empty, {rate: undefined(method, "no findings") for rate in rates})
    thresholds = np.unique(np.concatenate([hits[np.isfinite(hits)], wrong]))[::-1]
    sensitivity = np.concatenate([[0.0], _at_least(hits, thresholds) / len(hits)])
    per_patient = np.concatenate([[0.0], _at_least(wrong, thresholds) / len(everyone)])
    few = thresholds[np.unique(np.linspace(0, max(0, len(thresholds) - 1), RESAMPLED).astype(int))[: len(thresholds)]]
    found = sum_by_patient((hits[:, None] >= few).astype(np.float64), whose_hit, patients=len(everyone))
    costs = sum_by_patient((wrong[:, None] >= few).astype(np.float64), whose_wrong, patients=len(everyone))
    draws = np.random.default_rng(0).multinomial(len(everyone), np.full(len(everyone), 1 / len(everyone)), resamples)
    weight = draws @ np.bincount(whose_hit, minlength=len(everyone))
    usable = weight > 0
    drawn = np.pad((draws @ found)[usable] / weight[usable, None], ((0, 0), (1, 0)))
    price = np.pad((draws @ costs)[usable] / len(everyone), ((0, 0), (1, 0)))
    at = {}
    for rate in rates:
        last = int(np.flatnonzero(per_patient <= rate + 1e-12)[-1])
        share = clustered_rate(hits >= thresholds[last - 1] if last else hits == np.inf, whose_hit)
        if len(np.unique(whose_hit)) < 2:
            at[rate] = without_interval(share.value, method, "only one patient has findings")
            continue
        low, high = percentile_interval(np.where(price <= rate + 1e-12, drawn, 0.0).max(axis=1), level=LEVEL)
        at[rate] = Estimate(share.value, min(low, share.low), max(high, share.high), method)
    return Froc(per_patient, sensitivity, at)


def _at_least(scores: Floats, thresholds: Floats) -> Codes:
    """How many scores reach each threshold."""
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")


def _numbers(keys: ArrayLike, everyone: np.ndarray) -> Codes:
    wanted = np.asarray(keys)
    if not len(wanted):
        return np.zeros(0, np.intp)
    places = np.searchsorted(everyone, wanted).clip(max=max(0, len(everyone) - 1))
    is_known: Bools = everyone[places] == wanted if len(everyone) else np.zeros(len(wanted), bool)
    if not is_known.all():
        raise ValueError(f"{wanted[~is_known][0]} is not among the patients")
    return places.astype(np.intp)
