"""The record of every number that a report shows, with where it came from; and its verification."""

import json
from dataclasses import asdict
from math import isclose
from pathlib import Path
from typing import Any

from fistula import __version__
from fistula.errors import DataError
from fistula.folder import digest_of, digests_of
from fistula.report.contents import Contents, Settings, compute
from fistula.report.numbers import numbers_of
from fistula.report.readers.given import Given
from fistula.report.study import read_study

NUMBERS = "report.json"
SHOWN = 5  # differing numbers named in the one line of an error


def to_json(contents: Contents, *, made: str, files: dict[str, str]) -> str:
    """Write the record: `made` says when, as on the page, and `files` is the SHA-256 of each file beside it."""
    study = contents.study
    record = {
        "study": study.name,
        "made": made,
        "version": __version__,
        "settings": asdict(contents.settings),
        "cohort_fingerprint": study.cohort.fingerprint,
        "best": contents.best.name,
        "sources": {
            configuration.name: {
                run.folder.name: digest_of(run.folder / "predictions.parquet") for run in configuration.runs
            }
            for configuration in study.configurations
        },
        "external": {one.name: one.record["files"] for one in contents.externals},
        "unfinished": {run.folder.name: run.record.get("state") for run in study.unfinished},
        "numbers": numbers_of(contents),
        "files": files,
    }
    return json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def verify(study_folder: Path) -> int:
    """Recompute every number of a study's report from the stored predictions.

    Gives how many agree.

    Raises:
        DataError: If there is no report, or if a number, or a file beside it, differs.
    """
    folder = study_folder / "report"
    path = folder / NUMBERS
    remedy = f"Make the report again: fistula report study={study_folder}"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        stored, settings, files = record["numbers"], Settings(**record["settings"]), record["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(path, f"cannot be read as the record of a report ({error})", remedy=remedy) from error
    found = digests_of(folder)
    changed = sorted(name for name, digest in files.items() if found.get(name) != digest)
    if changed:
        rule = "every file of the report must be as it was written"
        raise DataError(folder, rule, found=f"{', '.join(changed)} changed", remedy=remedy)
    fresh = numbers_of(compute(read_study(study_folder), settings, Given.read(folder)))
    differing = [name for name in dict.fromkeys([*stored, *fresh]) if not _agree(stored.get(name), fresh.get(name))]
    if differing:
        named = "; ".join(
            f"{name}: {_say(stored.get(name))} stored, {_say(fresh.get(name))} recomputed" for name in differing[:SHOWN]
        )
        more = f"; and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        rule = "every number must follow from the stored predictions"
        raise DataError(
            path, rule, found=f"{len(differing)} of {len(stored)} that do not: {named}{more}", remedy=remedy
        )
    return len(fresh)


def _agree(stored: Any, fresh: Any) -> bool:
    if stored is None or fresh is None or stored.keys() != fresh.keys():
        return False
    return all(
        # Another processor may round the last digits another way.
        isclose(stored[key], value, rel_tol=1e-9, abs_tol=1e-12)
        if isinstance(value, float) and isinstance(stored[key], int | float)
        else stored[key] == value
        for key, value in fresh.items()
    )


def _say(number: dict[str, Any] | None) -> str:
    if number is None:
        return "nothing"
    if number.get("low") is None:
        return str(number["value"])
    return f"{number['value']} ({number['low']} to {number['high']})"
