"""What a decision says of one patient: likelihood ratios, and predictive values at a stated prevalence."""

from math import exp, inf, log, sqrt

import numpy as np
from scipy.special import expit

from fistula.evidence.estimate import Estimate, name_method, undefined
from fistula.evidence.rates.counts import Confusion, two_sided, wilson


def likelihood_ratios(counts: Confusion, level: float = 0.95) -> tuple[Estimate, Estimate]:
    """The positive and the negative likelihood ratio, with intervals on the log scale.

    That scale has no end for a ratio of 0 or infinity, and takes a rate of 1 as known (with a sensitivity of 10 of 10,
    it covers in as little as 86%): where a cell is empty, the interval is made of Wilson's of the two rates. A ratio of
    infinity has a lower end alone; 0/0 is undefined.

    Source:
        Simel, Samsa & Matchar (1991), J Clin Epidemiol 44(8), 763-770; of two intervals (MOVER-R): Newcombe (2016),
        Stat Methods Med Res 25(5), 1774-1778.
    """
    positives, negatives = float(counts.tp + counts.fn), float(counts.fp + counts.tn)
    method = name_method("log method (Simel 1991), of Wilson's intervals where a cell is empty", level)
    if positives == 0 or negatives == 0:
        reason = "no positives" if positives == 0 else "no negatives"
        return undefined(method, reason), undefined(method, reason)

    def ratio(above: float, below: float, call: str, right: str) -> Estimate:
        if above == 0 and below == 0:
            return undefined(method, f"no {call} calls")
        first, second = wilson(above, positives, level), wilson(below, negatives, level)
        value = first.value / second.value if below else inf
        if not (counts.tp and counts.fp and counts.tn and counts.fn):
            both = first.value * second.value
            least, last = first.low * (2 * first.value - first.low), second.high * (2 * second.value - second.high)
            most, start = first.high * (2 * first.value - first.high), second.low * (2 * second.value - second.low)
            low = least / (both + sqrt(both**2 - least * last)) if above else 0.0
            high = (both + sqrt(both**2 - most * start)) / start if below else inf
            return Estimate(value, low, high, method, "" if below else f"no {right} {call}s")
        half = two_sided(level) * sqrt(1 / above - 1 / positives + 1 / below - 1 / negatives)
        return Estimate(value, value * exp(-half), value * exp(half), method)

    return (
        ratio(float(counts.tp), float(counts.fp), "positive", "false"),
        ratio(float(counts.fn), float(counts.tn), "negative", "true"),
    )


def predictive_values(counts: Confusion, *, prevalence: float, level: float = 0.95) -> tuple[Estimate, Estimate]:
    """Positive and negative predictive value at a stated prevalence, with intervals on the logit scale.

    The prevalence of a cohort chosen by class says nothing of the clinic's: state it. It is taken as known.

    Args:
        counts: One table, not arrays.
        prevalence: In (0, 1).
        level: Of the intervals.

    Raises:
        ValueError: If the prevalence is not in (0, 1).

    Source:
        Mercaldo, Lau & Zhou (2007), Stat Med 26(10), 2170-2183, standard logit interval; where a cell is
        empty, from the limits of the likelihood ratio.
    """
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence must be inside (0, 1), got {prevalence}")
    odds = log(prevalence / (1 - prevalence))
    positive, negative = likelihood_ratios(counts, level)

    def value(ratio: Estimate, sign: int) -> Estimate:
        method = name_method(f"logit method at prevalence {prevalence:g} (Mercaldo 2007)", level)
        if not ratio.is_defined:
            return undefined(method, ratio.reason)
        # Bayes: posterior odds = prior odds × likelihood ratio; a negative predictive value counts the other way.
        with np.errstate(divide="ignore"):
            chance, *ends = (float(expit(sign * (odds + np.log(end)))) for end in (ratio.value, ratio.low, ratio.high))
        return Estimate(chance, min(ends), max(ends), method)

    return value(positive, 1), value(negative, -1)
