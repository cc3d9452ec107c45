"""What stands beside the scores of new images: counts, settings, and what has to be known to read them."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import polars as pl

from fistula.errors import count
from fistula.explain.cam import method_of
from fistula.explain.verdict import MADE_OF, say_verdict
from fistula.predict.runs.known import say_unknown
from fistula.predict.runs.model import LoadedRun
from fistula.predict.source import Slices

if TYPE_CHECKING:
    from fistula.predict.predictor import Predictor


def summary_of(predictor: "Predictor", slices: Slices, patients: pl.DataFrame) -> dict[str, Any]:
    """Counts, settings, and what has to be known to read the scores."""
    notes = [*slices.notes, *say_unknown(predictor.runs[0], slices.table)]
    if not slices.knows_patients:
        notes.append("patients of the cohort cannot be recognized: it was ingested with another pseudonym key")
    if seen := int((patients["known"] != "").sum()):
        of = f"{seen} of {count(len(patients), 'patient')}"
        notes.append(f"in the cohort already: {of}, whose scores are optimistically biased")
    notes += predictor.answers_said
    called_from = {}
    if len(predictor.classes) == 2:  # the mean scores of the runs from which patients and slices are called positive
        called_from["patients"] = fmean(run.patient_threshold for run in predictor.runs)
        called_from["slices"] = fmean(run.threshold for run in predictor.runs)
    return {
        "runs": [{"name": run.name, "fingerprint": run.record["fingerprint"]} for run in predictor.runs],
        "cohort_fingerprint": predictor.runs[0].cohort.fingerprint,
        "versions": predictor.runs[0].record.get("versions", {}),
        "classes": predictor.classes,
        "thresholds": {run.name: run.record["operating_point"] for run in predictor.runs},
        "called_from": called_from,
        "aggregation": {run.name: run.record.get("aggregation", "mean") for run in predictor.runs},
        "error": predictor.error,
        "maps": _maps(predictor.runs),
        "flow": slices.flow.steps,
        "slices": len(slices.table),
        "patients": len(patients),
        "answers": dict(sorted(Counter(patients["answer"]).items())),
        "notes": notes,
    }


def _maps(runs: Sequence[LoadedRun]) -> dict[str, Any]:
    """What heat maps are made of, and what is known of those of each run, in words."""
    method = method_of(runs[0].classifier)
    said = {run.name: say_verdict(run.folder, method=method) for run in runs}
    alike = len(set(said.values())) == 1
    verdicts = [one if alike else f"{name}: {one}" for name, one in said.items()]
    return {"made_of": MADE_OF[method], "verdicts": verdicts[:1] if alike else verdicts}
