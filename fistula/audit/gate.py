"""The gate before the first epoch: audit a study's split once, keep the certificate with the study, stop on a leak."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from fistula.audit.audit import Audit
from fistula.cohort.manifest import Cohort
from fistula.cohort.split_table import split_fingerprint
from fistula.folder import write_whole


def pass_gate(
    cohort: Cohort, table: pl.DataFrame, study: Path, *, audit: Audit, split: str, leaky_by_design: bool
) -> dict[str, Any]:
    """Give the certificate of a split, from the study's folder if it was made there before.

    The study's folder keeps `audit-SPLIT.json`; `table` is of the split, every fold.

    Raises:
        LeakageError: If there is a leak that nothing allows; the certificate is written all the same.
    """
    path = study / f"audit-{split}.json"
    settings = repr((audit, cohort.fingerprint, split_fingerprint(table)))
    # Accepted findings are read anew: their file may have changed. What cannot be read is no certificate.
    if path.exists() and audit.accept is None:
        with suppress(ValueError):
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept.get("settings") == settings and kept["verdict"] != "leaks":
                return kept
    certificate = audit(cohort, table, split=split, leaky_by_design=leaky_by_design)
    study.mkdir(parents=True, exist_ok=True)
    content = json.loads(certificate.to_json()) | {"settings": settings}
    write_whole(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    certificate.enforce(path)
    return content
