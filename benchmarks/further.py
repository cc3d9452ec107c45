"""Coverage of the 95% CIs that `coverage.py` leaves out, and of rejected ones: `python benchmarks/further.py`.

The AUROC of few positives, also where these vary more than negatives; average precision, partial AUROC, F1 and
Matthews' correlation; the median of distances; Cohen's and Fleiss' kappa. The latter of few or many patients, with one
row or several alike, equal or skewed in number, and a common or rare class.
"""

import argparse
from functools import partial
from itertools import product
from math import sqrt
from unittest.mock import patch

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri

from fistula.evidence.estimate import Estimate
from fistula.evidence.jackknife import patient_jackknife
from fistula.evidence.places import froc as places
from fistula.evidence.places.distances import median_distance
from fistula.evidence.places.froc import froc
from fistula.evidence.probability.decision import decision_curve
from fistula.evidence.ranking.area import clustered_auroc, delong, newcombe_interval
from fistula.evidence.ranking.roc import auroc
from fistula.evidence.rates.clustered import clustered_rate
from fistula.evidence.rates.counts import wilson
from fistula.evidence.readers import agreement
from fistula.evidence.readers.agreement import cohens_kappa, fleiss_kappa
from fistula.evidence.resample import draw_weights, patient_bootstrap
from fistula.evidence.weighted import STATISTICS, gather

MEASURES = ("average_precision", "partial_auroc", "f1", "matthews")
RATES = {"sensitivity": 1, "specificity": 0}
LARGE = 20_000  # patients of the one study that stands for the truth
# Of the variance of a reader's impression: of the patient, of the slice, of the reader of the patient, and rest.
IMPRESSIONS = {"errors run in patients": (0.3, 0.1, 0.5, 0.1), "patients run alike": (0.85, 0.05, 0.08, 0.02)}


def sizes_of(random, patients, rows):
    """How many rows each patient has: one, eight, or about eight."""
    drawn = {"one": np.ones(patients), "equal": np.full(patients, 8.0)}
    skewed = np.maximum(1, np.round(8 * random.lognormal(-(0.75**2) / 2, 0.75, patients)))
    return drawn.get(rows, skewed).astype(int)


def draw_scores(random, patients, rows, prevalence, auroc=0.85):
    """Labels, scores, patients and the threshold of a binormal study; slices of a patient correlate by one half."""
    codes = np.repeat(np.arange(patients), sizes_of(random, patients, rows))
    labels, away = codes < max(2, round(patients * prevalence)), sqrt(2) * ndtri(auroc)
    noise = sqrt(0.5) * (random.standard_normal(patients)[codes] + random.standard_normal(len(codes)))
    return labels.astype(int), noise + away * labels, codes, away / 2


def few_positives(random, repetitions):
    """AUROCs of 3 or 6 positives, each with one score, of three distributions, by Newcombe's interval too."""
    scores = {
        "as variable as negatives": lambda area, count: random.normal(size=count) + sqrt(2) * ndtri(area),
        "twice as variable": lambda area, count: 2 * random.normal(size=count) + sqrt(5) * ndtri(area),
        "found for certain, or as negatives": lambda area, count: (
            random.normal(size=count) + 9 * (random.random(count) < 2 * area - 1)
        ),
    }
    for name, draw in scores.items():
        held = ([], [])
        for (positives, negatives), area in product(((3, 37), (6, 24), (3, 10)), (0.75, 0.85, 0.95)):
            inside, labels = ([], []), np.arange(positives + negatives) < positives
            for _ in range(repetitions):
                values = np.r_[draw(area, positives), random.normal(size=negatives)]
                found = clustered_auroc(labels, values, np.arange(len(labels)))
                low, high = newcombe_interval(found.value, positives=positives, negatives=negatives)
                if found.has_interval:
                    inside[0].append(low <= area <= high)
                    inside[1].append(found.low <= area <= found.high)
            for shares, each in zip(held, inside, strict=True):
                shares.append(float(np.mean(each)))
        say(f"AUROC, positives {name}", "Newcombe", *held)


def ranked(random, repetitions):
    """Average precision and its like, by jackknife and by bootstrap; one line a measure."""
    held = {(name, by): [] for name in MEASURES for by in ("rejected", "default")}
    kinds = product((40, 100), ("one", "skewed"), (0.2, 0.5))
    for patients, rows, prevalence in kinds:
        labels, scores, codes, threshold = draw_scores(random, LARGE, rows, prevalence)
        whole = gather(labels, scores, codes, threshold=threshold, statistics=MEASURES)
        truth = {name: float(STATISTICS[name](whole, np.ones((1, LARGE)))[0]) for name in MEASURES}
        inside = {key: [] for key in held}
        for _ in range(repetitions):
            labels, scores, codes, threshold = draw_scores(random, patients, rows, prevalence)
            settings = {"threshold": threshold, "statistics": MEASURES}
            found = {
                "rejected": patient_bootstrap(labels, scores, codes, **settings, resamples=500),
                "default": patient_jackknife(labels, scores, codes, **settings),
            }
            for name, by in inside:
                one = found[by][name]
                inside[name, by] += [one.low <= truth[name] <= one.high] if one.has_interval else []
        for key, each in inside.items():
            held[key].append(float(np.mean(each)))
    for name in MEASURES:
        say(name, "percentile bootstrap", held[name, "rejected"], held[name, "default"])


def decisions(random, repetitions):
    """Net benefit at thresholds of 0.1 to 0.9, of calibrated probabilities, by bootstrap too; a line a threshold."""
    for limit in (0.1, 0.3, 0.5, 0.7, 0.9):
        held = ([], [])
        for patients, rows, share in product((30, 100, 300), ("one", "equal", "skewed"), (0.2, 0.5)):
            inside, odds = ([], []), limit / (1 - limit)
            for _ in range(repetitions):
                labels, scores, codes, middle = draw_scores(random, patients, rows, share)
                chances = expit(2 * middle * (scores - middle) + logit(share))
                cut = (logit(limit) - logit(share)) / (2 * middle) + middle
                truth = share * ndtr(2 * middle - cut) - (1 - share) * odds * ndtr(-cut)
                found = decision_curve(labels, chances, codes, thresholds=[limit], prevalence=share, prior=share)
                names = ("sensitivity", "specificity")
                settings = {"threshold": limit, "statistics": names}
                of_class = gather(labels, chances, codes, **settings)
                weights = draw_weights(of_class.strata, resamples=300, seed=int(random.integers(2**31)))
                up, down = (STATISTICS[name](of_class, weights) for name in names)
                low, high = np.quantile(share * up - (1 - share) * odds * (1 - down), (0.025, 0.975))
                inside[0].append(low <= truth <= high)
                inside[1].append(found.low[0] <= truth <= found.high[0])
            for shares, each in zip(held, inside, strict=True):
                shares.append(float(np.mean(each)))
        say(f"net benefit at {limit}", "percentile bootstrap", *held)


def draw_unequal(random, patients, prevalence, alike, kind):
    """As `draw_scores`: one in 30 patients has half of the slices, or the hard or the easy ones have more."""
    own, positive = random.standard_normal(patients), np.arange(patients) < round(patients * prevalence)
    if kind == "one patient has half":
        sizes = np.full(patients, 5)
        sizes[random.choice(patients, max(1, patients // 30), replace=False)] = 145
    else:
        away = own * np.where(positive, -1, 1) * (1 if kind == "hard patients have more" else -1)
        sizes = np.maximum(1, np.round(8 * np.exp(0.75 * away))).astype(int)
    codes = np.repeat(np.arange(patients), sizes)
    noise = sqrt(alike) * own[codes] + sqrt(1 - alike) * random.standard_normal(len(codes))
    return positive[codes].astype(int), noise + 1.466 * positive[codes], codes


def unequal(random, repetitions):
    """AUROC, sensitivity and specificity, where slices are very unequal in number or more in hard or easy patients."""

    def rates(labels, scores, codes):
        right = (scores >= 0.733) == labels
        return {name: (right[labels == label].astype(int), codes[labels == label]) for name, label in RATES.items()}

    for kind in ("one patient has half", "hard patients have more", "easy patients have more"):
        held = {name: ([], []) for name in ("AUROC", *RATES)}
        for patients, prevalence, alike in product((30, 103), (0.2, 0.5), (0.3, 0.7)):
            rows = draw_unequal(random, LARGE, prevalence, alike, kind)
            truth = {"AUROC": auroc(*rows[:2])} | {name: np.mean(right) for name, (right, _) in rates(*rows).items()}
            inside = {name: ([], []) for name in held}
            for _ in range(repetitions):
                rows = draw_unequal(random, patients, prevalence, alike, kind)
                found = {"AUROC": (delong(*rows[:2]), clustered_auroc(*rows))}
                for name, (right, of) in rates(*rows).items():
                    found[name] = wilson(right.sum(), len(right)), clustered_rate(right, of)
                for name, pair in found.items():
                    for each, one in zip(inside[name], pair, strict=True):
                        each.append(one.low <= truth[name] <= one.high)
            for name, pair in inside.items():
                for shares, each in zip(held[name], pair, strict=True):
                    shares.append(float(np.mean(each)))
        for name, pair in held.items():
            say(f"{name}, {kind} slices", "slices as independent", *pair)


def draw_marks(random, patients):
    """Scores and patients of findings, one to three in half of the patients, and of false marks, two a patient."""
    ill = np.arange(patients) < patients // 2
    found = np.repeat(np.arange(patients), np.where(ill, random.integers(1, 4, patients), 0))
    false = np.repeat(np.arange(patients), random.poisson(random.gamma(1, 2, patients)))
    own = sqrt(0.4) * random.standard_normal(patients)
    hits, wrong = (own[of] + sqrt(0.6) * random.standard_normal(len(of)) for of in (found, false))
    return hits + 1.5, found, wrong, false, np.arange(patients)


def marks(random, repetitions):
    """Sensitivities of the FROC curve at half a false mark to two a patient."""
    truth, held = froc(*draw_marks(random, LARGE), resamples=2).at, ([], [])
    for patients in (12, 20, 40, 100):
        inside = ([], [])
        for _ in range(repetitions):
            found = froc(*draw_marks(random, patients), resamples=500)
            with patch.object(places, "clustered_rate", lambda hits, _: Estimate(float(np.mean(hits)), 1, 0, "")):
                alone = froc(*draw_marks(random, patients), resamples=500)
            for each, one in zip(inside, (alone, found), strict=True):
                each.append([one.at[rate].low <= truth[rate].value <= one.at[rate].high for rate in truth])
        for shares, each in zip(held, inside, strict=True):
            shares += np.mean(each, axis=0).tolist()
    say("sensitivity of the FROC curve", "percentile bootstrap", *held)


def woodruff(distances, patients):
    """The rejected interval of a median: the quantiles at the ends of the interval of a share of one half."""
    value = np.quantile(distances, 0.5, method="inverted_cdf")
    share = clustered_rate((distances <= value).astype(int), patients)
    half = (share.high - share.low) / 2
    return np.quantile(distances, np.clip([0.5 - half, 0.5 + half], 0, 1), method="inverted_cdf")


def medians(random, repetitions):
    """Medians of log-normal distances, whose median is 1."""
    held = ([], [])
    for patients, rows, alike in [
        *product((8, 10, 15, 20, 30, 60), ("one",), (0.0,)),
        *product((8, 10, 15, 20, 30, 60), ("equal", "skewed"), (0.2, 0.6, 0.9)),
    ]:
        inside = ([], [])
        for _ in range(repetitions):
            codes = np.repeat(np.arange(patients), sizes_of(random, patients, rows))
            own, rest = random.standard_normal(patients)[codes], random.standard_normal(len(codes))
            distances = np.exp(sqrt(alike) * own + sqrt(1 - alike) * rest)
            low, high = woodruff(distances, codes)
            found = median_distance(distances, codes)
            inside[0].append(low <= 1 <= high)
            inside[1].append(found.low <= 1 <= found.high)
        for shares, each in zip(held, inside, strict=True):
            shares.append(float(np.mean(each)))
    say("median distance", "Woodruff", *held)


def draw_ratings(random, patients, rows, prevalence, parts, readers):
    """Ratings ``(N, readers)`` of two classes, or of one more than there are prevalences, and patients."""
    codes = np.repeat(np.arange(patients), sizes_of(random, patients, rows))
    of_patient, of_slice, of_reader, rest = (sqrt(part) for part in parts)
    impression = of_patient * random.standard_normal(patients)[codes][:, None]
    impression = impression + of_slice * random.standard_normal((len(codes), 1))
    impression = impression + of_reader * random.standard_normal((patients, readers))[codes]
    impression = impression + rest * random.standard_normal((len(codes), readers))
    # Of several prevalences the first is that of the highest grade.
    return np.searchsorted(ndtri(1 - np.cumsum(np.atleast_1d(prevalence)))[::-1], impression), codes


def of_all(measure, *given):
    """The rejected interval of a kappa: Wilson's, with Student's t at the number of all patients."""
    made = agreement._jackknife
    with patch.object(agreement, "_jackknife", lambda *given, counts, **rest: made(*given, **rest)):
        return measure(*given)


def kappas(random, repetitions):
    """Kappas of 15 to 60 patients, three or more of whom have the rarer class on average; of grades, of 30 or 60."""
    linear = partial(cohens_kappa, classes=3, weights="linear")
    for name, measure, readers in (
        ("Cohen's kappa", partial(cohens_kappa, classes=2), 2),
        ("Fleiss' kappa", partial(fleiss_kappa, classes=2), 3),
        ("Linearly weighted kappa of three grades", linear, 2),
        ("Fleiss' kappa of three classes", partial(fleiss_kappa, classes=3), 3),
    ):
        held = ([], [])
        is_graded = measure.keywords["classes"] == 3
        prevalences = ((1 / 3, 1 / 3), (0.05, 0.15), (0.05, 0.05)) if is_graded else (0.5, 0.2, 0.1, 0.05)
        kinds = product(
            IMPRESSIONS.values(), (30, 60) if is_graded else (15, 30, 60), ("one", "equal", "skewed"), prevalences
        )
        for parts, patients, rows, prevalence in kinds:
            if patients * np.sum(prevalence) < 3:
                continue
            truth = measure(*draw_ratings(random, LARGE, rows, prevalence, parts, readers)).value
            inside = ([], [])
            for _ in range(repetitions):
                given = draw_ratings(random, patients, rows, prevalence, parts, readers)
                found = measure(*given)
                if found.has_interval:
                    other = of_all(measure, *given)
                    inside[0].append(other.low <= truth <= other.high)
                    inside[1].append(found.low <= truth <= found.high)
            for shares, each in zip(held, inside, strict=True):
                shares.append(float(np.mean(each)))
        say(name, "Wilson", *held)


def say(name, method, rejected, default):
    """A line: mean, lowest and highest coverage over the kinds, rejected and default."""
    told = (f"{np.mean(one):.1%} ({min(one):.1%} to {max(one):.1%})" for one in (rejected, default))
    print(f"| {name}, {len(default)} kinds | {method}: {next(told)} | {next(told)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=500)
    repetitions = parser.parse_args().repetitions
    print(f"coverage of 95% CIs, mean (lowest to highest) over kinds of study; {repetitions} simulated studies of each")
    for seed, measured in enumerate((medians, kappas, ranked, few_positives, decisions, marks, unequal)):
        measured(np.random.default_rng(seed), repetitions)


if __name__ == "__main__":
    main()
