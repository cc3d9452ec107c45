"""What a report's defaults estimate, beside what was tried and left: `python benchmarks/defaults.py`."""

import argparse

import numpy as np
from scipy.stats import rankdata

from fistula.evidence.aggregate import RULES, patient_scores
from fistula.evidence.ranking.area import clustered_auroc
from fistula.evidence.ranking.roc import auroc
from fistula.evidence.rates.clustered import balanced_accuracy
from fistula.evidence.resample import patient_bootstrap


def noise(repetitions: int) -> None:
    """The mean per-patient AUROC of scores that know nothing, positives having more slices than controls."""
    for slices in ((20, 9), (11, 9)):
        found: dict[str, list[float]] = {rule: [] for rule in RULES}
        for random in np.random.default_rng(0).spawn(repetitions):
            patients = np.repeat(np.arange(60), np.repeat(slices, 30))
            scores = random.random(len(patients))
            for rule in RULES:
                _, truth, values = patient_scores(patients < 30, scores, patients, rule=rule)
                found[rule].append(auroc(truth, values))
        print(
            f"noise, {slices[0]} against {slices[1]} slices:",
            {rule: round(float(np.mean(a)), 3) for rule, a in found.items()},
        )


def folds(repetitions: int) -> None:
    """Bias of the AUROC over five folds: ranks pooled, and compared within folds."""
    for patients in (30, 103):
        pooled, within = [], []
        for random in np.random.default_rng(1).spawn(repetitions):
            labels = random.random(patients) < 0.3
            scores = random.standard_normal(patients) + 1.466 * labels  # an AUROC of 0.85
            fold = random.permutation(patients) % 5
            if labels.all() or not labels.any():
                continue
            ranks = np.empty(patients)
            for number in range(5):
                ranks[fold == number] = (rankdata(scores[fold == number]) - 0.5) / (fold == number).sum()
            pooled.append(auroc(labels, ranks) - 0.85)
            within.append(clustered_auroc(labels, scores, np.arange(patients), fold).value - 0.85)
        bias = float(np.mean(pooled)), float(np.nanmean(within))
        print(f"{patients} patients, 5 folds, bias: {bias[0]:+.4f} pooled ranks, {bias[1]:+.4f} within folds")


def few(repetitions: int) -> None:
    """Coverage of balanced accuracy with 6 positives and 24 controls, 10 slices each, correlation 0.7."""
    hits: dict[str, list[bool]] = {"bootstrap": [], "from the two rates": []}
    for random in np.random.default_rng(2).spawn(repetitions):
        patients = np.repeat(np.arange(30), 10)
        labels = (patients < 6).astype(int)
        scores = np.sqrt(0.7) * random.standard_normal(30)[patients] + np.sqrt(0.3) * random.standard_normal(300)
        called = (scores + 1.466 * labels >= 0.733).astype(int)
        drawn = patient_bootstrap(
            labels, called, patients, threshold=0.5, statistics=("balanced_accuracy",), resamples=400
        )
        for name, estimate in zip(
            hits, (drawn["balanced_accuracy"], balanced_accuracy(labels, called, patients)), strict=True
        ):
            hits[name].append(estimate.low <= 0.7682 <= estimate.high)
    print(
        "balanced accuracy, 6 positives, coverage:",
        {name: round(float(np.mean(each)), 3) for name, each in hits.items()},
    )


def highest(repetitions: int) -> None:
    """How often the highest of 100 AUROCs of noise has an interval above 0.5: its own, and adjusted for selection."""
    for patients in (40, 103):
        labels, above = np.arange(patients) % 2, {"95%": 0, "adjusted for selection": 0}
        for random in np.random.default_rng(3).spawn(repetitions):
            scores = random.random((patients, 100))
            best = scores[:, rankdata(scores, axis=0)[labels == 1].sum(axis=0).argmax()]
            for name, level in zip(above, (0.95, 1 - 0.05 / 100), strict=True):
                above[name] += clustered_auroc(labels, best, np.arange(patients), level=level).low > 0.5
        shares = {name: round(count / repetitions, 3) for name, count in above.items()}
        print(f"highest of 100 AUROCs of noise, {patients} patients, interval above 0.5:", shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=500)
    repetitions = parser.parse_args().repetitions
    noise(repetitions)
    folds(repetitions)
    few(repetitions)
    highest(repetitions)


if __name__ == "__main__":
    main()
