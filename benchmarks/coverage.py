"""How often do 95% intervals cover the truth when slices of a patient are alike? `python benchmarks/coverage.py`."""

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from itertools import product
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from fistula.evidence.design.compare import clustered_auroc_test, clustered_mcnemar
from fistula.evidence.estimate import Estimate
from fistula.evidence.ranking.area import delong
from fistula.evidence.standard import standard_metrics

SLICES = 10  # a patient, on average
SKEW = 0.75  # of the logarithm of slices a patient: a coefficient of variation of 0.87
FOLDS = 5
QUANTITIES = ("AUROC", "sensitivity", "specificity", "balanced accuracy", "AUROC difference", "sensitivity difference")
NAIVE = "AUROC, slices as independent"
TARGET = (0.93, 0.97)
SHARES = {30: 1.0, 103: 0.4, 300: 0.25}  # of the repetitions, by patients: intervals miss where these are few


@dataclass(frozen=True)
class Cell:
    """A kind of study.

    Args:
        patients: How many.
        prevalence: Share of patients (where both classes are in each: of slices) that is positive.
        correlation: Of two slices of a patient.
        slices: ``equal``, ``skewed`` (a few patients bring many), or ``single``: one a patient, as one score is.
        classes: ``one`` a patient; ``both`` in every patient; ``mixed``: half the slices of positive patients.
        auroc: Of two slices of two patients.
        folds: Networks, each of which scores the patients of its fold.
    """

    patients: int
    prevalence: float
    correlation: float
    slices: str
    classes: str
    auroc: float
    folds: int


GRID = [
    Cell(*values)
    for values in product(
        (30, 103, 300),
        (0.2, 0.5),
        (0.0, 0.3, 0.7),
        ("equal", "skewed"),
        ("one", "both", "mixed"),
        (0.85, 0.95),
        (1, FOLDS),
    )
] + [
    Cell(patients, prevalence, 0.0, "single", "one", auroc, folds)
    for patients, prevalence, auroc, folds in product((30, 103, 300), (0.2, 0.5), (0.85, 0.95), (1, FOLDS))
]


@dataclass(frozen=True)
class Rows:
    """Slices of one simulated study, scored by two models of equal AUROC whose errors correlate by one half."""

    labels: NDArray
    scores: NDArray
    patients: NDArray
    runs: NDArray


def simulate(random: np.random.Generator, cell: Cell) -> Rows:
    """Draw a study: a slice's score is normal with variance 1, of which `correlation` is its patient's."""
    count = cell.patients
    sizes = np.full(count, 1 if cell.slices == "single" else SLICES)
    if cell.slices == "skewed":
        drawn = random.lognormal(-(SKEW**2) / 2, SKEW, count) * SLICES
        sizes = np.maximum(1, np.round(drawn)).astype(int)
    patients = np.repeat(np.arange(count), sizes)
    is_positive = np.arange(count) < round(count * cell.prevalence)
    chance = {"one": is_positive, "both": np.full(count, cell.prevalence), "mixed": 0.5 * is_positive}[cell.classes]
    labels = random.random(len(patients)) < chance[patients]
    shared = np.array([[1.0, 0.0], [0.5, sqrt(0.75)]])
    own, rest = (random.standard_normal((number, 2)) @ shared.T for number in (count, len(patients)))
    noise = sqrt(cell.correlation) * own[patients] + sqrt(1 - cell.correlation) * rest
    # Folds hold the classes in like shares, and each network has a scale of its own.
    places = np.argsort(random.random(count) + ~is_positive, kind="stable")
    folds = np.empty(count, dtype=int)
    folds[places] = np.arange(count) % cell.folds
    runs = folds[patients]
    scores = (noise + (labels * separation(cell.auroc))[:, None]) * (1 + runs / 3)[:, None] + runs[:, None]
    return Rows(labels.astype(int), scores, patients, runs)


def separation(auroc: float) -> float:
    """Distance of two normal distributions of variance 1 with this AUROC."""
    return float(sqrt(2) * ndtri(auroc))


def expected_auroc(rows: Rows, cell: Cell) -> float:
    """The AUROC that these pairs have on average: those within a patient share its noise, and are told apart better."""
    pairs = []
    for groups in (rows.runs, rows.runs * cell.patients + rows.patients):
        each = [np.bincount(groups[rows.labels == label], minlength=cell.patients * cell.folds) for label in (1, 0)]
        pairs.append(float(each[0] @ each[1]))
    share = pairs[1] / pairs[0]
    within = ndtr(separation(cell.auroc) / sqrt(2 * (1 - cell.correlation)))
    return float((1 - share) * cell.auroc + share * within)


def intervals(rows: Rows, cell: Cell) -> dict[str, tuple[Estimate, float]]:
    """Each quantity's interval as a report makes it, with the truth; and one that takes slices as independent."""
    half = separation(cell.auroc) / 2
    labels, patients, runs = rows.labels, rows.patients, rows.runs
    called = (rows.scores >= (half * (1 + runs / 3) + runs)[:, None]).astype(int)
    first, second = rows.scores.T
    metrics = standard_metrics(labels, first, called[:, 0], patients, runs)
    rate, positive = float(ndtr(half)), labels == 1
    area = expected_auroc(rows, cell)
    found = {
        "AUROC": (metrics["auroc"], area),
        "sensitivity": (metrics["sensitivity"], rate),
        "specificity": (metrics["specificity"], rate),
        "balanced accuracy": (metrics["balanced_accuracy"], rate),
        "AUROC difference": (clustered_auroc_test(labels, first, second, patients, runs).difference, 0.0),
        "sensitivity difference": (
            clustered_mcnemar(called[positive, 0], called[positive, 1], patients[positive]).difference,
            0.0,
        ),
    }
    return found | ({NAIVE: (delong(labels, first), area)} if cell.folds == 1 else {})


def measure(cell: Cell, *, repetitions: int) -> dict:
    """The share of simulated studies whose interval holds the truth, the bias, and how many had no interval."""
    hits: dict[str, list[bool]] = {}
    errors: list[float] = []
    seed = [cell.patients, round(1000 * cell.correlation), round(100 * cell.auroc), cell.folds]
    for random in np.random.default_rng(seed).spawn(repetitions):
        rows = simulate(random, cell)
        if not 0 < rows.labels.sum() < len(rows.labels):
            continue
        found = intervals(rows, cell)
        errors.append(found["AUROC"][0].value - found["AUROC"][1])
        for name, (estimate, truth) in found.items():
            # Two models that never differ have no interval of their difference, and claim none.
            hits.setdefault(name, []).extend([estimate.low <= truth <= estimate.high] if estimate.has_interval else [])
    return {
        **asdict(cell),
        "repetitions": repetitions,
        "bias": round(float(np.mean(errors)), 4),
        "coverage": {name: round(float(np.mean(each)), 4) for name, each in hits.items()},
        "without": {name: len(errors) - len(each) for name, each in hits.items() if len(each) < len(errors)},
    }


def print_table(rows: list[dict]) -> None:
    """How many cells of the grid lie within the target, and the range, for each quantity."""
    print(f"{'95% interval of':32}{'cells':>7}{'93-97%':>8}{'lower':>7}{'least':>7}{'median':>8}{'most':>7}")
    for name in (*QUANTITIES, NAIVE):
        shares = np.array([row["coverage"][name] for row in rows if name in row["coverage"]])
        slack = np.array([error(row) for row in rows if name in row["coverage"]])
        inside = (shares >= TARGET[0] - slack) & (shares <= TARGET[1] + slack)
        low, middle, high = 100 * np.quantile(shares, [0, 0.5, 1])
        below = (shares < TARGET[0] - slack).sum()
        print(f"{name:32}{len(shares):7}{inside.sum():8}{below:7}{low:7.1f}{middle:8.1f}{high:7.1f}")
    print(f"largest bias of the AUROC: {max(abs(row['bias']) for row in rows):.4f}")


def error(row: dict) -> float:
    """Two Monte-Carlo errors of a share near 95%: what a cell may be off by chance."""
    return 2 * sqrt(0.95 * 0.05 / row["repetitions"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--repetitions",
        type=int,
        default=1000,
        help="simulated studies for each cell of 30 patients; fewer for the larger ones",
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    os.nice(10)
    start = time.perf_counter()
    rows = [measure(cell, repetitions=round(arguments.repetitions * SHARES[cell.patients])) for cell in GRID]
    print_table(rows)
    record = {"slices": SLICES, "target": TARGET, "seconds": round(time.perf_counter() - start, 1), "rows": rows}
    arguments.out.write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
