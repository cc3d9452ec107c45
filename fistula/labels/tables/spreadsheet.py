"""Read a table from a file: CSV or Excel, whatever a country separates cells by and however its columns are spelt."""

import csv
import io
import math
import re
import unicodedata
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import fastexcel

from fistula.errors import ConfigError, DataError, first_of, refuse_other

OTHERS = ("refuse", "ignore")
EXCEL, OLD_EXCEL = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"  # how an .xlsx begins; and an .xls, or one with a password
GUARDED = re.compile(r"""^(?:="(.*)"|'([\d.]+)'?)$""")  # how a spreadsheet is kept from taking text for a number
INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200e\u200f\u2060\ufeff"))  # comes along where text is copied from a page
ROUNDED = re.compile(r"\d[.,]?\d*E\+\d+", re.IGNORECASE)  # 1.2E+17: the digits of an identifier are lost
SURE_DIGITS = 15  # of a number in a spreadsheet
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
UNCLEAR = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")  # 1,234 may be one thousand or little more than one
# A cell of a worksheet that holds a formula and no value; a text that a formula left empty (t="str") is one.
UNCALCULATED = re.compile(
    rb"""<(?:\w+:)?c\b(?![^>]*\bt="str")[^>]*\br="([A-Z]+\d+)"[^>]*>\s*<(?:\w+:)?f\b(?:[^>]*/>|[^<]*</(?:\w+:)?f>)"""
    rb"""\s*(?:<(?:\w+:)?v\s*/>|<(?:\w+:)?v>\s*</(?:\w+:)?v>)?\s*</(?:\w+:)?c>"""
)
MERGED = re.compile(rb"""<(?:\w+:)?mergeCell\b[^>]*\bref="([A-Z]+(\d+):[A-Z]+(?!\2")\d+)\"""")  # over several lines
FAILED = re.compile(rb"""<(?:\w+:)?c\b(?=[^>]*\bt="e")[^>]*\br="([A-Z]+\d+)\"""")
# What a reader of workbooks takes for empty cells, and would lose labels with.
LOST = (
    (UNCALCULATED, "formulas that were never calculated", "Open it in a spreadsheet program and save it again"),
    (FAILED, "cells with an error, such as #N/A", "Correct or empty them"),
    (MERGED, "cells merged over several lines", "Unmerge them, and fill in each line"),
)

Lines = list[tuple[int, list[str]]]


@dataclass(frozen=True)
class Naming:
    """How the columns of a table are called."""

    # Names of the table's own columns, by ours; an empty one is called as ours.
    columns: Mapping[str, str | None] = field(default_factory=dict)
    others: str = "refuse"  # what to do with further columns: `refuse` or `ignore`

    def __post_init__(self) -> None:
        refuse_other("other_columns", self.others, OTHERS)

    def header(self, path: Path, found: Sequence[str], known: Sequence[str]) -> list[str]:
        """Our names of the columns, the table's own where we have none; case, spaces and marks do not matter.

        Raises:
            ConfigError: If a column that `columns` names is not there, or stands for two things.
        """
        plain = {_plain(name): name for name in known}
        names = [plain.get(_plain(name), name) for name in found]
        given = {ours: str(theirs) for ours, theirs in self.columns.items() if theirs not in (None, "")}
        taken: dict[int, str] = {}
        for ours, theirs in given.items():
            places = [at for at, name in enumerate(found) if name == theirs]
            places = places or [at for at, name in enumerate(found) if _plain(name) == _plain(theirs)]
            if len(places) != 1 or places[0] in taken:
                remedy = f"Its columns are {', '.join(found)}"
                raise ConfigError(f"columns.{ours}", f"must be one column of {path}", found=theirs, remedy=remedy)
            taken[places[0]] = ours
        # A column that is called as ours, where another was said to be it, is a further one.
        names = [f"{own} (as it stands)" if name in given else name for own, name in zip(found, names, strict=True)]
        return [taken.get(at, name) for at, name in enumerate(names)]


def read_table(
    path: Path, *, columns: Sequence[str], naming: Naming | None = None, allowed: Callable | None = None
) -> tuple[list[str], list[tuple[int, dict[str, str]]], list[str]]:
    """The header in our names; the lines below it, each its number and stripped cells by column; the columns left out.

    Every line is as long as the first; empty lines are left out.

    Args:
        path: CSV in UTF-8 or UTF-16 (commas, semicolons, tabs, or what a first line `sep=;` says), or an Excel
            workbook with one sheet; the first line names the columns.
        columns: That it may have.
        naming: How it calls them.
        allowed: Which of `columns` a header may have; None for all.

    Raises:
        DataError: If it is not such a file, has a column twice, or has other columns and `naming` refuses them.
        ConfigError: If a column that `naming` names is not there.
    """
    naming = naming or Naming()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", remedy="Check the path") from error
    if content.startswith(OLD_EXCEL):
        raise DataError(path, "is an old Excel workbook or one with a password", remedy="Save it as .xlsx without one")
    lines = _excel(path, content) if content.startswith(EXCEL) else _csv(path, content)
    lines = [(line, [_unguarded(cell) for cell in cells]) for line, cells in lines]
    lines = [(line, cells) for line, cells in lines if any(cells)]
    if not lines:
        raise DataError(path, "is empty", remedy=f"Its first line must name columns of {', '.join(columns)}")
    first, found = lines[0]
    width = max(at for at, name in enumerate(found, 1) if name)
    # A spreadsheet has cells beyond what was ever filled in.
    lines = [(line, cells if any(cells[width:]) else cells[:width]) for line, cells in lines]
    found = lines[0][1]
    for line, cells in lines:
        if len(cells) != len(found):
            if width == 1:  # a title stands above the table
                remedy = "Delete the lines above the names of the columns"
                raise DataError(f"{path}, line {first}", "must name the columns", found=found[0], remedy=remedy)
            raise DataError(f"{path}, line {line}", f"must have {len(found)} cells as the header has", found=len(cells))
    header = naming.header(path, found, columns)
    may_have = columns if allowed is None else allowed(header)
    if (others := [name for name in header if name not in may_have]) and naming.others == "refuse":
        names = f"column{'s' if len(others) > 1 else ''} {', '.join(map(repr, others))}"
        known = ", ".join(dict.fromkeys(columns))
        them, one = ("them", "one") if len(others) > 1 else ("it", "it")
        remedy = f"Ignore {them} with other_columns=ignore, or map {one}: columns.label=NAME. Known are {known}"
        raise DataError(f"{path}, line {first}", f"has the unknown {names}", remedy=remedy)
    if twice := sorted(name for name in may_have if header.count(name) > 1):
        raise DataError(f"{path}, line {first}", f"has the column {twice[0]!r} twice", remedy="Remove one of them")
    kept = {name: at for at, name in enumerate(header) if name in may_have}
    body = [(line, {name: cells[at] for name, at in kept.items()}) for line, cells in lines[1:]]
    _refuse_rounded(path, body)
    return list(kept), body, others


def whole(where: str, column: str, text: str) -> int:
    """The whole number of a cell, also of one that a program wrote as 7.0; DataError with `where` if it is none."""
    text = unpointed(text)
    if not (text.isascii() and text.isdigit()):
        raise DataError(where, f"{column} must be a whole number", found=repr(text))
    return int(text)


def unpointed(text: str) -> str:
    """A cell without the point and zeros that programs give whole numbers of a column with gaps.

    Example:
        >>> unpointed("1.0"), unpointed("1.5"), unpointed("1.2.0")
        ('1', '1.5', '1.2.0')
    """
    return text.partition(".")[0] if re.fullmatch(r"\d+\.0+", text) else text


def number(where: str, what: str, text: str) -> float:
    """The number of a cell, with a decimal point or comma; DataError with `where` if it is none, or may be two."""
    if UNCLEAR.fullmatch(text):
        raise DataError(where, f"{what} may be two numbers", found=text, remedy="Write it with a point")
    value = float(text.replace(",", ".")) if NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise DataError(where, f"{what} must be a number, or empty", found=repr(text))
    return value


def _csv(path: Path, content: bytes) -> Lines:
    try:
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(path, "must be UTF-8 text", remedy="Save it as CSV UTF-8, or as .xlsx") from error
    if "\0" in text:  # UTF-16 without a mark, or what a broken disk leaves
        raise DataError(path, "must be UTF-8 text", found="NUL bytes", remedy="Save it as CSV UTF-8, or as .xlsx")
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # of Windows, of old Macs and of some Excels
    first, _, rest = text.partition("\n")
    said = re.fullmatch(r'"?sep=(.)"?', first.strip("\r ")) if first[:5].strip('"').startswith("sep") else None
    if said:
        text, delimiter = rest, said[1]
    else:  # countries differ
        delimiter = max(",;\t", key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    skipped = 1 if said else 0
    try:
        return [(reader.line_num + skipped, cells) for cells in reader]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num + skipped}", f"is not CSV ({error})") from error


def _excel(path: Path, content: bytes) -> Lines:
    """The cells of the only sheet that has any, numbers as they are written without a point if they are whole."""
    try:
        book = fastexcel.read_excel(content)
        sheets = {
            name: book.load_sheet(name, header_row=None, skip_rows=0, dtypes="string").to_polars().rows()
            for name in book.sheet_names
        }
    except fastexcel.FastExcelError as error:
        raise DataError(path, "is not an Excel workbook that can be read", remedy="Save it as CSV UTF-8") from error
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        pages = [parts.read(name) for name in parts.namelist() if name.startswith("xl/worksheets/")]
    for pattern, what, remedy in LOST:
        if cells := [cell[1].decode() for page in pages for cell in pattern.finditer(page)]:
            found = f"{len(cells)}: {first_of(cells)}"
            raise DataError(path, f"has {what}", found=found, remedy=remedy)
    full = [name for name, rows in sheets.items() if rows]
    if len(full) > 1:
        remedy = "Save the sheet with the labels as a file of its own"
        raise DataError(path, "must have one sheet with cells", found=", ".join(full), remedy=remedy)
    rows = sheets[full[0]] if full else []
    # Cells that were once filled make a sheet wider than what it holds.
    width = max((at + 1 for row in rows for at, cell in enumerate(row) if cell), default=0)
    return [(line, [cell or "" for cell in row[:width]]) for line, row in enumerate(rows, 1)]


def _refuse_rounded(path: Path, body: list[tuple[int, dict[str, str]]]) -> None:
    """A spreadsheet keeps 15 digits of a number: two patients may then have one."""
    for line, cells in body:
        for name, cell in cells.items():
            is_long = cell.isascii() and cell.isdigit() and len(cell) > SURE_DIGITS
            if ROUNDED.fullmatch(cell) or (is_long and cell[0] != "0" and _is_rounded(cell)):
                rule = f"{name} is a number that a spreadsheet has rounded"
                remedy = "Format the column as text and enter it again"
                raise DataError(f"{path}, line {line}", rule, found=cell, remedy=remedy)


def _is_rounded(digits: str) -> bool:
    value = float(digits)
    return int(value) == int(digits) and float(f"{value:.{SURE_DIGITS}g}") == value


def _unguarded(cell: str) -> str:
    cell = cell.translate(INVISIBLE).strip()
    found = GUARDED.match(cell)
    return (found[1] or found[2] or "").strip() if found else cell


def _plain(name: str) -> str:
    """A column's name without what people spell differently: `Patient ID`, `PatientID`, `patient_id`."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())
