"""How many patients a study needs: simulated with the estimators that will analyse it."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log, sqrt

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from fistula.evidence.design.compare import clustered_auroc_test
from fistula.evidence.estimate import Estimate
from fistula.evidence.inputs import Bools, Codes, Floats
from fistula.evidence.ranking.area import clustered_auroc
from fistula.evidence.rates.clustered import clustered_rate

MOST = 20_000  # patients; no study of images asks for more
AROUND = (0.5, 0.75, 1.25, 1.5)
NEAR = (0.8, 0.9, 1.0, 1.1, 1.2)  # of the number that seems to suffice: sizes through which a line is laid
Lines = tuple[Callable[[float], float], Callable[[float], float]]  # of `_smallest`
FIRST, LAST = 300, 5000  # replicates of a size while the number is looked for, and of all sizes of the line


@dataclass(frozen=True)
class Scenario:
    """What is assumed of the patients to come.

    Scores are those of a binormal model with equal variances: normal in each class, slices of a patient alike.
    """

    auroc: float  # of the model, in (0, 1)
    # Share of the patients who are positive, in (0, 1); all slices of a patient have the patient's class.
    prevalence: float
    slices: float = 1.0  # mean number of slices a patient, at least 1; 1 where patients are scored
    variation: float = 0.0  # coefficient of variation of the number of slices, at least 0
    correlation: float = 0.0  # of the scores of two slices of a patient, given the class, in [0, 1)
    other: float | None = None  # AUROC of the model that it is compared with, in (0.5, 1), or None
    agreement: float = 0.5  # correlation of the two models' scores, given the class, in [0, 1)
    folds: int = 1  # networks that test the patients between them, at least 1; patients are compared within one alone

    def draw(self, random: np.random.Generator, patients: int) -> tuple[Bools, Floats, Codes]:
        """One cohort: labels ``(N,)``, scores ``(N, 1)`` or ``(N, 2)``, and whose each slice is, ``(N,)``."""
        positives = min(max(2, round(patients * self.prevalence)), patients - 2)
        sizes = self._sizes(random, patients)
        codes = np.repeat(np.arange(patients), sizes)
        labels = codes < positives
        aurocs = [self.auroc] if self.other is None else [self.auroc, self.other]
        own = self._alike(random, patients, len(aurocs))[codes]
        rest = self._alike(random, len(codes), len(aurocs))
        noise = sqrt(self.correlation) * own + sqrt(1 - self.correlation) * rest
        return labels, noise + labels[:, None] * (sqrt(2) * ndtri(np.array(aurocs))), codes

    def _sizes(self, random: np.random.Generator, patients: int) -> Codes:
        if self.variation == 0 or self.slices == 1:
            few, rest = int(self.slices), self.slices % 1
            return few + (random.random(patients) < rest).astype(np.intp) if rest else np.full(patients, few)
        # Gamma-distributed around the mean: one parameter for any spread.
        shape = 1 / self.variation**2
        return np.maximum(1, np.rint(random.gamma(shape, self.slices / shape, patients))).astype(np.intp)

    def _alike(self, random: np.random.Generator, number: int, models: int) -> Floats:
        shared, own = random.normal(size=(number, 1)), random.normal(size=(number, models))
        return sqrt(self.agreement) * shared + sqrt(1 - self.agreement) * own


@dataclass(frozen=True)
class Answer:
    """How many patients are needed."""

    patients: int | None  # in all; None where `MOST` do not suffice
    positives: int  # of them
    reached: float  # half-width or power at that number, from `LAST` replicates near it, or exact
    error: float  # Monte Carlo standard error of it; 0 where it is exact
    around: dict[int, float]  # from half to one and a half times as many patients, with what each gives


def patients_for_width(scenario: Scenario, half_width: float, *, seed: int = 0) -> Answer:
    """Patients whose AUROC has a 95% CI of this half-width, on average. The half-width lies in (0, 0.5)."""

    def width(labels: Bools, scores: Floats, patients: Codes) -> float:
        return _half(clustered_auroc(labels, scores[:, 0], patients, patients % scenario.folds))

    return _smallest(scenario, width, target=half_width, lines=_WIDTHS, seed=seed)


def patients_for_rate(
    scenario: Scenario, rate: float, *, positive: bool, target: float, lower: float | None = None, seed: int = 0
) -> Answer:
    """Patients whose sensitivity or specificity, at a threshold chosen beforehand, has the 95% CI that is wanted.

    Args:
        scenario: What is assumed; the AUROC does not count.
        rate: The true sensitivity, or specificity, of slices, in (0, 1).
        positive: Whether it is the sensitivity.
        target: Mean half-width of the interval; where there is a `lower`, the chance that its lower end exceeds it.
        lower: In (0, rate), or None.
        seed: Of the simulation.
    """
    away = sqrt(2) * float(ndtri(scenario.auroc))

    def interval(labels: Bools, scores: Floats, patients: Codes) -> Estimate:
        right = scores[:, 0] - away * labels < ndtri(rate)
        return clustered_rate(right[labels == positive], patients[labels == positive])

    if lower is None:
        return _smallest(scenario, lambda *rows: _half(interval(*rows)), target=target, lines=_WIDTHS, seed=seed)
    if scenario.slices == 1:
        return _exact(scenario, rate, lower, positive=positive, target=target)
    lines = _powers(0.05)
    return _smallest(scenario, lambda *rows: float(interval(*rows).low > lower), target=target, lines=lines, seed=seed)


def _exact(scenario: Scenario, rate: float, lower: float, *, positive: bool, target: float) -> Answer:
    """Patients with one decision each, by the binomial distribution.

    A power rises with the patients in steps that fall in between: the number is the first after the last that is short.
    """
    share = scenario.prevalence if positive else 1 - scenario.prevalence
    number = np.arange(1, ceil(MOST * AROUND[-1]) + 1)
    # Wilson's lower limit exceeds `lower` where the score test rejects it.
    most = np.floor(number * lower + ndtri(0.975) * np.sqrt(number * lower * (1 - lower)))
    powers = binom.sf(most, number, rate)
    needed = int(number[powers < target].max(initial=0)) + 1
    patients = ceil(needed / share)
    if patients > MOST:
        return Answer(None, 0, float(powers[-1]), 0.0, {})
    around = {of: float(powers[max(1, round(of * share)) - 1]) for of in (ceil(patients * part) for part in AROUND)}
    around[patients] = float(powers[needed - 1])
    positives = needed if positive else patients - needed
    return Answer(patients, positives, around[patients], 0.0, dict(sorted(around.items())))


def _half(interval: Estimate) -> float:
    """Half of its width; where there is none, as wide as an interval can be."""
    return (interval.high - interval.low) / 2 if interval.has_interval else 0.5


# A width falls as 1 / sqrt(patients).
_WIDTHS: Lines = (lambda value: 1 / value**2, lambda height: 1 / sqrt(height))


def _powers(alpha: float) -> Lines:
    """The distance of a power's normal quantile from the test's rises as sqrt(patients)."""
    critical = float(ndtri(1 - alpha / 2))
    return (
        lambda value: max(float(ndtri(min(value, 1 - 1e-3))) + critical, 0.05) ** 2,
        lambda height: float(ndtr(sqrt(height) - critical)),
    )


def patients_for_difference(
    scenario: Scenario, *, power: float = 0.8, alpha: float = 0.05, margin: float | None = None, seed: int = 0
) -> Answer:
    """Patients with which a difference from the other model is found, or that it is no worse than by a margin.

    Args:
        scenario: With `other`: another AUROC than the model's, or for a margin one that lies above it by less.
        power: In (alpha, 1).
        alpha: Two-sided level of the test; for a margin, one-sided at half of it.
        margin: How far the model may lie below the other; None to test for a difference.
        seed: Of the simulation.
    """

    def found(labels: Bools, scores: Floats, patients: Codes) -> float:
        first, second = scores.T
        test = clustered_auroc_test(labels, first, second, patients, patients % scenario.folds, level=1 - alpha)
        if not test.difference.has_interval:
            return 0.0
        if margin is not None:
            return float(test.difference.low > -margin)
        return float(test.difference.low > 0 or test.difference.high < 0)

    return _smallest(scenario, found, target=power, lines=_powers(alpha), seed=seed)


def _smallest(
    scenario: Scenario, measure: Callable[[Bools, Floats, Codes], float], *, target: float, lines: Lines, seed: int
) -> Answer:
    """The number of patients whose mean `measure` reaches the target.

    Of a mean, the first of `lines` makes what is about proportional to the patients, and the second the mean again. The
    number is read off a straight line through several sizes: taking the first size whose simulated mean suffices would
    choose those that chance favors.
    """

    def simulate(patients: int, replicates: int) -> Floats:
        random = np.random.default_rng((seed, patients))
        return np.array([measure(*scenario.draw(random, patients)) for _ in range(replicates)])

    line, back = lines
    patients = 60
    for _ in range(7):
        reached = float(simulate(patients, FIRST).mean())
        proposed = ceil(patients * line(target) / max(line(reached), 1e-6))
        proposed = min(max(proposed, patients // 4, 8), patients * 6)
        if proposed > MOST:
            return Answer(None, 0, reached, 0.0, {})
        if abs(log(proposed / patients)) < 0.02:
            break
        patients = proposed
    for _ in range(7):
        numbers = np.unique([max(8, ceil(patients * share)) for share in NEAR])
        values = [simulate(int(number), LAST // len(NEAR)) for number in numbers]
        heights = [line(float(one.mean())) for one in values]
        slope, start = np.polyfit(numbers, heights, 1)
        rising = ceil((line(target) - start) / slope) if slope > 0 else patients
        patients = min(max(rising, int(numbers[0])), int(numbers[-1]))
        # Beyond the sizes that were simulated, the line is laid again.
        if patients > MOST:
            return Answer(None, 0, back(heights[-1]), 0.0, {})
        if patients == max(rising, 8):
            break
    reached = back(start + slope * patients)
    error = float(np.concatenate(values).std(ddof=1)) / sqrt(LAST)
    positives = min(max(2, round(patients * scenario.prevalence)), patients - 2)
    others = [max(8, ceil(patients * share)) for share in AROUND]
    around = {number: float(simulate(number, FIRST).mean()) for number in others} | {patients: reached}
    return Answer(patients, positives, reached, error, dict(sorted(around.items())))
