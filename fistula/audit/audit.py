"""Look for leaks across a split, and for what else would make its results mean less, before the first epoch."""

from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl

from fistula.audit.certificate import BY_CONSTRUCTION, Certificate, read_acceptances
from fistula.audit.findings import (
    IDENTITIES,
    Finding,
    find_contradictions,
    find_look_alikes,
    find_shared,
    with_seen_pixels,
)
from fistula.audit.likeness import BITS
from fistula.audit.near_duplicates import find_near_duplicates
from fistula.cohort.look.confounding import auroc_alone, find_confounding, position_alone
from fistula.cohort.look.early import lacking_warnings
from fistula.cohort.manifest import Cohort, lacking
from fistula.cohort.split_table import split_fingerprint
from fistula.errors import ConfigError, DataError


@dataclass(frozen=True)
class Audit:
    """Check a split of a cohort."""

    mode: str = "stop"  # what a leak is to do: ``stop`` the run, or ``warn`` and mark it
    near_duplicate_distance: int = 72  # most hash bits, of 256, in which a candidate pair may differ
    near_duplicate_correlation: float = 0.92  # least correlation of the detail of a pair, in (0, 1]
    confounding_level: float = 0.3  # Cramér's V from which class or site counts as confounded, in (0, 1]
    accept: str | None = None  # file of findings that are known and accepted, or None; see `read_acceptances`

    def __post_init__(self) -> None:
        if self.mode not in ("stop", "warn"):
            raise ConfigError("audit.mode", "must be stop or warn", found=self.mode)
        if not 0 <= self.near_duplicate_distance < BITS // 2:
            rule = f"must lie in 0 to {BITS // 2 - 1}: unrelated slices differ in half of {BITS} bits"
            raise ConfigError("audit.near_duplicate_distance", rule, found=self.near_duplicate_distance)
        for key in ("near_duplicate_correlation", "confounding_level"):
            if not 0 < getattr(self, key) <= 1:
                raise ConfigError(f"audit.{key}", "must be above 0 and at most 1", found=getattr(self, key))

    def __call__(self, cohort: Cohort, table: pl.DataFrame, *, split: str, leaky_by_design: bool) -> Certificate:
        """Check every fold of a split; raises nothing for a leak, which is for `Certificate.enforce`.

        `table` is of the split, every fold; columns as in `split_table.COLUMNS`.

        Raises:
            ConfigError: If the file of acceptances cannot be read.
            DataError: If that file is malformed, or the table does not hold exactly the cohort's slices.
        """
        reasons = {} if self.accept is None else read_acceptances(Path(str(self.accept)))
        _check_slices(cohort.labelled, table)
        patients = np.unique(cohort.manifest["patient_key"].to_numpy(), return_inverse=True)[1]
        distance, correlation = self.near_duplicate_distance, self.near_duplicate_correlation
        search = find_near_duplicates(cohort.pixels, patients, distance=distance, correlation=correlation)
        lacks = lacking(cohort.manifest, cohort.sequences)
        seen = with_seen_pixels(cohort.labelled, cohort.pixels)
        found = chain(
            *(find_shared(seen, table, kind) for kind in IDENTITIES),
            find_look_alikes(cohort.manifest, table, search.pairs),
            find_contradictions(seen),
        )
        findings = [replace(finding, accepted=reasons.get(finding.id)) for finding in found]
        return Certificate(
            split=split,
            leaky_by_design=leaky_by_design,
            mode=self.mode,
            cohort_fingerprint=cohort.fingerprint,
            split_fingerprint=split_fingerprint(table),
            counts={
                "patients": cohort.labelled["patient_key"].n_unique(),
                "slices": len(cohort.labelled),
                "folds": table["fold"].n_unique(),
            },
            checks=_count(cohort.labelled, findings),
            search={
                "bits": BITS,
                "distance": distance,
                "correlation": correlation,
                "candidates": search.candidates,
                "commonplace": search.commonplace,
                "featureless": search.featureless,
            },
            findings=sorted(findings, key=lambda finding: not finding.is_leak),
            confounding=find_confounding(cohort.labelled, level=self.confounding_level),
            alone=auroc_alone(lacks),
            position=position_alone(lacks),
            lacking=lacking_warnings(lacks, cohort.classes, cohort.sequences),
            by_construction=BY_CONSTRUCTION,
            unused_acceptances=sorted(set(reasons) - {finding.id for finding in findings}),
        )


def _check_slices(manifest: pl.DataFrame, table: pl.DataFrame) -> None:
    for fold in table.partition_by("fold"):
        if set(fold["slice_key"]) != set(manifest["slice_key"]):
            where = f"split, fold {fold['fold'][0]}"
            raise DataError(where, "must hold exactly the cohort's slices", remedy="Split this cohort again")


def _count(manifest: pl.DataFrame, findings: list[Finding]) -> dict[str, dict[str, int]]:
    """For each kind, how many values were compared (0: the cohort has none), found, and found to leak."""
    compared = {kind: manifest[column].drop_nulls().n_unique() for kind, column in IDENTITIES.items()}
    compared |= {"near_duplicate": len(manifest), "label_conflict": len(manifest)}
    return {
        kind: {
            "compared": number,
            "found": sum(finding.kind == kind for finding in findings),
            "leaks": sum(finding.kind == kind and finding.is_leak for finding in findings),
        }
        for kind, number in compared.items()
    }
