"""Further statistics with intervals from patients left out in turn, as weights, all at once."""

from collections.abc import Sequence
from math import isnan

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from fistula.evidence.estimate import LEVEL, Estimate, name_method, undefined, without_interval
from fistula.evidence.ranking.placements import kish
from fistula.evidence.rates.counts import two_sided
from fistula.evidence.weighted import NEEDS, STATISTICS, gather

SPANS = {"matthews": (-1.0, 1.0)}  # between which a statistic lies, if not between 0 and 1
_GROUPS = 300  # of a class; where it has more patients, several are left out together


def patient_jackknife(
    labels: ArrayLike,
    scores: ArrayLike,
    patients: ArrayLike,
    runs: ArrayLike | None = None,
    *,
    threshold: float | None,
    statistics: Sequence[str],
    level: float = LEVEL,
) -> dict[str, Estimate]:
    """Statistics of one model, with intervals from the logit as each patient is left out in turn within the class.

    Of few patients, percentiles of resamples cover too seldom: resampled patients are told apart better than new ones
    (benchmarks/coverage.py). Student's t has Kish's number of patients less one as degrees of freedom.

    Args:
        labels: 0 or 1, ``(N,)``.
        scores: Finite, ``(N,)``.
        patients: Whom each row is of, ``(N,)``.
        runs: Which network scored each row, ``(N,)``: rows are ranked within a run only; left out, one did all.
        threshold: A row is called positive if ``score >= threshold``; None if no statistic needs one.
        statistics: Names from `weighted.STATISTICS`.
        level: Of the interval.

    Returns:
        An estimate for each statistic. No interval, with the reason, where only one patient has a class that the
        statistic needs, where no patient moves it, or where it is undefined without some.

    Raises:
        ValueError: On an unknown statistic, a missing threshold, or what `weighted.gather` refuses.

    Source:
        Jackknife by stratum: Shao & Tu (1995), The Jackknife and Bootstrap, ch. 6; of groups: Kott (2001), J Off
        Stat 17(4), 521-526; logit scale for average precision: Boyd, Eng & Page (2013), ECML PKDD, 451-466.
    """
    rows = gather(labels, scores, patients, runs, threshold=threshold, statistics=statistics)
    method = name_method("delete-one-patient jackknife by class, logit scale, t", level)
    groups = np.empty(len(rows.strata), np.intp)
    for stratum in np.unique(rows.strata):
        members = np.flatnonzero(rows.strata == stratum)
        groups[members] = stratum * _GROUPS + np.arange(len(members)) % _GROUPS
    left_out = np.unique(groups)
    weights = (groups != left_out[:, None]).astype(np.float64)
    estimates = {}
    for name in statistics:
        value = float(STATISTICS[name](rows, np.ones((1, len(groups))))[0])
        if isnan(value):
            estimates[name] = undefined(method, rows.why_undefined(name))
            continue
        values = STATISTICS[name](rows, weights)
        floor, top = SPANS.get(name, (0.0, 1.0))
        shares = (np.r_[value, values] - floor) / (top - floor)
        # A value without one patient that is at an end counts as halfway there, or closer where patients are many.
        near = min((one for one in (shares[0] / 2, (1 - shares[0]) / 2) if one > 0), default=0.25)
        half = min(near, 1 / (2 * len(groups)))
        logits = logit(np.clip(shares, half, 1 - half))
        variance = 0.0
        for stratum in np.unique(left_out // _GROUPS):
            own = logits[1:][left_out // _GROUPS == stratum]
            # One patient alone with slices of both classes, say, has no others to differ from.
            away = own - (own.mean() if len(own) > 1 else logits[0])
            variance += max(len(own) - 1, 1) / len(own) * float(away @ away)
        reason = rows.lacking(NEEDS.get(name, "both"))
        reason = reason or ("undefined without some of the patients" if np.isnan(values).any() else "")
        if reason or variance < 1e-24:
            estimates[name] = without_interval(value, method, reason or "no variability between patients")
            continue
        reach = two_sided(level, max(1.0, kish(np.bincount(rows.codes)) - 1)) * variance**0.5
        low, high = (floor + (top - floor) * float(expit(logits[0] + side)) for side in (-reach, reach))
        estimates[name] = Estimate(value, low, high, method)
    return estimates
