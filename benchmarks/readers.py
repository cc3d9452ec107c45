"""How often do 95% intervals of reader studies cover the truth? Simulated after Roe and Metz; prints a table.

Run with `python benchmarks/readers.py`. Source of the model: Roe & Metz (1997), Acad Radiol 4(4), 298-303.
"""

import argparse
from itertools import product
from math import sqrt

import numpy as np
from scipy.special import ndtr, ndtri

from fistula.evidence.readers.analysis import compare_modalities, compare_model, study_readers

AUROCS = {0.702: (0.0055, 0.011), 0.855: (0.0055, 0.030), 0.962: (0.0055, 0.056)}  # and variances of readers
CASES = {"high": (0.3, 0.3, 0.2, 0.2), "low": (0.1, 0.1, 0.2, 0.6)}  # of case, case x modality, case x reader, rest
READERS = (3, 5, 10)
SIZES = ((25, 25), (50, 50), (20, 80))  # negative and positive cases
FEW = ((45, 5), (92, 8), (188, 12))  # the same, positive ones being few


def simulate(random, auroc, spread, parts, readers, size):
    """One study: labels, ratings ``(2, R, C)`` of equal modalities, and a model's scores of the same cases."""
    labels = np.repeat([0, 1], size)
    case, by_modality, by_reader, rest = (sqrt(part) for part in parts)
    number = len(labels)
    shared = case * random.normal(size=number)
    noise = (
        shared
        + by_modality * random.normal(size=(2, 1, number))
        + by_reader * random.normal(size=(1, readers, number))
        + rest * random.normal(size=(2, readers, number))
    )
    bias = sqrt(spread) * (random.normal(size=(1, readers, 2)) + random.normal(size=(2, readers, 2)))
    shift = sqrt(2) * ndtri(auroc)
    ratings = noise + bias[:, :, labels] + shift * labels
    scores = shared + sqrt(1 - case**2) * random.normal(size=number) + shift * labels
    return labels, ratings, scores


def main() -> None:
    """Print mean and lowest coverage over the grid, and the cells that fall short by more than chance."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--few", action="store_true", help="few positive cases, and readers as a fixed factor")
    options = parser.parse_args()
    kinds, factor = ("one modality less another", "model less readers"), "fixed" if options.few else "random"
    covered = {kind: [] for kind in kinds}
    cells = [
        (auroc, spread, correlation, readers, size)
        for auroc, spreads in AUROCS.items()
        # Fixed readers are of no population: of those who do not vary, the truth is known.
        for spread, correlation, readers, size in product(
            (0.0,) if options.few else spreads, CASES, READERS, FEW if options.few else SIZES
        )
    ]
    for number, (auroc, spread, correlation, readers, size) in enumerate(cells):
        random = np.random.default_rng((options.seed, number))
        # Readers' own biases blur the mean of their areas; a model has none.
        truth = auroc - float(ndtr(sqrt(2) * ndtri(auroc) / sqrt(2 + 4 * spread)))
        hits = dict.fromkeys(kinds, 0)
        for _ in range(options.repetitions):
            labels, ratings, scores = simulate(random, auroc, spread, CASES[correlation], readers, size)
            study = study_readers(labels, ratings)
            tests = (
                (kinds[0], compare_modalities(study, 0, 1, readers=factor), 0.0),
                (kinds[1], compare_model(labels, scores, ratings[0], readers=factor), truth),
            )
            for kind, test, value in tests:
                estimate = test.estimate
                hits[kind] += estimate.has_interval and estimate.low <= value <= estimate.high
        for kind, count in hits.items():
            covered[kind].append(count / options.repetitions)
    error = sqrt(0.95 * 0.05 / options.repetitions)
    print(f"{len(cells)} kinds of reader study, {options.repetitions} simulated studies each")
    for kind, found in covered.items():
        shares = np.array(found)
        low = int((shares < 0.93 - 1.96 * error).sum())
        high = int((shares > 0.97 + 1.96 * error).sum())
        print(f"{kind}: mean {shares.mean():.1%}, lowest {shares.min():.1%}, highest {shares.max():.1%}; "
              f"{low} below 93% and {high} above 97% by more than chance")  # fmt: skip
        for cell, share in sorted(zip(cells, shares, strict=True), key=lambda pair: pair[1])[:3]:
            auroc, spread, correlation, readers, (negatives, positives) = cell
            print(f"   {share:.1%}: AUROC {auroc}, reader variance {spread}, {correlation} correlation of cases, "
                  f"{readers} readers, {negatives} negative and {positives} positive cases")  # fmt: skip


if __name__ == "__main__":
    main()
