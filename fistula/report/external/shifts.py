"""How a configuration does on its own test patients as other scanners might have shown them."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from fistula.cohort.manifest import named_scanner
from fistula.evidence.estimate import Estimate
from fistula.evidence.ranking.area import clustered_auroc
from fistula.report.external.cohorts import evaluated_rows, read_evaluation
from fistula.report.pooling import ranking
from fistula.report.study import Study

FOLDER, KEPT = "shifts", "shifts.json"
TABLES = ("predictions.parquet", "answers.parquet")


@dataclass(frozen=True)
class ShiftStep:
    """One shift at one strength; 0 and no name: the images as they are."""

    shift: str
    strength: int  # 1 to 3
    auroc: Estimate  # within runs, of the first class, at the primary level
    abstained: float  # share of patients who would get no answer
    by_scanner: dict[str, Estimate]  # AUROC by scanner, where there are several with both classes


@dataclass(frozen=True)
class Robustness:
    """What `fistula evaluate shifts=true` found."""

    configuration: str
    amounts: dict[str, Any]  # what each shift does, and how much at each strength
    steps: list[ShiftStep]  # the images as they are first

    def of(self, shift: str) -> list[ShiftStep]:
        """The steps of one shift, from strength 0."""
        return [step for step in self.steps if step.shift in ("", shift)]


def robustness(study: Study, *, level: str, scaling: str) -> Robustness | None:
    """Read it; None where there is none. No number here depends on the scaling.

    Raises:
        DataError: If a file was changed, or the study no longer has the runs.
    """
    folder = study.folder / FOLDER
    if not (folder / KEPT).is_file():
        return None
    record, runs = read_evaluation(study, folder / KEPT, TABLES)
    predictions, answers = (pl.read_parquet(folder / name, glob=False) for name in TABLES)
    steps = predictions.select("shift", "strength").unique(maintain_order=True).rows()
    scanners = answers.unique("patient_key").select("patient_key", named_scanner())
    told = []
    for shift, strength in steps:
        at = (pl.col("shift") == shift) & (pl.col("strength") == strength)
        rows = evaluated_rows(
            study, runs, predictions.filter(at), study.positives[0],
            level=level, scaling=scaling, part="test", where=folder / TABLES[0],
        )  # fmt: skip
        said = answers.filter(at)["answer"]
        abstained = int((said == "abstain").sum()) / len(said)
        told.append(ShiftStep(shift, strength, clustered_auroc(*ranking(rows)), abstained, _split(rows, scanners)))
    return Robustness(record["configuration"], record["amounts"], told)


def _split(rows: pl.DataFrame, scanners: pl.DataFrame) -> dict[str, Estimate]:
    known = rows.join(scanners, on="patient_key", maintain_order="left").drop_nulls("scanner")
    parts = {str(name): part for (name,), part in known.group_by("scanner", maintain_order=True)}
    found = {name: clustered_auroc(*ranking(parts[name])) for name in sorted(parts)}
    found = {name: area for name, area in found.items() if area.is_defined}
    return found if len(found) > 1 else {}
