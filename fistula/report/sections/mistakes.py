"""Who was misclassified: patients, and the slices whose scores did it."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from fistula.errors import say_class
from fistula.report.results import Row
from fistula.report.run import Run
from fistula.report.study import Study
from fistula.report.wording import MINUS

NAMED = 3  # slices named for each patient, those furthest on the wrong side first


@dataclass(frozen=True)
class Mistake:
    """A patient that a run misclassified, or of whom it misclassified slices."""

    patient: str  # pseudonym
    fold: int
    seed: int
    label: str  # the class by the reference standard, or of the slices that were misclassified
    score: float  # the patient's; of slices the one furthest on the wrong side
    threshold: float  # that decided
    slices: list[str]  # images with their scores, those furthest on the wrong side first

    def as_line(self) -> dict[str, Any]:
        """As a line of `errors.csv`."""
        return self.__dict__ | {"slices": "; ".join(self.slices).replace(MINUS, "-")}


def mistakes(study: Study, row: Row) -> list[Mistake]:
    """Patients misclassified by a configuration, or with misclassified slices at that level, the worst first."""
    wrong = row.rows.filter(pl.col("called") != pl.col("label"))
    found = []
    for (patient, number), rows in wrong.group_by("patient_key", "run", maintain_order=True):
        run = row.configuration.runs[number]
        fold, seed = int(run.record["fold"]), int(run.record["seed"])
        threshold = study.threshold(run, row.positive, level=row.level)
        for (label,), part in rows.group_by("label", maintain_order=True):
            scores = part["score"].to_numpy()
            worst = float(scores.min() if label else scores.max())
            keys = part["unit"].to_list() if row.level == "slice" else None
            slices = _slices(study, run, row, str(patient), bool(label), keys)
            reference = say_class(row.positive if label else study.rest(row.positive))
            found.append(Mistake(str(patient), fold, seed, reference, worst, threshold, slices))
    return sorted(found, key=lambda one: -abs(one.score - one.threshold))


def _slices(study: Study, run: Run, row: Row, patient: str, label: bool, keys: list[str] | None) -> list[str]:
    """Image numbers (positions or keys, where there are none) and scores of the slices that speak for the mistake."""
    classes = study.cohort.classes
    column = "score" if len(classes) == 2 else f"score_{row.positive}"
    test = run.slices.filter((pl.col("part") == "test") & (pl.col("patient_key") == patient))
    if keys is not None and run.slices is run.predictions:
        test = test.filter(pl.col("slice_key").is_in(keys))
    elif label:
        # A patient was missed by those slices that show it.
        test = test.filter(pl.col("label") == classes.index(row.positive))
    test = test.sort(column, descending=not label).head(NAMED)
    names = dict(study.cohort.manifest.select("slice_key", _name(study.cohort.manifest)).iter_rows())
    return [f"{names[key]} ({score:.3f})" for key, score in test.select("slice_key", column).iter_rows()]


def _name(manifest: pl.DataFrame) -> pl.Expr:
    numbered = pl.format("image {}", "image_number") if "image_number" in manifest.columns else pl.lit(None, pl.String)
    placed = pl.format("{} mm", pl.col("position_mm").round(1).cast(pl.String).str.replace("-", MINUS))
    return pl.coalesce(numbered, placed, pl.col("slice_key"))
