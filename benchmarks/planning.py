"""Does a study of the size that `fistula plan` names reach what was asked? Simulated; prints a table.

Run with `python benchmarks/planning.py`. Every plan is made as the command makes it. Then studies of that size are
drawn by a second implementation of the model, and analysed as the report does. The last lines plan reader studies from
simulated pilots, both drawn after Roe and Metz: the pilots' numbers are themselves uncertain. `--only holm` asks of
studies of several configurations what the report says they can detect, and what a plan with Holm's level holds.
"""

import argparse
from itertools import combinations
from math import sqrt

import numpy as np
from readers import CASES, simulate
from scipy.special import ndtr, ndtri, stdtr

from fistula.evidence.design.compare import clustered_auroc_test
from fistula.evidence.design.planning import (
    Scenario,
    patients_for_difference,
    patients_for_rate,
    patients_for_width,
)
from fistula.evidence.design.power import detectable_difference
from fistula.evidence.design.reader_planning import cases_for_power, of_modalities
from fistula.evidence.design.verdict import holm
from fistula.evidence.ranking.area import clustered_auroc, hanley_mcneil_variance
from fistula.evidence.ranking.placements import place
from fistula.evidence.rates.clustered import clustered_rate
from fistula.evidence.readers.analysis import compare_modalities, study_readers

MANY = {"slices": 8.0, "variation": 0.6, "correlation": 0.5}
WIDTHS = {
    "one slice": Scenario(0.85, 0.5),
    "one slice, 20% positive": Scenario(0.85, 0.2),
    "one slice, AUROC 0.95": Scenario(0.95, 0.5),
    "eight slices": Scenario(0.85, 0.5, **MANY),
    "eight slices, five folds": Scenario(0.85, 0.5, **MANY, folds=5),
}
DIFFERENCES = {
    "one slice": Scenario(0.88, 0.5, other=0.80),
    "one slice, 20% positive": Scenario(0.88, 0.2, other=0.80),
    "one slice, five folds": Scenario(0.88, 0.5, other=0.80, folds=5),
    "eight slices": Scenario(0.88, 0.5, other=0.80, **MANY),
    "eight slices, five folds": Scenario(0.88, 0.5, other=0.80, **MANY, folds=5),
}
MARGINS = {
    "one slice": Scenario(0.85, 0.5, other=0.85, agreement=0.6),
    "eight slices": Scenario(0.85, 0.5, other=0.85, agreement=0.6, **MANY),
}
LIMITS = {"one score per patient, 20% positive": Scenario(0.85, 0.2), "eight slices": Scenario(0.85, 0.5, **MANY)}
DESIGNS = {  # positive and negative patients, folds, configurations
    "6 and 24 patients, 2 configurations": (6, 24, 1, 2),
    "58 and 45 patients, 2 configurations": (58, 45, 1, 2),
    "58 and 45 patients, five folds, 4 configurations": (58, 45, 5, 4),
    "58 and 45 patients, five folds, 8 configurations": (58, 45, 5, 8),
    "60 and 240 patients, five folds, 4 configurations": (60, 240, 5, 4),
}
CONFIGURATIONS = 4  # of a planned study, all compared in pairs
PLANNED = {
    "one score per patient, five folds": Scenario(0.88, 0.5, other=0.80, folds=5),
    "eight slices": Scenario(0.88, 0.5, other=0.80, **MANY),
    "eight slices, five folds": Scenario(0.88, 0.5, other=0.80, **MANY, folds=5),
}
SPREAD, EQUAL, BETTER, PANEL = 0.0055, 0.80, 0.86, 8  # variance of readers, AUROCs before their bias, readers to come


def study(random, scenario, patients, areas=None):
    """Labels, scores and patients of one study: as `Scenario` states, from covariance matrices; or of more models."""
    labels = np.arange(patients) < min(max(2, round(patients * scenario.prevalence)), patients - 2)
    sizes = np.full(patients, round(scenario.slices))
    if scenario.variation and scenario.slices > 1:
        shape = scenario.variation**-2
        sizes = np.maximum(1, np.rint(random.gamma(shape, scenario.slices / shape, patients)).astype(int))
    areas = areas or ([scenario.auroc] if scenario.other is None else [scenario.auroc, scenario.other])
    models = np.full((len(areas), len(areas)), scenario.agreement) + (1 - scenario.agreement) * np.eye(len(areas))
    root = np.linalg.cholesky(models)
    largest = sizes.max()
    alike = np.full((largest, largest), scenario.correlation) + (1 - scenario.correlation) * np.eye(largest)
    noise = np.linalg.cholesky(alike) @ random.normal(size=(patients, largest, len(areas))) @ root.T
    there = np.arange(largest) < sizes[:, None]
    codes = np.repeat(np.arange(patients), sizes)
    return labels[codes], noise[there] + labels[codes][:, None] * sqrt(2) * ndtri(np.array(areas)), codes


def half_widths(random, scenario, patients, repetitions):
    """Mean half-width, and the share of intervals that hold the truth."""
    widths, holds = [], []
    for _ in range(repetitions):
        labels, scores, codes = study(random, scenario, patients)
        found = clustered_auroc(labels, scores[:, 0], codes, codes % scenario.folds)
        widths.append((found.high - found.low) / 2)
        holds.append(found.low <= scenario.auroc <= found.high)
    return np.mean(widths), np.mean(holds)


def power(random, scenario, patients, repetitions, margin=None):
    """Share of studies that find the difference, or keep the margin."""
    hits = 0
    for _ in range(repetitions):
        labels, scores, codes = study(random, scenario, patients)
        found = clustered_auroc_test(labels, *scores.T, codes, codes % scenario.folds)
        hits += found.p_value < 0.05 if margin is None else found.difference.low > -margin
    return hits / repetitions


def limit_power(random, scenario, patients, repetitions):
    """Share of studies in which the lower limit of a sensitivity of 0.9 exceeds 0.8."""
    hits = 0
    for _ in range(repetitions):
        labels, scores, codes = study(random, scenario, patients)
        found = scores[labels, 0] > sqrt(2) * ndtri(scenario.auroc) - ndtri(0.9)
        hits += clustered_rate(found, codes[labels]).low > 0.8
    return hits / repetitions


def adjusted_power(random, scenario, patients, worse, configurations, repetitions):
    """Shares of studies that find the last of several configurations worse than the first: alone, and by Holm.

    The first is compared with the last alone, at the level of Holm's first step; then all pairs are tested, of which
    those without the last have equal AUROCs.
    """
    pairs = list(combinations(range(configurations), 2))
    chief, areas = pairs.index((0, configurations - 1)), [scenario.auroc] * (configurations - 1) + [worse]
    alone = stepped = 0
    for _ in range(repetitions):
        labels, scores, codes = study(random, scenario, patients, areas)
        # Each class is spread evenly over the folds, as the report's split does it.
        placements = place(labels, scores, codes, codes % scenario.folds)
        models = np.eye(configurations)
        found = [placements.contrast(models[first] - models[second]) for first, second in pairs]
        p_values = np.array(
            [2 * stdtr(degrees, -abs(value) / error) if error else 1.0 for value, error, degrees in found]
        )
        ahead = found[chief][0] > 0
        alone += ahead and p_values[chief] < 0.05 / len(pairs)
        stepped += ahead and holm(p_values)[chief] < 0.05
    return alone / repetitions, stepped / repetitions


def hanley_mcneil(scenario, half_width):
    """Patients by the formula, where slices are one and there is one fold."""
    share = scenario.prevalence
    return next(
        number
        for number in range(10, 20_000)
        if ndtri(0.975)
        * sqrt(hanley_mcneil_variance(scenario.auroc, positives=number * share, negatives=number * (1 - share)))
        <= half_width
    )


def reader_power(random, size, repetitions, readers=PANEL):
    """Share of Roe and Metz studies that find the difference between two modalities."""
    hits = 0
    for _ in range(repetitions):
        labels, ratings, _ = simulate(random, EQUAL, SPREAD, CASES["low"], readers, (size - size // 2, size // 2))
        ratings[1] += labels * sqrt(2) * (ndtri(BETTER) - ndtri(EQUAL))
        hits += compare_modalities(study_readers(labels, ratings), 0, 1).p_value < 0.05
    return hits / repetitions


def reader_plans(random, repetitions, pilots, readers, cases):
    """Powers of the studies that simulated pilots plan, read off a curve of simulated powers."""
    true = [float(ndtr(sqrt(2) * ndtri(area) / sqrt(2 + 4 * SPREAD))) for area in (EQUAL, BETTER)]
    planned = []
    for _ in range(pilots):
        labels, ratings, _ = simulate(random, EQUAL, SPREAD, CASES["low"], readers, (cases // 2, cases // 2))
        ratings[1] += labels * sqrt(2) * (ndtri(BETTER) - ndtri(EQUAL))
        parts = of_modalities(study_readers(labels, ratings))
        planned.append(cases_for_power(parts, true[1] - true[0], readers=PANEL, power_wanted=0.8) or 5000)
    sizes = np.unique(np.quantile(planned, (0, 0.25, 0.5, 0.75, 1)).astype(int))
    powers = [reader_power(random, max(size, 6), repetitions) for size in sizes]
    return np.array(planned), np.interp(planned, sizes, powers)


def main() -> None:
    """Print what was promised beside what came out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("plans", "holm"), help="one of the two tables")
    options = parser.parse_args()
    random, number = np.random.default_rng(options.seed), options.repetitions
    print(f"{number} simulated studies a line; Monte Carlo error of a power near 80%: {sqrt(0.16 / number):.1%}")
    if options.only != "holm":
        print_plans(random, number)
    if options.only != "plans":
        print_holm(random, number)


def print_holm(random, number):
    """What several configurations, all compared in pairs, can detect."""
    print("| of | patients | difference | at Holm's first level | by Holm |\n| --- | --- | --- | --- | --- |")
    for name, (positives, negatives, folds, configurations) in DESIGNS.items():
        patients, pairs = positives + negatives, configurations * (configurations - 1) // 2
        fold = np.arange(patients) % folds
        sizes = [(int((fold[:positives] == k).sum()), int((fold[positives:] == k).sum())) for k in range(folds)]
        difference = detectable_difference(0.85, sizes, alpha=0.05 / pairs)
        scenario = Scenario(0.85, positives / patients, folds=folds)
        print_powers(random, name, scenario, patients, 0.85 - difference, configurations, number)
    for name, scenario in PLANNED.items():
        pairs = CONFIGURATIONS * (CONFIGURATIONS - 1) // 2
        patients = patients_for_difference(scenario, alpha=0.05 / pairs).patients
        name = f"planned, {name}, {CONFIGURATIONS} configurations"
        print_powers(random, name, scenario, patients, scenario.other, CONFIGURATIONS, number)


def print_powers(random, name, scenario, patients, worse, configurations, number):
    """A line of it."""
    alone, stepped = adjusted_power(random, scenario, patients, worse, configurations, number)
    print(f"| {name} | {patients} | {scenario.auroc - worse:.3f} | {alone:.1%} | {stepped:.1%} |", flush=True)


def print_plans(random, number):
    """What plans promise, and what comes out."""
    print("| asked | of | patients | by formula | came out |\n| --- | --- | --- | --- | --- |")
    for name, scenario in WIDTHS.items():
        patients = patients_for_width(scenario, 0.05).patients
        formula = hanley_mcneil(scenario, 0.05) if scenario.slices == scenario.folds == 1 else "-"
        width, holds = half_widths(random, scenario, patients, number)
        print(f"| half-width 0.05 | {name} | {patients} | {formula} | {width:.4f}, covers in {holds:.1%} |", flush=True)
    for name, scenario in DIFFERENCES.items():
        patients = patients_for_difference(scenario).patients
        reached = power(random, scenario, patients, number)
        print(f"| power 80%, 0.88 and 0.80 | {name} | {patients} | - | {reached:.1%} |", flush=True)
    for name, scenario in MARGINS.items():
        patients = patients_for_difference(scenario, margin=0.05).patients
        reached = power(random, scenario, patients, number, margin=0.05)
        print(f"| power 80%, margin 0.05 | {name} | {patients} | - | {reached:.1%} |", flush=True)
    own = np.random.default_rng(1)  # so that those below stay as they were
    for name, scenario in LIMITS.items():
        patients = patients_for_rate(scenario, 0.9, positive=True, target=0.8, lower=0.8).patients
        reached = limit_power(own, scenario, patients, number)
        print(f"| power 80%, sensitivity 0.9 above 0.8 | {name} | {patients} | - | {reached:.1%} |", flush=True)
    for readers, cases, pilots in ((20, 1000, 10), (5, 200, 100), (5, 100, 100)):
        planned, reached = reader_plans(random, max(number // 5, 20), pilots, readers, cases)
        low, middle, high = np.quantile(planned, (0.25, 0.5, 0.75)).astype(int)
        inner = " to ".join(f"{value:.0%}" for value in np.quantile(reached, (0.25, 0.75)))
        print(f"| power 80%, {PANEL} readers | pilots of {readers} readers and {cases} patients | {middle} (quartiles "
              f"{low} to {high}) | - | {reached.mean():.1%} on average, quartiles {inner} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
