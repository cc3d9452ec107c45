"""How often do 95% intervals cover the truth when slices of a patient are alike? `python benchmarks/coverage.py`."""

import argparse
import json
import os
import re
import time
from dataclasses import asdict, dataclass
from itertools import product
from math import ceil, sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from fistula.evidence.design.compare import auroc_test, clustered_mcnemar
from fistula.evidence.estimate import Estimate
from fistula.evidence.ranking.area import delong, of_placements
from fistula.evidence.ranking.placements import place
from fistula.evidence.rates.clustered import balanced_accuracy, clustered_rate

SLICES = 10  # a patient, on average
SKEW = 0.75  # of the logarithm of slices a patient: a coefficient of variation of 0.87
FOLDS = 5
ROUNDS = 20
QUANTITIES = ("AUROC", "sensitivity", "specificity", "balanced accuracy", "AUROC difference", "sensitivity difference")
NAIVE = "AUROC, slices as independent"
TARGET = (0.93, 0.97)
MARKS = ("<!-- written by benchmarks/coverage.py -->", "<!-- end -->")
LISTED = """# Where the intervals cover too little or too much

Written by `python benchmarks/coverage.py`, which simulates kinds of study and counts how often a 95% CI contains the
true value. The first table summarizes all kinds; the second lists every kind outside 93% to 97% by more than two
Monte Carlo errors (“clearly”). Below 93%, an interval is too narrow; above 97%, it is wider than necessary. `slices`:
`equal`, `skewed` (a few patients have many), or `single` (one score per patient). `classes`: all slices of a patient
are of `one` class, patients have slices of `both`, or half the slices of a positive patient are positive
(`mixed`)."""
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
    rate, positive = float(ndtr(half)), labels == 1
    right = called[:, 0] == labels
    placements = place(labels, rows.scores, patients, runs)
    area = expected_auroc(rows, cell)
    found = {
        "AUROC": (of_placements(placements, ""), area),
        "sensitivity": (clustered_rate(right[positive], patients[positive]), rate),
        "specificity": (clustered_rate(right[~positive], patients[~positive]), rate),
        "balanced accuracy": (balanced_accuracy(labels, called[:, 0], patients), rate),
        "AUROC difference": (auroc_test(placements).difference, 0.0),
        "sensitivity difference": (
            clustered_mcnemar(called[positive, 0], called[positive, 1], patients[positive]).difference,
            0.0,
        ),
    }
    return found | ({NAIVE: (delong(labels, rows.scores[:, 0]), area)} if cell.folds == 1 else {})


class Tally:
    """What the simulated studies of a cell have shown so far."""

    def __init__(self, cell: Cell, *, again: bool = False) -> None:
        self.cell = cell
        seed = [cell.patients, round(1000 * cell.correlation), round(100 * cell.auroc), cell.folds] + [1] * again
        self.random = np.random.default_rng(seed)
        self.repetitions = 0
        self.errors: list[float] = []
        self.hits: dict[str, list[bool]] = {}

    def add(self, repetitions: int) -> "Tally":
        """Simulate more studies."""
        for random in self.random.spawn(repetitions):
            rows = simulate(random, self.cell)
            if not 0 < rows.labels.sum() < len(rows.labels):
                continue
            found = intervals(rows, self.cell)
            self.errors.append(found["AUROC"][0].value - found["AUROC"][1])
            for name, (estimate, truth) in found.items():
                # Two models that never differ have no interval of their difference, and claim none.
                held = [estimate.low <= truth <= estimate.high] if estimate.has_interval else []
                self.hits.setdefault(name, []).extend(held)
        self.repetitions += repetitions
        return self

    def as_row(self) -> dict:
        """The share of studies whose interval holds the truth, the bias, and how many had no interval."""
        return {
            **asdict(self.cell),
            "repetitions": self.repetitions,
            "bias": round(float(np.mean(self.errors)), 4),
            "coverage": {name: round(float(np.mean(each)), 4) for name, each in self.hits.items()},
            "without": {
                name: len(self.errors) - len(each) for name, each in self.hits.items() if len(each) < len(self.errors)
            },
        }


def measure(cell: Cell, *, repetitions: int) -> dict:
    """What so many simulated studies of a cell show."""
    return Tally(cell).add(repetitions).as_row()


def error(row: dict) -> float:
    """Two Monte-Carlo errors of a share near 95%: what a cell may be off by chance."""
    return 2 * sqrt(0.95 * 0.05 / row["repetitions"])


def summarize(record: dict) -> dict:
    """What README, guide and page say of the grid: for each interval mean, least, and every cell that misses."""
    rows, intervals = record["rows"], {}
    for name in QUANTITIES:
        shares = [row["coverage"][name] for row in rows if name in row["coverage"]]
        missed = [
            {field: row[field] for field in Cell.__annotations__} | {"coverage": row["coverage"][name]}
            for row in rows
            if name in row["coverage"] and not TARGET[0] - error(row) <= row["coverage"][name] <= TARGET[1] + error(row)
        ]
        intervals[name] = {
            "mean": round(float(np.mean(shares)), 4),
            "least": min(shares),
            "most": max(shares),
            "missed": missed,
        }
    naive = [row["coverage"][NAIVE] for row in rows if NAIVE in row["coverage"]]
    again = [row["repetitions"] for row in rows if row.get("again")]
    return {
        "kinds": len(rows),
        "repetitions": {str(row["patients"]): row["repetitions"] for row in rows if not row.get("again")},
        "again": {"kinds": len(again), "least": min(again, default=0), "most": max(again, default=0)},
        "bias": max(abs(row["bias"]) for row in rows),
        "intervals": intervals,
        "naive": {"mean": round(float(np.mean(naive)), 4), "least": min(naive)},
    }


def table(found: dict) -> str:
    """The summary as a table of Markdown."""
    lines = [
        "| interval of | mean | lowest | highest | clearly below 93% | clearly above 97% |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in found["intervals"].items():
        sides = [sum((cell["coverage"] < 0.95) == below for cell in one["missed"]) for below in (True, False)]
        shares = " | ".join(f"{one[key]:.1%}" for key in ("mean", "least", "most"))
        lines.append(f"| {name} | {shares} | {sides[0]} | {sides[1]} |")
    return "\n".join(lines)


def say_missed(found: dict) -> str:
    """Which kinds of study miss, in a sentence: by patients and prevalence, with how many intervals."""
    counts: dict[tuple[str, int, float], int] = {}
    for one in found["intervals"].values():
        for cell in one["missed"]:
            key = ("below 93%" if cell["coverage"] < 0.95 else "above 97%", cell["patients"], cell["prevalence"])
            counts[key] = counts.get(key, 0) + 1
    if not counts:
        return "No kind of study lies outside 93% to 97% by more than two Monte Carlo errors."
    total = found["kinds"] * len(found["intervals"])
    parts = [
        f"{count} with {patients} patients and a prevalence of {prevalence} ({side})"
        for (side, patients, prevalence), count in sorted(counts.items())
    ]
    told = f"Of {total} intervals, these are outside 93% to 97% by more than two Monte Carlo errors (a few by chance)"
    return f"{told}: {', '.join(parts)}; docs/coverage.md names each."


def say_low(record: dict) -> str:
    """How many intervals of larger studies seem to cover too little, and how many would by chance."""
    shares = [
        (row["coverage"][name], row["repetitions"])
        for row in record["rows"]
        for name in QUANTITIES
        if row["patients"] > min(SHARES) and name in row["coverage"]
    ]
    low = sum(share < TARGET[0] for share, _ in shares)
    chance = sum(binom.cdf(ceil(TARGET[0] * number) - 1, number, 0.95) for _, number in shares)
    return (
        f"With 103 or 300 patients, the estimated coverage is below 93% in {low} of {len(shares)} combinations of kind"
        f" and interval.\nIt would be in {chance:.0f} by chance alone if every interval covered in exactly 95%, since"
        " most kinds were simulated only 96 or 160 times."
    )


def pages(record: dict) -> dict[Path, str]:
    """Every file that says what the grid found, as it has to read."""
    found, root = summarize(record), Path(__file__).parents[1]
    means = [one["mean"] for one in found["intervals"].values()]
    sizes = ", ".join(f"{count} with {patients} patients" for patients, count in found["repetitions"].items())
    if found["again"]["kinds"]:
        kinds, least = found["again"]["kinds"], found["again"]["least"]
        sizes += f"; {kinds} kinds that lay below 93%, or whose interval changed, again in at least {least} new studies"
    readme = (
        f"  `python benchmarks/coverage.py` simulates {found['kinds']} kinds of study: 95% CIs of AUROC, sensitivity,\n"
        f"  specificity, balanced accuracy and paired differences cover the true value in {min(means):.1%} to"
        f" {max(means):.1%} on average;\n  those that treat slices as independent, in as little as"
        f" {found['naive']['least']:.0%} (simulated studies of each kind: {sizes}).\n  {say_missed(found)}\n  "
    ).replace("docs/coverage.md names each", "[coverage](docs/coverage.md) names each")
    cells = [
        f"| {name} | {cell['coverage']:.1%} | " + " | ".join(str(cell[field]) for field in Cell.__annotations__) + " |"
        for name, one in found["intervals"].items()
        for cell in sorted(one["missed"], key=lambda cell: cell["coverage"])
    ]
    head = "| interval of | coverage | " + " | ".join(Cell.__annotations__) + " |"
    listing = "\n".join([head, "|" + " --- |" * (2 + len(Cell.__annotations__)), *cells])
    below = listing if cells else say_missed(found)
    guide = f"{LISTED}\nSimulated studies of each kind: {sizes}.\n\n{table(found)}\n\n{below}\n"
    return {
        root / "README.md": between(root / "README.md", readme),
        root / "docs" / "evidence.md": between(root / "docs" / "evidence.md", f"{table(found)}\n\n{say_low(record)}\n"),
        root / "docs" / "coverage.md": guide,
        root / "fistula" / "report" / "sections" / "coverage.json": f"{kinds_by_line(found)}\n",
    }


def kinds_by_line(found: dict) -> str:
    """As JSON, each kind of study on a line."""
    return re.sub(r"\{[^{}]*\}", lambda kind: " ".join(kind[0].split()), json.dumps(found, indent=1))


def between(path: Path, text: str) -> str:
    """A page with this text between its marks."""
    before, _, rest = path.read_text(encoding="utf-8").partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return f"{before}{MARKS[0]}\n{text}{MARKS[1]}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--repetitions",
        type=int,
        default=1000,
        help="simulated studies for each cell of 30 patients; fewer for the larger ones",
    )
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after the round that is then under way")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--write", action="store_true", help="simulate nothing: write the pages from the record")
    parser.add_argument(
        "--again", choices=("below", "single"), help="simulate such kinds of the record again, in their place"
    )
    arguments = parser.parse_args()
    os.nice(10)
    start = time.perf_counter()
    if arguments.write or arguments.again:
        record = json.loads(arguments.out.read_text())
        if arguments.again:
            simulate_again(record, arguments.again, arguments.repetitions)
            arguments.out.write_text(json.dumps(record) + "\n")
        write_pages(record)
        return
    tallies = [Tally(cell) for cell in GRID]
    # Round by round, so that every cell has its share whenever time is up.
    for _ in range(ROUNDS):
        for tally in tallies:
            tally.add(round(arguments.repetitions * SHARES[tally.cell.patients] / ROUNDS))
        seconds = round(time.perf_counter() - start, 1)
        record = {"slices": SLICES, "target": TARGET, "seconds": seconds, "rows": [one.as_row() for one in tallies]}
        arguments.out.write_text(json.dumps(record) + "\n")
        print(f"{tallies[0].repetitions} of {arguments.repetitions} after {seconds:.0f} s", flush=True)
        if seconds > 60 * arguments.minutes:
            break
    write_pages(record)


def simulate_again(record: dict, which: str, repetitions: int) -> None:
    """Put fresh simulations, of new random numbers, in the place of some kinds of study of a record.

    What misses by chance in a grid of thousands of shares does not miss again; what does is shown with more studies.

    Args:
        record: Whose rows are replaced.
        which: ``below``: the kinds of which an interval covers less than 93% by more than two Monte Carlo errors;
            ``single``: those of one score per patient.
        repetitions: Simulated studies of each.
    """
    for number, row in enumerate(record["rows"]):
        low = any(row["coverage"].get(name, 1.0) < TARGET[0] - error(row) for name in QUANTITIES)
        if {"below": low, "single": row["slices"] == "single"}[which]:
            cell = Cell(**{field: row[field] for field in Cell.__annotations__})
            record["rows"][number] = Tally(cell, again=True).add(repetitions).as_row() | {"again": True}


def write_pages(record: dict) -> None:
    """Print the summary and write it wherever it is said."""
    print(table(summarize(record)))
    for path, text in pages(record).items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
