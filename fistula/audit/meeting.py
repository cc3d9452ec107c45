"""What two cohorts have in common, which an external one must not; and how their patients differ, which it may."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.audit.findings import IDENTITIES, with_seen_pixels
from fistula.audit.near_duplicates import find_near_duplicates
from fistula.cohort.manifest import Cohort, named_scanner
from fistula.errors import DataError, LeakageError, count

SHARED = ("refuse", "exclude")
COMPARED = IDENTITIES | {"file": "source_hash"}  # the file itself, where pseudonyms were made anew
NAMED = 3  # patients named in an error


@dataclass(frozen=True)
class Meeting:
    """What an external cohort shares with a study's own."""

    # For each kind, how many values of the external cohort were compared, and how many are the study's too.
    checks: dict[str, dict[str, int]]
    patients: dict[str, list[str]]  # keys of the external patients who share anything, with the kinds
    # Whether both cohorts were made with one pseudonym key; if not, no patient can be recognised by name.
    same_key: bool
    repeated: int  # slices of the external cohort whose pixels another patient of it has too

    def remaining(self, cohort: Cohort, *, shared: str) -> list[str]:
        """The labelled patients of the external cohort who may be scored; `shared` is one of `SHARED`.

        Raises:
            LeakageError: If any is shared, and `shared` is ``refuse``.
            DataError: If nobody remains.
        """
        if self.patients and shared == "refuse":
            kinds = sorted({kind for found in self.patients.values() for kind in found})
            first = ", ".join(f"{key[:12]} ({', '.join(found)})" for key, found in list(self.patients.items())[:NAMED])
            rule = "must share no patient, and no copy of a slice, with the study's cohort"
            told = f"{count(len(self.patients), 'patient')} shared, by {', '.join(kinds)}; the first: {first}"
            remedy = "shared=exclude excludes and counts them"
            raise LeakageError(f"cohort={cohort.folder}", rule, found=told, remedy=remedy)
        kept = set(cohort.labelled["patient_key"]) - self.patients.keys()
        if not kept:
            raise DataError(f"cohort={cohort.folder}", "must have a labeled patient who is not in the study's cohort")
        return sorted(kept)


def meet(own: Cohort, other: Cohort, *, distance: int, correlation: float) -> Meeting:
    """Look for patients and slices of a study's cohort in an external one.

    Slices are of one size; `distance` and `correlation` are as in `Audit`.
    """
    checks: dict[str, dict[str, int]] = {}
    patients: dict[str, set[str]] = {}

    def note(kind: str, compared: int, rows: pl.DataFrame, found: int) -> None:
        checks[kind] = {"compared": compared, "shared": found}
        for key in rows["patient_key"].unique():
            patients.setdefault(key, set()).add(kind.replace("_", " "))

    rows = other.manifest.with_row_index("row")
    manifest = with_seen_pixels(rows, other.pixels, known=set(own.manifest["pixel_hash"].drop_nulls()))
    for kind, column in COMPARED.items():
        known = set(own.manifest[column].drop_nulls())
        rows = manifest.filter(pl.col(column).is_in(known))
        note(kind, manifest[column].drop_nulls().n_unique(), rows, rows[column].n_unique())
    # All of one cohort under one number: the pairs that are looked for are those between the two.
    side = np.repeat([0, 1], [len(own.manifest), len(other.manifest)])
    joined: Any = _Joined(own.pixels, other.pixels)
    search = find_near_duplicates(joined, side, distance=distance, correlation=correlation)
    alike = sorted({pair.second - len(own.manifest) for pair in search.pairs})
    note("near_duplicate", len(other.manifest), other.manifest[alike], len(alike))
    owners = pl.col("patient_key").n_unique().over("pixel_hash")
    return Meeting(
        checks,
        {key: sorted(patients[key]) for key in sorted(patients)},
        own.record.get("key_name") == other.record.get("key_name"),
        len(manifest.drop_nulls(["label", "pixel_hash"]).filter(owners > 1)),
    )


class _Joined:
    """The pixels of two cohorts as one array, of which a part at a time is in memory."""

    def __init__(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> None:
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, chosen: Any) -> NDArray[np.uint8]:
        rows = np.arange(len(self))[chosen]
        found = np.empty((len(rows), *self.first.shape[1:]), np.uint8)
        is_first = rows < len(self.first)
        found[is_first] = self.first[rows[is_first]]
        found[~is_first] = self.second[rows[~is_first] - len(self.first)]
        return found


def population(cohort: Cohort, patients: list[str] | None = None) -> dict[str, Any]:
    """Who the labelled patients of a cohort, or some of them, are: numbers, age, sex, prevalence, scanners.

    Returns:
        ``patients``, ``slices`` (labelled), ``positive`` (patients with a slice of another class than the first),
        ``age`` (mean and standard deviation in years, None where unknown), ``female`` (share of those whose sex is
        known), ``sites`` and ``scanners`` (patients by name).
    """
    rows = cohort.labelled if patients is None else cohort.labelled.filter(pl.col("patient_key").is_in(patients))
    people = rows.group_by("patient_key", maintain_order=True).agg(  # else a mean has other last digits each time
        pl.col("label").max(), pl.col("age", "sex", "site").drop_nulls().first(), named_scanner().first()
    )
    age, sex = people["age"].drop_nulls(), people["sex"].drop_nulls()
    return {
        "patients": len(people),
        "slices": len(rows),
        "positive": int((people["label"] > 0).sum()),
        "age": [_number(age.mean()), _number(age.std())] if len(age) else None,
        "female": int((sex == "F").sum()) / len(sex) if len(sex) else None,
        "sites": _counts(people["site"]),
        "scanners": _counts(people["scanner"]),
    }


def strangeness(own: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """How the patients of one cohort differ from another's, in sentences; both as `population` gives them."""
    said = []
    if own["age"] and other["age"]:
        (mean, spread), (theirs, _) = own["age"], other["age"]
        if spread and abs(theirs - mean) > spread / 2:
            said.append(f"mean age {theirs:.0f} years, not {mean:.0f}")
    if own["female"] is not None and other["female"] is not None and abs(own["female"] - other["female"]) > 0.15:
        said.append(f"{other['female']:.0%} women, not {own['female']:.0%}")
    shares = [one["positive"] / one["patients"] for one in (own, other)]
    if abs(shares[0] - shares[1]) > 0.1:
        said.append(f"prevalence {shares[1]:.0%} of patients, not {shares[0]:.0%}")
    if own["scanners"] and (strange := sorted(set(other["scanners"]) - set(own["scanners"]))):
        number = sum(other["scanners"][name] for name in strange)
        said.append(
            f"{number} of {other['patients']} patients from scanners that are not in the study: {', '.join(strange)}"
        )
    return said


def _counts(names: pl.Series) -> dict[str, int]:
    return {
        str(name): int(count)
        for name, count in names.drop_nulls().value_counts().sort("count", descending=True).iter_rows()
    }


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
