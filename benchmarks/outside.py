"""How often do 95% intervals of `fistula evaluate` cover the truth? Prints a table.

Run with `python benchmarks/outside.py`. Five networks, one a fold: within the study each scores the patients of its
fold, outside all of them score every patient. A network's scores are a patient's part that all networks see, a part of
its own, and for slices a part of the slice; each network has a scale of its own. The truth is that of these networks in
patients without end, by the binormal formula.
"""

import argparse
from itertools import product
from math import sqrt

import numpy as np
from scipy.special import expit, ndtr, ndtri

from fistula.evidence.design.subgroups import subgroup_aurocs
from fistula.evidence.independent import independent_difference
from fistula.evidence.standard import METRICS, standard_metrics

NETWORKS = 5
AREAS = ((0.95, 0.85), (0.85, 0.85), (0.75, 0.65))  # internal, external
PATIENTS = ((60, 40), (150, 40), (150, 200))
PREVALENCES = ((0.5, 0.5), (0.5, 0.2))
SLICES = (1, 8)  # at most, of a patient
SEEN_BY_ALL = 0.6  # share of a score's variance
OF_SLICE = 0.5  # share of the patient's part that differs from slice to slice
CUT = 0.4  # operating point on the scale of the noise, above the negatives' mean


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


def main() -> None:
    """Print mean and lowest coverage over the grid."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
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
