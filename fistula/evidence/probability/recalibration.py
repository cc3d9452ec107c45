"""What a few patients of another hospital would mend: recalibration on k of them, judged on the others."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit, stdtrit

from fistula.evidence.estimate import LEVEL, Estimate, name_method, without_interval
from fistula.evidence.inputs import Bools, Codes, Floats, check_labels, check_probabilities, logits_of, patient_codes
from fistula.evidence.probability.calibration import fit_platt

SIZES = (10, 20, 50, 100, 200)
REPEATS = 100
LEAST = 4  # patients of a class


@dataclass(frozen=True)
class Recalibrated:
    """Means over repeated draws of k patients, always of those who were not drawn."""

    patients: int  # drawn, k
    repeats: int  # draws
    before: float  # Brier score of the probabilities as they are
    intercept: float  # after their level alone was moved
    line: float  # after level and slope were fitted
    gap_before: float  # mean over the draws of the distance of the mean probability from the observed share
    gap_intercept: float  # the same after the level was moved
    gap_line: float  # the same after both were fitted
    # Brier score after the level was moved less that before, in patients to come, with its interval over who was drawn
    # and who was judged; below 0 is better.
    intercept_change: Estimate
    line_change: Estimate  # the same after both were fitted


def recalibrations(
    labels: ArrayLike, probabilities: ArrayLike, patients: ArrayLike, *, repeats: int = REPEATS
) -> list[Recalibrated]:
    """Recalibrate on k patients drawn by lot, and judge on the others, for each k of `SIZES` that leaves as many.

    As with patients to come, the drawn may be of one class more than the others are: drawn by class, they would have
    the others' share to the patient, and moving the level would seem to mend what it cannot.

    Ranking does not change: the AUROC stays what it is.

    Args:
        labels: 0 or 1, ``(N,)``.
        probabilities: In [0, 1], ``(N,)``.
        patients: Whom each row is of, ``(N,)``; a patient with a positive row counts as positive.
        repeats: Draws of each size.

    Returns:
        Empty where a class has fewer than `LEAST` patients.

    Raises:
        ValueError: If a label is not 0 or 1, a probability not in [0, 1], or the lengths differ.

    Source:
        Janssen et al. (2008), J Clin Epidemiol 61(1), 76-86, on updating the intercept, or intercept and slope. Of
        the intervals: `_change`.
    """
    truth = check_labels(labels)
    values = check_probabilities(probabilities, rows=len(truth))
    keys, codes = patient_codes(patients, rows=len(truth))
    of_patient = np.bincount(codes, weights=truth, minlength=len(keys)) > 0
    if min(of_patient.sum(), (~of_patient).sum()) < LEAST:
        return []
    found = []
    for size in (size for size in SIZES if 2 * size <= len(keys)):
        random = np.random.default_rng((0, size))
        draws = _draws(random, len(keys), size, repeats)
        losses, gaps = zip(*(_judge(truth, values, codes, chosen) for chosen in draws), strict=True)
        squares = np.array(losses)  # draws, ways, patients
        rows = np.bincount(codes)
        means = squares.sum(axis=2) / (~draws @ rows)[:, None]
        changes = [_change(squares[:, way] - squares[:, 0], draws, rows) for way in (1, 2)]
        numbers = [*means.mean(axis=0).tolist(), *np.mean(gaps, axis=0).tolist()]
        found.append(Recalibrated(size, repeats, *numbers, *changes))
    return found


def move_level(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """What to add to every logit so that the mean probability is the observed share.

    The share is drawn in by half a row of each class, so that it can be had where one class is missing.
    """
    truth = check_labels(labels)
    scale = logits_of(check_probabilities(probabilities, rows=len(truth)))
    share = (truth.sum() + 0.5) / (len(truth) + 1)
    return float(brentq(lambda level: float(expit(scale + level).mean()) - share, -40, 40))


def _draws(random: np.random.Generator, patients: int, size: int, repeats: int) -> Bools:
    """Who is drawn ``(repeats, patients)``: each by lot, nobody again before all that fit had a turn."""
    chosen = np.zeros((repeats, patients), bool)
    groups, order = patients // size, np.empty(0, np.intp)
    for number in range(repeats):
        place = number % groups
        order = order if place else random.permutation(patients)
        chosen[number, order[place * size : (place + 1) * size]] = True
    return chosen


def _judge(truth: Bools, values: Floats, codes: Codes, chosen: Bools) -> tuple[Floats, list[float]]:
    """Squared errors before, levelled and lined, summed by patient (0 of those drawn), and how far each mean is off."""
    fitted = chosen[codes]
    own, others, judged = truth[fitted], values[~fitted], truth[~fitted]
    levelled = expit(logits_of(others) + move_level(own, values[fitted]))
    # Of one class alone no slope can be fitted.
    both = own.any() and not own.all()
    lined = fit_platt(own, values[fitted]).apply(others) if both else levelled
    told = (others, levelled, lined)
    squares = [np.bincount(codes[~fitted], (one - judged) ** 2, minlength=len(chosen)) for one in told]
    return np.array(squares), [abs(float(one.mean() - judged.mean())) for one in told]


def _change(differences: Floats, draws: Bools, rows: Codes) -> Estimate:
    """Mean change over the draws, with an interval over patients.

    A patient moves it twice: when judged, and when drawn to be fitted on. The second part is how the change in the
    others differs between the draws with and without this patient, less what so few draws scatter by themselves: the
    infinitesimal jackknife of subsampled estimators. It errs upwards where k is a large part of the patients.
    Differences are sums over a patient's rows, ``(draws, patients)``, 0 where the patient was drawn; `draws` say who
    was drawn, likewise; `rows` count those of each patient.

    Source:
        Wager, Hastie & Efron (2014), J Mach Learn Res 15, 1625-1651, equations 5 and 7.
    """
    number, size, repeats = len(rows), int(draws[0].sum()), len(draws)
    judged = ~draws
    sums, counts = differences.sum(axis=1), judged @ rows
    value = float((sums / counts).mean())
    method = name_method("infinitesimal jackknife", LEVEL)
    with_each, times = draws.sum(axis=0), judged.sum(axis=0)
    if not times.all():
        return without_interval(value, method, "one patient was drawn every time")
    when_judged = (differences.sum(axis=0) / times - value * rows) / rows.sum()
    # Of the patients other than the one looked at: who was not judged oneself counts as neither gain nor loss.
    others = (sums[:, None] - differences) / (counts[:, None] - judged * rows)
    inside, outside = ((others * who).sum(axis=0) / np.maximum(who.sum(axis=0), 1) for who in (draws, judged))
    # Of very many patients some are never drawn; each would have moved it by little.
    apart = np.where(with_each > 0, size / number * (inside - outside), 0.0)
    apart[with_each > 0] -= apart[with_each > 0].mean()
    of_draws = float((sums / counts).var(ddof=1)) / repeats
    scatter = size / (1 - size / number) * of_draws
    variance = float(((when_judged + apart) ** 2).sum()) * number / (number - 1)
    variance = max(variance - scatter, float((when_judged**2).sum()) * number / (number - 1))
    reach = float(stdtrit(number - 1, (1 + LEVEL) / 2)) * (variance + of_draws) ** 0.5
    return Estimate(value, value - reach, value + reach, method)
