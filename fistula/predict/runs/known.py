"""What runs are told of patients beside their images: covariates, from headers or from a table."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from torch import Tensor

from fistula.cohort.manifest import COVARIATE, OF_HEADERS, Cohort
from fistula.errors import ConfigError, DataError
from fistula.labels.tables.covariates import read_of_patients
from fistula.learning.data.covariates import values_of
from fistula.predict.runs.model import LoadedRun
from fistula.predict.source import Reader, Slices


def unstated(run: LoadedRun) -> list[str]:
    """Covariates of a run that no header states."""
    names = run.classifier.covariates.names if run.classifier.covariates else []
    return [name for name in names if name not in OF_HEADERS]


def refuse_unstated(run: LoadedRun, *, remedy: str) -> None:
    """Raise ConfigError if a run needs what no header states."""
    if names := unstated(run):
        raise ConfigError(
            f"run={run.folder}", "needs covariates that no header states", found=", ".join(names), remedy=remedy
        )


def refuse_other_covariates(run: LoadedRun, cohort: Cohort) -> None:
    """Raise DataError unless a cohort has a run's covariates, its words standing for the same numbers."""
    where = f"cohort={cohort.folder}"
    own, other = (one.record.get("covariates", {}) for one in (run.cohort, cohort))
    for name in unstated(run):
        if f"{COVARIATE}{name}" not in cohort.manifest.columns:
            remedy = f"Ingest it with labels.covariates=[{','.join(unstated(run))}]"
            raise DataError(
                where, "must have the covariates that the study was trained on", found=f"no {name}", remedy=remedy
            )
        if own.get(name) != other.get(name):
            rule = f"must give {name} as the study's cohort does: {_said(own.get(name))}"
            raise DataError(where, rule, found=_said(other.get(name)), remedy="Write 0 and 1, or the same two words")


def with_stated(run: LoadedRun, reader: Reader, slices: Slices, table: Path | None) -> Slices:
    """Add to new slices what a table says of their patients: ``patient_id`` and covariates, one line a patient.

    Raises:
        ConfigError: If there is no table and the run needs one, or there is one and it does not.
        DataError: If it is not such a table, or is of none of the patients.
    """
    names = unstated(run)
    if not names:
        if table is not None:
            rule = "is for runs that were trained with covariates of a table"
            raise ConfigError("covariates_table", rule, found=table, remedy="Leave it out")
        return slices
    if table is None:
        refuse_unstated(run, remedy="Give a table of them, with patient_id: covariates_table=FILE")
        return slices
    pseudonyms = reader.plan.look.pseudonyms
    said = {
        pseudonyms("patient", name) if key == "patient_id" else name: values
        for (key, name), values in read_of_patients(table, names, run.cohort.record.get("covariates", {})).items()
    }
    patients = slices.table["patient_key"].to_list()
    if not said.keys() & set(patients):
        raise DataError(table, "must have a line for a patient of the images", found=f"{len(said)} lines of others")
    nothing = (None,) * len(names)
    columns = zip(*(said.get(patient, nothing) for patient in patients), strict=True)
    added = [pl.Series(f"{COVARIATE}{name}", column, pl.Float64) for name, column in zip(names, columns, strict=True)]
    others = len(said.keys() - set(patients))
    notes = [f"{table.name}: {others} lines are for patients without images here"] if others else []
    return replace(slices, table=slices.table.hstack(added), notes=[*slices.notes, *notes])


def _said(words: list[str] | None) -> str:
    return ", ".join(f"{word} is {number}" for number, word in enumerate(words)) if words else "a number"


def known_of_slices(run: LoadedRun, table: pl.DataFrame) -> Tensor | None:
    """Covariates of slices ``(N, C)``, where a run scores patients those of their patient; None where it has none."""
    if run.classifier.covariates is None:
        return None
    _, place, sizes = np.unique(table[run.key].to_numpy(), return_inverse=True, return_counts=True)
    order = np.argsort(place, kind="stable")
    return values_of(table[order.tolist()], run.classifier.covariates.names, sizes)[place]


def say_unknown(run: LoadedRun, table: pl.DataFrame) -> list[str]:
    """For each covariate, of how many slices it is not known."""
    known = known_of_slices(run, table)
    if known is None or run.classifier.covariates is None:
        return []
    counts = known.isnan().sum(dim=0).tolist()
    named = zip(run.classifier.covariates.names, counts, strict=True)
    return [
        f"{name} is unknown in {count} of {len(known)} slices and treated as missing" for name, count in named if count
    ]
