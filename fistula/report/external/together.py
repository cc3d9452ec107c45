"""An external cohort of three classes or more, over all of them at once, beside the internal result."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.evidence.estimate import Estimate
from fistula.evidence.independent import independent_difference
from fistula.evidence.ranking.macro import macro_auroc
from fistula.evidence.rates.clustered import clustered_rate
from fistula.report.external.cohorts import External, Outside, external_rows
from fistula.report.sections.all_classes import AllClasses
from fistula.report.study import Study

MEASURES = ("macro_auroc", "accuracy")


@dataclass(frozen=True)
class OutsideTogether:
    """All classes of an external cohort, at the primary level."""

    external: External  # where the scores lie
    level: str  # ``slice`` or ``patient``
    inside: AllClasses  # the configuration's internal results
    count: int  # units of the level
    # Of the ensemble, by the names of `MEASURES`; what has the highest mean score is called.
    estimates: dict[str, Estimate]
    single: dict[str, Estimate]  # of the runs one by one, pooled as the internal ones are
    differences: dict[str, Estimate]  # inside less outside, single networks on both sides


def outside_together(
    study: Study, found: list[Outside], inside: list[AllClasses], *, primary: str, scaling: str
) -> list[OutsideTogether]:
    """Every external cohort over all classes; empty for two classes.

    `found` is each class of each cohort at each level, and `inside` the internal results; the scaling changes nothing.
    """
    if len(study.cohort.classes) < 3:
        return []
    told = []
    for name, external in {one.external.name: one.external for one in found}.items():
        levels = {one.level for one in found if one.external.name == name}
        level = primary if primary in levels else "patient"
        own = [one for one in found if (one.external.name, one.level) == (name, level)]
        long = [external_rows(study, external, one.positive, level=level, scaling=scaling) for one in own]
        ensemble, single = _measure([one.rows for one in own]), _measure(long)
        internal = next(one for one in inside if one.configuration is own[0].configuration)
        differences = {name: independent_difference(internal.estimates[name], single[name]) for name in MEASURES}
        told.append(OutsideTogether(external, level, internal, own[0].num[0], ensemble, single, differences))
    return told


def _measure(of_class: list[pl.DataFrame]) -> dict[str, Estimate]:
    """Rows of each class, in one order: macro AUROC, and share of rows called as the reference standard says."""
    truth, scores = (np.stack([rows[name].to_numpy() for rows in of_class], axis=1) for name in ("label", "score"))
    keys = of_class[0]["patient_key"].to_numpy()
    runs: NDArray | None = of_class[0]["run"].to_numpy() if "run" in of_class[0].columns else None
    right = (truth.argmax(axis=1) == scores.argmax(axis=1)).astype(int)
    return {"macro_auroc": macro_auroc(truth, scores, keys, runs), "accuracy": clustered_rate(right, keys)}
