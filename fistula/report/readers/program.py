"""Another program's scores of the same patients, beside every configuration of the study."""

from dataclasses import dataclass

import polars as pl

from fistula.evidence.design.compare import Comparison, clustered_auroc_test
from fistula.evidence.design.verdict import holm
from fistula.evidence.estimate import Estimate, undefined
from fistula.evidence.ranking.area import clustered_auroc
from fistula.evidence.standard import METRICS, standard_metrics
from fistula.report.pooling import ranking
from fistula.report.results import Row
from fistula.report.sections.comparisons import rate_tests


@dataclass(frozen=True)
class Program:
    """Another program."""

    name: str
    cohort: str  # whose patients it scored; empty for the study's own
    patients: tuple[int, int]  # scored, and of them positive
    class_name: str  # the class that it is judged by
    estimates: dict[str, Estimate]  # by the names of `METRICS`; those of calls are undefined where it gave none
    # Numerator and denominator of sensitivity and specificity as they are printed; empty without calls.
    counts: dict[str, str]
    of: int  # patients whom the study scored
    # For each configuration, configuration less program on the shared patients: AUROC, sensitivity, specificity, and
    # Holm's P values of these over the configurations.
    against: list[tuple[str, dict[str, Comparison], dict[str, float]]]

    @property
    def title(self) -> str:
        """In a table of configurations."""
        return f"{self.name} (another program)"


def compare_program(
    table: pl.DataFrame, rows: list[tuple[str, pl.DataFrame]], *, cohort: str, positive: str
) -> Program:
    """Compare it with configurations on the patients that both scored.

    `table` has ``patient_key reader score call``; `rows` are name and test rows of each configuration, by patient:
    ``patient_key run label score called``.
    """
    labels = pl.concat([one.select("patient_key", "label") for _, one in rows]).unique("patient_key")
    own = table.join(labels, on="patient_key", maintain_order="left", how="inner")
    truth = own["label"].to_numpy()
    found = []
    p_values: dict[str, list[float]] = {name: [] for name in ("auroc", "sensitivity", "specificity")}
    for name, theirs in rows:
        tests = _test(theirs.join(table.select("patient_key", program="score", call="call"), on="patient_key"))
        found.append((name, tests))
        for measure, test in tests.items():
            p_values[measure].append(test.p_value)
    corrected = {measure: holm(values).tolist() for measure, values in p_values.items()}
    against = [(name, tests, {key: corrected[key][at] for key in tests}) for at, (name, tests) in enumerate(found)]
    estimates, counts = _judge(own)
    patients = len(own), int(truth.sum())
    return Program(own["reader"][0], cohort, patients, positive, estimates, counts, len(labels), against)


def rows_of(rows: list[Row], positive: str) -> list[tuple[str, pl.DataFrame]]:
    """The configurations' own test rows by patient, for `compare_program`."""
    return [
        (row.configuration.name, row.rows)
        for row in rows
        if row.level == "patient" and row.positive == positive and not row.configuration.is_canary
    ]


def _test(shared: pl.DataFrame) -> dict[str, Comparison]:
    labels, scores, keys, runs = ranking(shared)
    tests = {"auroc": clustered_auroc_test(labels, scores, shared["program"].to_numpy(), keys, runs)}
    if shared["call"].has_nulls():
        nothing = Comparison(undefined("paired rates", "the program gave no decisions"))
        return tests | {"sensitivity": nothing, "specificity": nothing}
    return tests | rate_tests(labels, shared["called"].to_numpy(), shared["call"].to_numpy(), keys)


def _judge(own: pl.DataFrame) -> tuple[dict[str, Estimate], dict[str, str]]:
    labels, scores, keys = (own[name].to_numpy() for name in ("label", "score", "patient_key"))
    if own["call"].has_nulls():
        nothing = undefined("rates", "it gave no decisions")
        return dict.fromkeys(METRICS, nothing) | {"auroc": clustered_auroc(labels, scores, keys)}, {}
    called = own["call"].to_numpy()
    right = {name: called[labels == label] == label for name, label in (("sensitivity", 1), ("specificity", 0))}
    return standard_metrics(labels, scores, called, keys), {name: f"{x.sum()}/{len(x)}" for name, x in right.items()}
