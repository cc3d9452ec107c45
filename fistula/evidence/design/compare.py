"""Two models on the same rows: is the difference more than chance?"""

from dataclasses import dataclass, replace
from math import isnan, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, stdtr
from scipy.stats import binomtest

from fistula.evidence.estimate import Estimate, name_method, undefined, without_interval
from fistula.evidence.inputs import Bools, Floats, check_labels, patient_codes, sum_by_patient
from fistula.evidence.ranking.placements import Placements, kish, place
from fistula.evidence.rates.counts import score_interval, two_sided


@dataclass(frozen=True)
class Comparison:
    """The difference of two models and the test of whether it is 0."""

    difference: Estimate  # first less second, with its interval; its reason also tells why a test is missing
    statistic: float = nan  # z, t or chi-square, as the method says; NaN where undefined
    p_value: float = nan  # two-sided; NaN where undefined
    standard_error: float = nan  # of the difference; NaN where undefined
    degrees: float = nan  # of freedom of a t statistic; NaN for others
    # Patients of the rarer class, where the greatest possible variance stands in for none; else NaN.
    trials: float = nan

    def at(self, alpha: float) -> "Comparison":
        """The same with the interval of level ``1 - alpha``; itself where there is no interval or no level."""
        if isnan(alpha) or (isnan(self.degrees) and isnan(self.trials)) or not self.difference.has_interval:
            return self
        value, name = self.difference.value, self.difference.method.rpartition(", ")[0]
        method = name_method(name, round(1 - alpha, 6))
        if not isnan(self.trials):
            return replace(self, difference=_widest(value, self.trials, method, 1 - alpha))
        half = two_sided(1 - alpha, self.degrees) * self.standard_error
        return replace(self, difference=Estimate(value, value - half, value + half, method).within(-1, 1))


def clustered_auroc_test(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    patients: ArrayLike,
    runs: ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> Comparison:
    """Difference of two AUROCs within runs, with patients as the units.

    The spread of the difference as each patient is left out in turn, with Student's t at `Placements.degrees`. Where
    that is 0 though the AUROCs differ, as those of a perfect and a constant model do, the difference has the greatest
    variance that it can have: brought from its range to [0, 1] it is a mean over pairs of numbers there, and has
    Wilson's score test and interval with as many trials as the rarer class has patients (Kish's number). From a
    constant model, which has every pair half right, no difference reaches beyond 1/2.

    Args:
        labels: 0 or 1, ``(N,)``.
        first: Finite scores, ``(N,)``.
        second: Finite scores of the same rows, ``(N,)``.
        patients: Whom each row is of, ``(N,)``.
        runs: Which pair of networks scored each row, ``(N,)``; left out, one did all.
        level: Of the interval.

    Returns:
        t as statistic, or z; without a test where both models rank alike, or one patient alone has a class.

    Raises:
        ValueError: If a label is not 0 or 1, a score is not finite, or the lengths differ.

    Source:
        Jackknife: Efron & Tibshirani (1993), An Introduction to the Bootstrap, ch. 11. Greatest variance: Hoeffding
        (1963), J Am Stat Assoc 58(301), 13-30, section 5.
    """
    return auroc_test(place(labels, _columns(first, second), patients, runs), level)


def auroc_test(placements: Placements, level: float = 0.95) -> Comparison:
    """As `clustered_auroc_test`, of two models that were placed: by `place`, or by `place_classes` for macro AUROCs."""
    value, error, degrees = placements.contrast([1.0, -1.0])
    over = ", mean over classes" if placements.classes else ""
    if error == 0 and value != 0:
        trials = min(placements.effective)
        name = name_method(f"paired AUROCs within runs{over}, greatest variance, Wilson", level)
        error = _reach(value) / sqrt(trials)
        p_value = float(2 * ndtr(-abs(value) / error))
        return Comparison(_widest(value, trials, name, level), value / error, p_value, error, trials=trials)
    name = name_method(f"paired AUROCs within runs{over}, delete-one-patient jackknife, t", level)
    return wald(value, error, degrees, name=name, reason=placements.reason, level=level)


def mcnemar(first: ArrayLike, second: ArrayLike) -> Comparison:
    """Difference of two shares of right decisions on the same independent rows, with McNemar's exact test.

    For sensitivity give the positive rows, for specificity the negative ones.

    Args:
        first: Whether the first model is right, 0 or 1, ``(N,)``.
        second: Likewise, of the second.

    Returns:
        The number of rows where only the first is right as statistic; p is 1 where the models never differ. The
        difference has no interval of its own: take it from `clustered_mcnemar`.

    Raises:
        ValueError: If a value is not 0 or 1, or the lengths differ.

    Source:
        Fagerland, Lydersen & Laake (2013), BMC Med Res Methodol 13:91.
    """
    right, other = _decisions(first, second)
    name = "McNemar's test, exact"
    if len(right) == 0:
        return Comparison(undefined(name, "no rows"))
    only_first, only_second = int((right & ~other).sum()), int((~right & other).sum())
    discordant = only_first + only_second
    p_value = float(binomtest(only_first, discordant).pvalue) if discordant else 1.0
    difference = (only_first - only_second) / len(right)
    error = sqrt(discordant - (only_first - only_second) ** 2 / len(right)) / len(right)
    reason = "McNemar's test gives no interval"
    return Comparison(without_interval(difference, name, reason), float(only_first), p_value, error)


def clustered_mcnemar(first: ArrayLike, second: ArrayLike, patients: ArrayLike, level: float = 0.95) -> Comparison:
    """Difference of two shares of right decisions on the same slices, with patients as the units.

    The spread of the difference as each patient is left out in turn, with Student's t at Kish's number of patients less
    one: test and interval are one, and with one slice a patient they are McNemar's but for few patients.

    Args:
        first: Whether the first model is right, 0 or 1, ``(N,)``.
        second: Likewise, of the second.
        patients: Whom each row is of, ``(N,)``.
        level: Of the interval.

    Returns:
        t as statistic; without a test where no patient's models differ.

    Raises:
        ValueError: If a value is not 0 or 1, or the lengths differ.

    Source:
        Obuchowski (1998), Stat Med 17(13), 1495-1507, whose variance this is but for few patients; Kish (1965).
    """
    right, other = _decisions(first, second)
    name = name_method("paired rates, delete-one-patient jackknife, t", level)
    keys, codes = patient_codes(patients, rows=len(right))
    excess = sum_by_patient(right.astype(np.float64) - other, codes, patients=len(keys))
    sizes, clusters = np.bincount(codes, minlength=len(keys)), len(keys)
    if clusters == 0:
        return Comparison(undefined(name, "no rows"))
    value = float(excess.sum() / sizes.sum())
    if clusters < 2:
        return Comparison(without_interval(value, name, "only one patient"))
    if not excess.any():
        return Comparison(without_interval(value, name, "the models do not differ in any patient"))
    left_out = (excess.sum() - excess) / (sizes.sum() - sizes)
    error = sqrt((clusters - 1) / clusters * np.sum((left_out - left_out.mean()) ** 2))
    degrees = max(1.0, kish(sizes) - 1)
    return wald(value, error if error > 1e-12 else 0.0, degrees, name=name, reason="", level=level)


def _columns(first: ArrayLike, second: ArrayLike) -> Floats:
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != two.shape or one.ndim != 1:
        raise ValueError(f"the two models must score the same rows, got shapes {one.shape} and {two.shape}")
    return np.stack([one, two], axis=1)


def _decisions(first: ArrayLike, second: ArrayLike) -> tuple[Bools, Bools]:
    right, other = check_labels(first), check_labels(second)
    if len(right) != len(other):
        raise ValueError(f"the two models must decide on the same rows, got {len(right)} and {len(other)}")
    return right, other


def _reach(value: float) -> float:
    """How far a difference of AUROCs that no patient moves can lie from 0; one of 1/2 is from a constant model."""
    return 0.5 if abs(value) == 0.5 else 1.0


def _widest(value: float, trials: float, name: str, level: float) -> Estimate:
    """A difference with Wilson's interval of the share that lies as far between 0 and 1 as it lies in its range."""
    reach = _reach(value)
    ends = score_interval((1 + value / reach) / 2, trials=trials, quantile=two_sided(level))
    return Estimate(value, reach * (2 * ends[0] - 1), reach * (2 * ends[1] - 1), name)


def wald(value: float, error: float, degrees: float, *, name: str, reason: str, level: float) -> Comparison:
    """The interval and test of a difference: normal, or Student's t where there are degrees of freedom."""
    if isnan(value):
        return Comparison(undefined(name, reason))
    if isnan(error) or error == 0:
        return Comparison(without_interval(value, name, reason or "the difference does not vary"), standard_error=error)
    statistic = value / error
    p_value = 2 * float(ndtr(-abs(statistic)) if isnan(degrees) else stdtr(degrees, -abs(statistic)))
    quantile = two_sided(level, degrees)
    difference = Estimate(value, value - quantile * error, value + quantile * error, name).within(-1, 1)
    return Comparison(difference, statistic, p_value, error, degrees)
