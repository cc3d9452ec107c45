"""Further numbers that a table says of patients: which columns they are, and what their cells mean."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fistula.errors import ConfigError, DataError, first_of
from fistula.labels.tables.spreadsheet import NUMBER, Naming, number, read_table

COVARIATE = "covariate_"  # begins the name of their columns in a manifest
OF_HEADERS = ("age", "sex")  # years; female against male: what headers say, and no table
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
UNKNOWN = ("", "-", ".", "?", "n/a", "#n/a", "na", "nan", "none", "null", "unknown", "missing")
PERSON = ("patient_id", "patient_key")

Words = dict[str, list[str]]
"""Of each covariate the two words that stand for 0 and 1; none for numbers."""


def check_names(names: Any, *, known: Sequence[str]) -> tuple[str, ...]:
    """The names of covariates, as a table has them; `known` are columns that mean something else.

    Raises:
        ConfigError: If they are no list of different names, or one means something else.
    """
    key = "labels.covariates"
    if not isinstance(names, Sequence) or isinstance(names, str) or len(set(names)) < len(names):
        raise ConfigError(key, "must be a list of different columns", found=names, remedy="[] for none")
    for name in names:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            remedy = "Rename the column: letters, digits and _"
            raise ConfigError(key, "must be names that train accepts", found=name, remedy=remedy)
        if name in OF_HEADERS:
            remedy = f"Rename the column, for example {name}_at_visit"
            raise ConfigError(key, "must not be information from image headers", found=name, remedy=remedy)
        if name in known:
            raise ConfigError(key, "must not be a column that means something else", found=name)
    return tuple(names)


def read_covariates(
    path: Path, lines: Sequence[tuple[int, Mapping[str, str]]], names: Sequence[str], *, words: Words | None = None
) -> tuple[dict[int, tuple[float | None, ...]], Words]:
    """What the lines of a table say: numbers, or two words, which are 0 and 1 in the order of the alphabet.

    `words` are as they were found in an earlier table; None finds them. Gives for each line its C values, None where
    one is not known, and the words.

    Raises:
        DataError: If a column is not there, or its cells are neither.
    """
    lacking = [name for name in names if lines and name not in lines[0][1]]
    if lacking:
        raise DataError(f"{path}, line 1", "must have the columns of the covariates", found=f"no {', '.join(lacking)}")
    columns, found = [], {}
    for name in names:
        cells = [(line, row[name].strip()) for line, row in lines]
        given = [(line, cell) for line, cell in cells if cell.lower() not in UNKNOWN]
        if words is None:
            found[name] = _words(path, name, given)
        else:
            found[name] = words.get(name, [])
        values = {line: _value(path, line, name, cell, found[name]) for line, cell in given}
        columns.append([values.get(line) for line, _ in cells])
    rows = zip(*columns, strict=True) if columns else [()] * len(lines)
    return dict(zip((line for line, _ in lines), rows, strict=True)), found


def read_of_patients(path: Path, names: Sequence[str], words: Words) -> dict[tuple[str, str], tuple[float | None, ...]]:
    """What a table without labels says of new patients, by the column that names them and the name.

    The table has the column patient_id (or patient_key, a pseudonym) and those of the covariates; others are passed
    over. `words` are as the table of labels had them.

    Raises:
        DataError: If it is not such a table, or has a patient twice.
    """
    header, body, _ = read_table(path, columns=(*PERSON, *names), naming=Naming(others="ignore"))
    key = next((name for name in PERSON if name in header), None)
    if key is None:
        raise DataError(f"{path}, line 1", "must have the column patient_id", found=", ".join(header))
    values, _ = read_covariates(path, body, names, words=words)
    found: dict[tuple[str, str], tuple[float | None, ...]] = {}
    for line, cells in body:
        if not cells[key] or (key, cells[key]) in found:
            rule = "must name each patient once"
            raise DataError(f"{path}, line {line}", rule, found=cells[key] or "an empty cell")
        found[key, cells[key]] = values[line]
    return found


def _words(path: Path, name: str, given: Sequence[tuple[int, str]]) -> list[str]:
    """The two words of a column; none where it has a number or nothing."""
    if not given or any(NUMBER.fullmatch(cell) for _, cell in given):
        return []
    found = sorted({cell for _, cell in given})
    if len(found) == 2:
        return found
    remedy = "Use numbers if the words are grades; otherwise, a column of 0 and 1 for each word except one"
    rule = f"covariate {name} must have numbers, or two words"
    raise DataError(f"{path}, line {given[0][0]}", rule, found=first_of(found, 5), remedy=remedy)


def _value(path: Path, line: int, name: str, cell: str, words: Sequence[str]) -> float:
    where = f"{path}, line {line}"
    if words:
        if cell not in words:
            raise DataError(where, f"covariate {name} must be {' or '.join(words)}, or empty", found=cell)
        return float(words.index(cell))
    return number(where, f"covariate {name}", cell)
