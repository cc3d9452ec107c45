"""Is acting on the score better than acting on everyone or on no one: the decision curve."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from fistula.evidence.inputs import Floats, check_labels, check_probabilities
from fistula.evidence.rates.clustered import sum_of_rates


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit at each threshold probability, in true positives a row; acting on no one has 0 throughout."""

    model: Floats  # acting on the rows with ``score >= threshold``, ``(T,)``
    everyone: Floats  # acting on all rows, ``(T,)``
    # Ends of the model's 95% CI at each threshold, not of the whole curve; NaN where there is none, ``(T,)``.
    low: Floats
    high: Floats


def decision_curve(
    labels: ArrayLike,
    scores: ArrayLike,
    patients: ArrayLike | None = None,
    *,
    thresholds: ArrayLike,
    prevalence: float | None = None,
    prior: float | None = None,
) -> DecisionCurve:
    """Net benefit ``sensitivity × prevalence - (1 - specificity) × (1 - prevalence) × odds(threshold)``.

    A probability is one of a prevalence as well: at another, its odds are as many times higher or lower as those of
    the prevalence are (Bayes' theorem). Compared with a threshold as they stand, probabilities of a cohort in which the
    class is common would have too little net benefit where it is rare.

    Args:
        labels: 0 or 1, ``(N,)``.
        scores: Probabilities, ``(N,)``: calibrate them first.
        patients: Whom each row is of, ``(N,)``, for the intervals, which take the prevalence as known; left out, there
            are none.
        thresholds: In (0, 1), ``(T,)``.
        prevalence: Where the decision will be made; left out, that of the rows, which means little in a cohort
            chosen by class.
        prior: Prevalence where the scores are probabilities; left out, that of the rows. Where it is `prevalence`, they
            stay as they are.

    Returns:
        NaN throughout if a class is missing.

    Raises:
        ValueError: If a label is not 0 or 1, a score not in [0, 1], or a threshold or the prevalence not inside (0, 1).

    Source:
        Vickers & Elkin (2006), Medical Decision Making 26(6), 565-574; change of prevalence: Saerens, Latinne &
        Decaestecker (2002), Neural Computation 14(1), 21-41. Intervals: as `sum_of_rates`.
    """
    truth = check_labels(labels)
    values = check_probabilities(scores, rows=len(truth))
    limits = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
    wrong = ~((limits > 0) & (limits < 1))
    if wrong.any():
        raise ValueError(f"thresholds must be inside (0, 1), got {limits[wrong][0]}")
    for name, given in (("prevalence", prevalence), ("prior", prior)):
        if given is not None and not 0 < given < 1:
            raise ValueError(f"{name} must be inside (0, 1), got {given}")
    nothing = np.full(len(limits), np.nan)
    if truth.all() or not truth.any():
        return DecisionCurve(nothing, nothing, nothing, nothing)
    share = float(truth.mean()) if prevalence is None else prevalence
    odds = limits / (1 - limits)
    before = float(truth.mean()) if prior is None else prior
    if share != before:
        values = expit(logit(values) + logit(share) - logit(before))
    called, lost = values[:, None] >= limits, (1 - share) * odds
    benefit = called[truth].mean(axis=0) * share - called[~truth].mean(axis=0) * lost
    if patients is None:
        return DecisionCurve(benefit, share - lost, nothing, nothing)
    found = [sum_of_rates(truth, one, patients, (share, cost)) for one, cost in zip(called.T, lost, strict=True)]
    ends = (np.array([getattr(one, end) for one in found]) - lost for end in ("low", "high"))
    return DecisionCurve(benefit, share - lost, *ends)
