"""The tables that label pages give: as `fistula agree` reads them, and what `ingest` takes from them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fistula.errors import DataError
from fistula.labels.tables.classes import plainly
from fistula.labels.tables.spreadsheet import Naming, number, read_table, unpointed

SLICE = (
    "slice_key", "patient_key", "label", "opening_row", "opening_col", "canal_row", "canal_col", "unsure", "note",
    "reader", "date", "clock", "pixel_mm", "position_mm", "repeat", "seconds",
)  # fmt: skip
PATIENT = ("patient_key", "label", "unsure", "note", "reader", "date", "repeat", "seconds")
POINT = ("opening_slice", "opening_row", "opening_col")  # where a reader of patients sees the finding
READING = ("session", "modality")  # of a reader study
MARKS = ("reader", "repeat")  # a table with both, and with a key, is a label page's
BESIDE = (
    *MARKS, "patient_key", "unsure", "note", "date", "clock", "pixel_mm", "position_mm",
    "seconds", "rule",
)  # fmt: skip
COLUMNS = tuple(dict.fromkeys((*SLICE, *PATIENT, "score", *POINT, *READING, "rule")))


def columns_of(level: str, question: str) -> list[str]:
    """The header of a label page's table."""
    names = list(PATIENT if level == "patient" else SLICE)
    if question != "score":
        return names
    scored = ["score", *POINT] if level == "patient" else ["score"]
    at = names.index("label")
    return [*names[:at], *scored, *names[at + 1 :], *READING]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of one reader."""

    label: str  # the class or degree as it stands in the table; empty where there is none (unsure, or a point alone)
    patient: str  # pseudonym
    opening: tuple[float, float] | None  # row and column, or None
    canal: tuple[float, float] | None  # row and column, or None
    clock: float | None  # hours in (0, 13), or None
    pixel: tuple[float, float] | None  # distance of rows and of columns in mm, or None
    is_unsure: bool


@dataclass(frozen=True)
class Reading:
    """One reader's table."""

    path: Path
    reader: str  # the one name in it
    level: str  # `slice` or `patient`
    first: dict[str, Answer]  # answers by slice (or patient)
    again: dict[str, Answer]  # those of the second showing


def read_reading(path: Path) -> list[Reading]:
    """Read a label page's table; the one that a server keeps holds several readers.

    Raises:
        DataError: If it cannot be read, is no such table, or gives one slice of one reader two rows.
    """
    header, lines, _ = read_table(path, columns=COLUMNS, naming=Naming(others="ignore"))
    level = "slice" if "slice_key" in header else "patient"
    needed = ["patient_key", "reader", "repeat", "unsure", *(["slice_key"] if level == "slice" else [])]
    missing = [name for name in needed if name not in header]
    if missing or not {"label", "score"} & set(header):
        remedy = "Export it from one"
        raise DataError(f"{path}, line 1", "must be the table of a label page", found=", ".join(header), remedy=remedy)
    if not lines:
        raise DataError(path, "must have at least one answer")
    readings: dict[str, Reading] = {}
    for line, row in lines:
        where = f"{path}, line {line}"
        if empty := [name for name in (f"{level}_key", "patient_key", "reader") if not row[name]]:
            raise DataError(where, f"must have a {empty[0]}")
        name = plainly(row["reader"])
        reader = readings.setdefault(name, Reading(path, name, level, {}, {}))
        answers = reader.again if unpointed(row["repeat"]) == "1" else reader.first
        if (key := row[f"{level}_key"]) in answers:
            raise DataError(where, f"gives {key} a second answer by {row['reader']}", remedy="Remove one of them")
        answers[key] = _answer(where, row)
    return list(readings.values())


def readings_of(paths: Sequence[Path]) -> list[Reading]:
    """The answers of each reader in these tables: several pages give a reader as many tables.

    Raises:
        DataError: As `read_reading`; if tables are of slices and of patients, if a reader answers one thing in two, or
            is spelt in two ways.
    """
    found: dict[str, Reading] = {}
    for one in (reading for path in paths for reading in read_reading(path)):
        if found and one.level != next(iter(found.values())).level:
            raise DataError("labels", "must all answer slices, or all patients", found="tables of both kinds")
        if (other := found.setdefault(one.reader, one)) is one:
            continue
        if twice := (one.first.keys() & other.first.keys()) | (one.again.keys() & other.again.keys()):
            rule = f"must hold one answer of a reader for each {one.level}"
            tables = f"two of {one.reader} for {len(twice)}, in {other.path} and {one.path}"
            raise DataError("labels", rule, found=tables, remedy="Name only the later table")
        found[one.reader] = replace(other, first=other.first | one.first, again=other.again | one.again)
    refuse_one_name("labels", "reader", found)
    return list(found.values())


def refuse_one_name(where: str, column: str, names: Iterable[str]) -> None:
    """Raise DataError if two names differ in case alone: they are one person's, or one modality's."""
    spelt: dict[str, str] = {}
    for name in names:
        if spelt.setdefault(name.casefold(), name) != name:
            found = f"{spelt[name.casefold()]} and {name}"
            raise DataError(where, f"each {column} must be spelt in one way", found=found, remedy="Correct the tables")


def _answer(where: str, row: dict[str, str]) -> Answer:
    def pair(first: str, second: str) -> tuple[float, float] | None:
        cells = row.get(first, ""), row.get(second, "")
        return (number(where, first, cells[0]), number(where, second, cells[1])) if any(cells) else None

    pixel = row.get("pixel_mm", "").split("x")
    return Answer(
        label=plainly(unpointed(row.get("label", row.get("score", "")))),
        patient=row["patient_key"],
        opening=pair("opening_row", "opening_col"),
        canal=pair("canal_row", "canal_col"),
        clock=number(where, "clock", row["clock"]) if row.get("clock") else None,
        pixel=(number(where, "pixel_mm", pixel[0]), number(where, "pixel_mm", pixel[1])) if len(pixel) == 2 else None,
        is_unsure=unpointed(row["unsure"]) == "1",
    )


def beside_labels(header: list[str]) -> tuple[str, ...]:
    """The columns that such a table may have and that are not for ingest; none for any other table."""
    is_key_there = "slice_key" in header or "patient_key" in header
    return BESIDE if is_key_there and all(name in header for name in MARKS) else ()


def first_answers(
    path: Path, header: list[str], body: list[tuple[int, dict[str, str]]], *, negatives: str
) -> list[tuple[int, dict[str, str]]]:
    """The lines that are labels: of the first showing, and neither unsure nor a point alone; another table whole.

    Raises:
        DataError: If several readers answered (whose labels to take is not for ingest to say), if a slice that a reader
            was unsure of would become negative, or if nothing is left.
    """
    if not beside_labels(header):
        return body
    readers = sorted({cells["reader"] for _, cells in body})
    if len(readers) > 1:
        remedy = "Make one table of them with fistula agree, or keep the lines of one reader"
        raise DataError(path, "must hold the answers of one reader", found=", ".join(readers), remedy=remedy)
    unsure = [line for line, cells in body if unpointed(cells.get("unsure", "")) == "1"]
    if unsure and negatives != "none":
        rule = f"holds answers that are unsure, which negatives={negatives} would make negative"
        raise DataError(f"{path}, line {unsure[0]}", rule, remedy="Leave out negatives, or decide these answers first")
    answers = [(line, cells) for line, cells in body if unpointed(cells["repeat"]) != "1" and cells.get("label")]
    if not answers:
        raise DataError(path, "must have at least one answer that is a label")
    return answers
