"""How often do 95 % intervals cover the truth when slices of a patient are alike? `python benchmarks/coverage.py`."""

import argparse
import json
import time
from math import sqrt
from pathlib import Path

import numpy as np
from scipy.special import ndtr, ndtri

from fistula.evidence.area import clustered_auroc, delong
from fistula.evidence.clustered import gee, rao_scott
from fistula.evidence.compare import clustered_auroc_test, delong_test
from fistula.evidence.estimate import Estimate
from fistula.evidence.rates import wilson
from fistula.evidence.resample import paired_bootstrap, patient_bootstrap

POSITIVE_PATIENTS, NEGATIVE_PATIENTS, SLICES = 58, 45, 10
BOOTSTRAPPED = ("auroc", "sensitivity", "balanced_accuracy")


def simulate(random: np.random.Generator, *, auroc: float, correlation: float) -> dict[str, np.ndarray]:
    """A cohort of 103 patients with two models of equal AUROC, whose errors correlate by one half.

    A slice's score is normal with variance 1, of which `correlation` is its patient's; positives are shifted so that
    the AUROC of slices is `auroc`, whatever the correlation.
    """
    patients = np.repeat(np.arange(POSITIVE_PATIENTS + NEGATIVE_PATIENTS), SLICES)
    labels = (patients < POSITIVE_PATIENTS).astype(np.int64)
    count = POSITIVE_PATIENTS + NEGATIVE_PATIENTS
    shared = np.array([[1.0, 0.0], [0.5, sqrt(0.75)]])
    of_patients = random.standard_normal((count, 2)) @ shared.T
    of_slices = random.standard_normal((len(patients), 2)) @ shared.T
    noise = sqrt(correlation) * of_patients[patients] + sqrt(1 - correlation) * of_slices
    scores = noise + (labels * separation(auroc))[:, None]
    return {"patients": patients, "labels": labels, "first": scores[:, 0], "second": scores[:, 1]}


def separation(auroc: float) -> float:
    """Distance of two normal distributions of variance 1 with this AUROC."""
    return float(sqrt(2) * ndtri(auroc))


def formula_intervals(cohort: dict[str, np.ndarray], *, threshold: float) -> dict[tuple[str, str], Estimate]:
    """Intervals by formula, by quantity and method; the naive ones take slices as independent."""
    labels, patients, first, second = (cohort[name] for name in ("labels", "patients", "first", "second"))
    called, positive = (first >= threshold).astype(np.int64), labels == 1
    return {
        ("AUROC", "naive: DeLong on slices"): delong(labels, first),
        ("AUROC", "clustered: Obuchowski, logit, t"): clustered_auroc(labels, first, patients),
        ("sensitivity", "naive: Wilson on slices"): wilson(int(called[positive].sum()), int(positive.sum())),
        ("sensitivity", "clustered: Rao-Scott, Wilson, t"): rao_scott(called[positive], patients[positive]),
        ("sensitivity", "clustered: GEE, t"): gee(called[positive], patients[positive]),
        ("AUROC difference", "naive: paired DeLong on slices"): delong_test(labels, first, second).difference,
        ("AUROC difference", "clustered: paired Obuchowski, t"): clustered_auroc_test(
            labels, first, second, patients
        ).difference,
    }


def bootstrap_intervals(
    cohort: dict[str, np.ndarray], *, threshold: float, resamples: int
) -> dict[tuple[str, str], Estimate]:
    """Intervals from resampled patients, by quantity and method."""
    labels, patients, first, second = (cohort[name] for name in ("labels", "patients", "first", "second"))
    found = {}
    for method in ("percentile", "bca"):
        alone = patient_bootstrap(
            labels, first, patients, threshold=threshold, statistics=BOOTSTRAPPED, resamples=resamples, method=method
        )
        pair = paired_bootstrap(
            labels,
            (first, second),
            patients,
            thresholds=(None, None),
            statistics=("auroc",),
            resamples=resamples,
            method=method,
        )
        for name, estimate in alone.items():
            found[name.replace("_", " ").replace("auroc", "AUROC"), f"clustered: bootstrap, {method}"] = estimate
        found["AUROC difference", f"clustered: bootstrap, {method}"] = pair["auroc"]
    return found


def coverage(
    *, auroc: float, correlation: float, repetitions: int, bootstrapped: int = 0, resamples: int = 0, seed: int = 0
) -> list[dict]:
    """The share of simulated cohorts whose interval holds the truth, for each quantity and method.

    The bootstrap, being dear, sees only the first `bootstrapped` of the cohorts.
    """
    threshold = separation(auroc) / 2
    rate = float(ndtr(threshold))
    truth = {"AUROC": auroc, "sensitivity": rate, "balanced accuracy": rate, "AUROC difference": 0.0}
    covered: dict[tuple[str, str], list[bool]] = {}
    widths: dict[tuple[str, str], list[float]] = {}
    for index, random in enumerate(np.random.default_rng([seed, round(1000 * correlation)]).spawn(repetitions)):
        cohort = simulate(random, auroc=auroc, correlation=correlation)
        found = formula_intervals(cohort, threshold=threshold)
        if index < bootstrapped:
            found |= bootstrap_intervals(cohort, threshold=threshold, resamples=resamples)
        for key, estimate in found.items():
            covered.setdefault(key, []).append(estimate.low <= truth[key[0]] <= estimate.high)
            widths.setdefault(key, []).append(estimate.high - estimate.low)
    return [
        {
            "auroc": auroc,
            "correlation": correlation,
            "quantity": quantity,
            "method": method,
            "coverage": float(np.mean(hits)),
            "monte_carlo_error": sqrt(np.mean(hits) * (1 - np.mean(hits)) / len(hits)),
            "repetitions": len(hits),
            "mean_width": float(np.mean(widths[quantity, method])),
        }
        for (quantity, method), hits in covered.items()
    ]


def print_table(rows: list[dict]) -> None:
    """One line for each quantity and method, one column for each correlation."""
    correlations = sorted({row["correlation"] for row in rows})
    for auroc in sorted({row["auroc"] for row in rows}):
        cells = {
            (row["quantity"], row["method"], row["correlation"]): row["coverage"]
            for row in rows
            if row["auroc"] == auroc
        }
        print(f"\nAUROC {auroc:g}: coverage of 95 % intervals, %")
        print(f"{'quantity':18}{'method':34}" + "".join(f"{f'r = {value:g}':>9}" for value in correlations))
        for quantity, method in sorted({key[:2] for key in cells}):
            values = "".join(f"{100 * cells[quantity, method, value]:9.1f}" for value in correlations)
            print(f"{quantity:18}{method:34}{values}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=4000, help="simulated cohorts for each setting")
    parser.add_argument("--bootstrapped", type=int, default=1500, help="how many of them are bootstrapped")
    parser.add_argument("--resamples", type=int, default=1000, help="of each bootstrap")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    start = time.perf_counter()
    rows = []
    for auroc in (0.85, 0.96):
        for correlation in (0.0, 0.3, 0.7):
            rows += coverage(
                auroc=auroc,
                correlation=correlation,
                repetitions=arguments.repetitions,
                bootstrapped=arguments.bootstrapped,
                resamples=arguments.resamples,
            )
    print_table(rows)
    record = {
        "patients": {"positive": POSITIVE_PATIENTS, "negative": NEGATIVE_PATIENTS, "slices": SLICES},
        "resamples": arguments.resamples,
        "seconds": round(time.perf_counter() - start, 1),
        "rows": rows,
    }
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
