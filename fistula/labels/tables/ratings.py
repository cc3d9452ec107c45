"""Tables of what readers, or another program, think of patients: read, checked, and matched to cohorts by pseudonym."""

import math
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from pathlib import Path

import polars as pl

from fistula.errors import DataError, first_of
from fistula.labels.tables.classes import plainly
from fistula.labels.tables.page_table import refuse_one_name
from fistula.labels.tables.spreadsheet import NUMBER, Naming, number, read_table, unpointed

PATIENT = ("patient", "patient_id", "patient_key")
# Those of a label page's table come along: what it says of a slice is not asked for here.
READERS = (
    *PATIENT, "reader", "score", "modality", "minutes", "experience", "located", "seconds", "repeat", "slice_key",
    "unsure", "note", "date", "opening_slice", "opening_row", "opening_col", "canal_row", "canal_col", "clock",
    "pixel_mm", "position_mm", "session",
)  # fmt: skip
PROGRAM = (*PATIENT, "score", "call")
SCHEMA: dict[str, pl.DataType] = {
    "patient": pl.String(), "line": pl.Int64(), "reader": pl.String(), "modality": pl.String(), "score": pl.Float64(),
    "minutes": pl.Float64(), "experience": pl.String(), "located": pl.Int64(), "call": pl.Int64(), "date": pl.String(),
    "slice": pl.String(), "row": pl.Float64(), "col": pl.Float64(),
}  # fmt: skip
PLACE = ("located", "slice", "row", "col")
NAMED = 4  # lines in an error


def read_readings(path: Path) -> pl.DataFrame:
    """A table of readers: a line for each patient, reader and modality, or the table of a label page.

    Of several slices of a patient the highest score counts, and the place beside it; their `minutes` add up, but the
    `seconds` of a label page are the patient's, on every line. Of what was shown twice, the first counts. Gives columns
    of `SCHEMA`; ``score`` in [0, 100], ``modality`` empty where there is one.

    Raises:
        DataError: If a cell is not what it has to be, a reader has a patient twice, or who has read is told two ways.
    """
    rows = _rows(path, READERS, needed=("reader", "score"))
    by_slice = any(row["cells"].get("slice_key") for row in rows)
    table = pl.DataFrame(
        [_reading(row) for row in rows if unpointed(row["cells"].get("repeat", "0")) != "1"], schema=SCHEMA
    )
    unsure = table.filter(pl.col("score").is_null())
    if len(unsure):
        raise DataError(path, "every line needs a score", found=_lines(unsure), remedy="Fill in or remove these lines")
    keys = ["patient", "reader", "modality"]
    if by_slice:
        minutes, is_timed_by_page = pl.col("minutes"), any(row["cells"].get("seconds") for row in rows)
        table = table.group_by(keys, maintain_order=True).agg(
            pl.col("line").first(),
            pl.col("score").max(),
            *(pl.col(name).sort_by("score", descending=True, maintain_order=True).first() for name in PLACE),
            minutes.max() if is_timed_by_page else pl.when(minutes.has_nulls()).then(None).otherwise(minutes.sum()),
            pl.col("experience", "call").first(),
            pl.col("date").max(),
        )
    _refuse_twice(path, table, keys)
    told = table.drop_nulls("experience").group_by("reader").agg(pl.col("experience").n_unique(), "line")
    if len(torn := told.filter(pl.col("experience") > 1)):
        raise DataError(path, "a reader has one experience", found=f"several of {torn['reader'][0]}")
    return table.select(list(SCHEMA))


def read_program(path: Path) -> pl.DataFrame:
    """Another program's scores: a line a patient, with a score on any scale and, optionally, its call.

    Raises:
        DataError: If a cell is not what it has to be, or a patient stands on two lines.
    """
    rows = _rows(path, PROGRAM, needed=("score",))
    table = pl.DataFrame([_scored(row, path.stem) for row in rows], schema=SCHEMA)
    if len(lacking := table.filter(pl.col("score").is_null())):
        raise DataError(path, "every line needs a score", found=_lines(lacking))
    _refuse_twice(path, table, ["patient"])
    if table["call"].is_null().any() and not table["call"].is_null().all():
        raise DataError(
            path, "call must be given on every line, or on none", found=_lines(table.filter(pl.col("call").is_null()))
        )
    return table


def match_patients(
    table: pl.DataFrame, cohorts: Mapping[str, AbstractSet[str]], pseudonym: Callable[[str], str], *, path: Path
) -> tuple[str, pl.DataFrame]:
    """Find whose patients a table is about: they stand there under their pseudonyms, or under ids that the key knows.

    `cohorts` has the keys of the patients who have scores, by the name of the cohort. Gives the name of the one cohort
    that has all of them, and the table with ``patient_key`` in place of ``patient``.

    Raises:
        DataError: If no cohort has all of them, or a patient stands there by two names.
    """
    names = {name: {name, pseudonym(name)} for name in table["patient"].unique()}
    best: tuple[int, str, pl.DataFrame] | None = None
    for cohort, known in cohorts.items():
        keys = {name: next(iter(found), None) for name, ways in names.items() for found in [ways & known]}
        matched = table.with_columns(
            patient_key=pl.Series([keys[name] for name in table["patient"]], dtype=pl.String())
        )
        missing = matched["patient_key"].null_count()
        if best is None or missing < best[0]:
            best = missing, cohort, matched
    assert best is not None  # there is always the study's own
    missing, cohort, matched = best
    if missing:
        rule = f"every patient must be one tested in {cohort or 'the study'}"
        remedy = "Give pseudonyms (patient_key), or own ids on a machine with the cohort's pseudonym key"
        found = f"{_lines(matched.filter(pl.col('patient_key').is_null()))} of {len(table)} lines that are not"
        raise DataError(path, rule, found=found, remedy=remedy)
    _refuse_twice(path, matched, ["patient_key", "reader", "modality"])  # by two names
    return cohort, matched.drop("patient", "line")


def together(tables: list[tuple[Path, str, pl.DataFrame]]) -> tuple[str, pl.DataFrame]:
    """One table of several, such as those that readers export session by session.

    Of each there are path, cohort and readings, as `match_patients` gives them.

    Raises:
        DataError: If they are of different cohorts, or one reading stands in two of them.
    """
    cohorts = {cohort or "the study" for _, cohort, _ in tables}
    if len(cohorts) > 1:
        raise DataError("readers", "must be of the patients of one cohort", found=", ".join(sorted(cohorts)))
    readings = pl.concat([table.with_columns(file=pl.lit(str(path))) for path, _, table in tables])
    for column in ("reader", "modality"):
        refuse_one_name("readers", column, readings[column].unique(maintain_order=True))
    twice = readings.filter(pl.len().over("patient_key", "reader", "modality") > 1)
    if len(twice):
        first = twice.row(0, named=True)
        files = twice.filter((pl.col("patient_key") == first["patient_key"]) & (pl.col("reader") == first["reader"]))
        rule = "a reader has one score per patient and modality"
        found = f"two of {first['reader']}, in {' and '.join(files['file'].unique(maintain_order=True))}"
        raise DataError("readers", rule, found=found)
    return tables[0][1], readings.drop("file")


def _rows(path: Path, columns: tuple[str, ...], *, needed: tuple[str, ...]) -> list[dict]:
    header, body, others = read_table(path, columns=columns, naming=Naming(others="ignore"))
    if others:
        remedy = f"Remove columns other than {', '.join(columns)}"
        raise DataError(f"{path}, line 1", f"has the unknown column {', '.join(map(repr, others))}", remedy=remedy)
    named = [name for name in PATIENT if name in header]
    missing = [name for name in needed if name not in header]
    if len(named) != 1 or missing:
        rule = f"must have one column patient (or patient_id, patient_key){''.join(f', and {one}' for one in needed)}"
        raise DataError(f"{path}, line 1", rule, found=", ".join(header))
    if not body:
        raise DataError(path, "must have at least one line")
    rows = []
    for line, told in body:
        if not told[named[0]]:
            raise DataError(f"{path}, line {line}", "must name a patient")
        rows.append({"where": f"{path}, line {line}", "line": line, "patient": told[named[0]], "cells": told})
    return rows


def _reading(row: dict) -> dict:
    cells, where = row["cells"], row["where"]
    if not cells["reader"]:
        raise DataError(where, "must name a reader")
    score = _number(where, "score", cells["score"], most=100)
    minutes = _number(where, "minutes", cells.get("minutes", ""))
    seconds = _number(where, "seconds", cells.get("seconds", ""))
    located = cells.get("located", "")
    if located not in ("", "0", "1"):
        raise DataError(where, "located must be 1 if the location is correct, otherwise 0", found=repr(located))
    place = [_number(where, name, cells.get(name, ""), least=-math.inf) for name in ("opening_row", "opening_col")]
    date = cells.get("date", "")
    try:
        is_day = not date or datetime.strptime(date, "%Y-%m-%d").date().isoformat() == date
    except ValueError:
        is_day = False
    if not is_day:
        raise DataError(where, "date must be YEAR-MONTH-DAY", found=repr(date))
    return {
        "patient": row["patient"],
        "line": row["line"],
        "reader": plainly(cells["reader"]),
        "modality": plainly(cells.get("modality", "")),
        "score": score,
        "minutes": minutes if minutes is not None or seconds is None else seconds / 60,
        "experience": cells.get("experience") or None,
        "located": int(located) if located else None,
        "call": None,
        "date": date or None,
        "slice": cells.get("opening_slice") or cells.get("slice_key") or None,
        "row": None if None in place else place[0],
        "col": None if None in place else place[1],
    }


def _scored(row: dict, name: str) -> dict:
    call = row["cells"].get("call", "")
    if call not in ("", "0", "1"):
        raise DataError(row["where"], "call must be 1 for positive, otherwise 0", found=repr(call))
    score = _number(row["where"], "score", row["cells"]["score"], least=-math.inf)
    told = {"patient": row["patient"], "line": row["line"], "reader": name, "modality": "", "score": score}
    return dict.fromkeys(SCHEMA) | told | {"call": int(call) if call else None}


def _number(where: str, column: str, text: str, *, least: float = 0.0, most: float = math.inf) -> float | None:
    if not text:
        return None
    value = number(where, column, text) if NUMBER.fullmatch(text) else math.nan
    if not (math.isfinite(value) and least <= value <= most):
        limits = f" from {least:g} to {most:g}" if math.isfinite(most) else ""
        raise DataError(where, f"{column} must be a number{limits}", found=repr(text))
    return value


def _refuse_twice(path: Path, table: pl.DataFrame, keys: list[str]) -> None:
    twice = table.filter(pl.len().over(keys) > 1)
    if len(twice):
        what = "a reader has one score per patient and modality" if len(keys) > 1 else "a patient has one score"
        raise DataError(path, what, found=f"{_lines(twice)} that repeat one")


def _lines(rows: pl.DataFrame) -> str:
    lines = rows["line"].to_list()
    return f"lines {first_of(lines, NAMED)} ({len(lines)})"
