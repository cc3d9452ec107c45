"""How a configuration does on its own test patients as other scanners might have shown them."""

import json
from dataclasses import dataclass
from typing import Any

import polars as pl

from fistula.cohort.manifest import named_scanner
from fistula.errors import DataError
from fistula.evidence.estimate import Estimate
from fistula.evidence.ranking.area import clustered_auroc
from fistula.folder import digest_of
from fistula.report.pooling import judged, one_against_rest, ranking
from fistula.report.study import Run, Study

FOLDER, KEPT = "shifts", "shifts.json"
TABLES = ("predictions.parquet", "answers.parquet")


@dataclass(frozen=True)
class Step:
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
    steps: list[Step]  # the images as they are first

    def of(self, shift: str) -> list[Step]:
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
    remedy = f"Remove {folder} and evaluate the shifts again"
    try:
        record = json.loads((folder / KEPT).read_text(encoding="utf-8"))
        found = {name: digest_of(folder / name) for name in TABLES}
        predictions, answers = (pl.read_parquet(folder / name, glob=False) for name in TABLES)
        names = record["runs"]
        changed = [name for name in TABLES if record["files"][name] != found[name]]
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        raise DataError(folder / KEPT, f"cannot be read ({error})", remedy=remedy) from error
    runs = [run for run in study.runs if names.get(run.folder.name) == run.record.get("fingerprint")]
    if changed or len(runs) < len(names):
        why = f"{', '.join(changed)} changed" if changed else "runs that the study no longer has"
        raise DataError(folder, "must be as it was written, by runs of this study", found=why, remedy=remedy)
    steps = predictions.select("shift", "strength").unique(maintain_order=True).rows()
    scanners = answers.unique("patient_key").select("patient_key", named_scanner())
    told = []
    for shift, strength in steps:
        at = (pl.col("shift") == shift) & (pl.col("strength") == strength)
        rows = _rows(study, runs, predictions.filter(at), level=level, scaling=scaling)
        said = answers.filter(at)["answer"]
        told.append(
            Step(
                shift,
                strength,
                clustered_auroc(*ranking(rows)),
                int((said == "abstain").sum()) / len(said),
                _split(rows, scanners),
            )
        )
    return Robustness(record["configuration"], record["amounts"], told)


def _rows(study: Study, runs: list[Run], table: pl.DataFrame, *, level: str, scaling: str) -> pl.DataFrame:
    positive, found = study.positives[0], []
    for number, run in enumerate(runs):
        own = table.filter(pl.col("run") == run.folder.name)
        path = study.folder / FOLDER / TABLES[0]
        rows = one_against_rest(study, own, positive, part="test", where=path, remedy="Evaluate the shifts again")
        rows = judged(study, run, rows, positive, level=level, scaling=scaling)
        found.append(rows.select("unit", "patient_key", "label", "score", run=pl.lit(number, pl.Int64)))
    return pl.concat(found).sort("run", "unit")


def _split(rows: pl.DataFrame, scanners: pl.DataFrame) -> dict[str, Estimate]:
    known = rows.join(scanners, on="patient_key", maintain_order="left").drop_nulls("scanner")
    parts = {str(name): part for (name,), part in known.group_by("scanner", maintain_order=True)}
    found = {name: clustered_auroc(*ranking(parts[name])) for name in sorted(parts)}
    found = {name: area for name, area in found.items() if area.is_defined}
    return found if len(found) > 1 else {}
