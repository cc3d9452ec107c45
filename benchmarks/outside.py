"""How often do 95% intervals of `fistula evaluate` cover the truth? Prints a table.

Run with `python benchmarks/outside.py`. Five networks, one a fold: within the study each scores the patients of its
fold, outside all of them score every patient. A network's scores are a patient's part that all networks see, a part of
its own, and for slices a part of the slice; each network has a scale of its own. The truth is that of these networks in
patients without end, by the binormal formula.

`--recalibration` instead looks at what k patients would change: its truth is the mean over other draws of k patients,
judged on many more; it takes minutes.
"""

import argparse
from itertools import product
from math import sqrt

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri

from fistula.evidence.design.subgroups import subgroup_aurocs
from fistula.evidence.independent import independent_difference
from fistula.evidence.probability import recalibration
from fistula.evidence.probability.calibration import brier_score, fit_platt
from fistula.evidence.standard import METRICS, standard_metrics

NETWORKS = 5
AREAS = ((0.95, 0.85), (0.85, 0.85), (0.75, 0.65))  # internal, external
PATIENTS = ((60, 40), (150, 40), (150, 200))
PREVALENCES = ((0.5, 0.5), (0.5, 0.2))
SLICES = (1, 8)  # at most, of a patient
SEEN_BY_ALL = 0.6  # share of a score's variance
OF_SLICE = 0.5  # share of the patient's part that differs from slice to slice
CUT = 0.4  # operating point on the scale of the noise, above the negatives' mean
LINES = {"calibrated": (0.0, 1.0), "too high": (1.5, 1.0), "too extreme": (0.0, 2.5)}  # of the logits told
DRAWN = (20, 50)  # patients to recalibrate on


def scores(random, area, patients, prevalence, most, owners):
    """Rows of patients scored by networks: labels, scores, calls, patients, runs.

    Args:
        random: Generator.
        area: True AUROC of each network.
        patients: How many.
        prevalence: Of the positive class, at least three of either.
        most: Slices of a patient.
        owners: The networks that score each patient, ``(patients, n)``.
    """
    number = int(np.clip(round(prevalence * patients), 3, patients - 3))
    truth = np.arange(patients) < number
    sizes = random.integers(1, most + 1, size=patients)
    rows = np.repeat(np.arange(patients), sizes)
    inner = OF_SLICE if most > 1 else 0.0
    shared = sqrt(1 - inner) * random.normal(size=patients)[rows] + sqrt(inner) * random.normal(size=len(rows))
    parts = []
    for column in range(owners.shape[1]):
        runs = owners[rows, column]
        own = random.normal(size=len(rows))
        value = sqrt(SEEN_BY_ALL) * shared + sqrt(1 - SEEN_BY_ALL) * own + sqrt(2) * ndtri(area) * truth[rows]
        # A scale of each network's own: only the order within a network counts.
        parts.append((truth[rows].astype(int), expit(value * (1 + runs) + runs), (value > CUT).astype(int), rows, runs))
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def truths(area):
    """What the metrics are for such a network."""
    found, missed = ndtr(sqrt(2) * ndtri(area) - CUT), ndtr(CUT)
    return {"auroc": area, "sensitivity": found, "specificity": missed, "balanced_accuracy": (found + missed) / 2}


def probabilities(random, patients, line):
    """Labels, and probabilities that a line on the logit scale has moved away from theirs."""
    true = random.normal(-0.8, 1.3, patients)
    return random.random(patients) < expit(true), expit(line[1] * true + line[0])


def change_of_few(random, patients, line, rows):
    """Change of the Brier score in all others by level, and by level and slope, with one draw of a few patients."""
    labels, told = probabilities(random, patients, line)
    levelled = expit(logit(rows[1]) + recalibration.move_level(labels, told))
    lined = fit_platt(labels, told).apply(rows[1]) if 0 < labels.sum() < patients else levelled
    return [brier_score(rows[0], one) - brier_score(*rows) for one in (levelled, lined)]


def recalibrate(repetitions: int, seed: int) -> None:
    """Print coverage of the intervals of what recalibration changes."""
    recalibration.SIZES = DRAWN
    print(
        "coverage of 95% intervals of the change of the Brier score, and half their width over 1.96 standard deviations"
    )
    for (name, line), patients in product(LINES.items(), (60, 150)):
        random = np.random.default_rng((seed, patients))
        rows = probabilities(random, 20_000, line)
        sizes = [size for size in DRAWN if 2 * size <= patients]
        truths = {
            size: np.mean([change_of_few(random, size, line, rows) for _ in range(600)], axis=0) for size in sizes
        }
        found = [
            recalibration.recalibrations(*probabilities(random, patients, line), np.arange(patients))
            for _ in range(repetitions)
        ]
        for place, size in enumerate(sizes):
            for way, kind in enumerate(("intercept_change", "line_change")):
                truth = truths[size][way]
                estimates = [getattr(one[place], kind) for one in found if one]
                holds = np.mean([one.low <= truth <= one.high for one in estimates])
                wide = np.mean([one.high - one.low for one in estimates]) / 2 / 1.96
                spread = np.std([one.value for one in estimates])
                print(f"{name}, {patients} patients, {size} drawn, {kind}: {holds:.1%}, {wide / spread:.2f}, mean "
                      f"{np.mean([one.value for one in estimates]):+.4f}, truth {truth:+.4f}", flush=True)  # fmt: skip


def main() -> None:
    """Print mean and lowest coverage over the grid."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recalibration", action="store_true")
    options = parser.parse_args()
    if options.recalibration:
        recalibrate(options.repetitions, options.seed)
        return
    kinds = [*(f"{metric}, internal less external" for metric in METRICS), "AUROC of a site"]
    covered = {kind: [] for kind in kinds}
    for number, (areas, counts, prevalences, most) in enumerate(product(AREAS, PATIENTS, PREVALENCES, SLICES)):
        random = np.random.default_rng((options.seed, number))
        hits, tried = dict.fromkeys(kinds, 0), dict.fromkeys(kinds, 0)
        for _ in range(options.repetitions):
            inside = random.permutation(np.arange(counts[0]) % NETWORKS)[:, None]
            outside = np.tile(np.arange(NETWORKS), (counts[1], 1))
            found = [
                scores(random, *rest, most, owners)
                for *rest, owners in zip(areas, counts, prevalences, (inside, outside), strict=True)
            ]
            first, second = (standard_metrics(*one) for one in found)
            for metric in METRICS:
                kind = f"{metric}, internal less external"
                difference = independent_difference(first[metric], second[metric])
                if difference.has_interval:
                    truth = truths(areas[0])[metric] - truths(areas[1])[metric]
                    tried[kind] += 1
                    hits[kind] += difference.low <= truth <= difference.high
            labels, values, _, patients, runs = found[1]
            groups, _ = subgroup_aurocs(labels, values, patients, runs, np.where(patients % 2, "A", "B"))
            for group in groups:
                if group.auroc.has_interval:
                    tried["AUROC of a site"] += 1
                    hits["AUROC of a site"] += group.auroc.low <= areas[1] <= group.auroc.high
        for kind in kinds:
            covered[kind].append((hits[kind] / max(tried[kind], 1), tried[kind], areas, counts, prevalences, most))
    print(f"{'':<42} {'mean':>6} {'lowest':>7}  where lowest (AUROC, patients, prevalence, most slices)")
    for kind, cells in covered.items():
        rates = [rate for rate, *_ in cells]
        lowest = min(cells)
        print(f"{kind:<42} {np.mean(rates):6.1%} {lowest[0]:7.1%}  {lowest[2:]}, {lowest[1]} intervals")


if __name__ == "__main__":
    main()
