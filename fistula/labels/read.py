"""Read the table of labels: which images it names, how, and as what."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fistula.errors import ConfigError, DataError
from fistula.labels.page_table import BESIDE, beside_labels, first_answers
from fistula.labels.spreadsheet import Naming, read_table, whole
from fistula.source.formats import kind_of_name

# What may name an image; the first of these that a table has is how it names them.
KEYS = (
    ("sop_instance_uid",), ("path",), ("series_instance_uid", "instance_number"), ("patient_id",),
    ("slice_key",), ("patient_key",),  # pseudonyms, as a label page writes them
)  # fmt: skip
OF_PATIENTS = ("patient_id",), ("patient_key",)
POINTS = ("opening", "canal")  # the finding, and the centre of the anal canal: NAME_row and NAME_col
POINT_COLUMNS = tuple(f"{point}_{axis}" for point in POINTS for axis in ("row", "col"))
OTHER_COLUMNS = ("frame_number", "label", "patient_id", "split", "site", *POINT_COLUMNS)
TEMPLATE = ("patient_id", "series", "image_number", "position_mm")  # columns that help to fill in doctor's table
COLUMNS = tuple(dict.fromkeys([name for key in KEYS for name in key] + list(OTHER_COLUMNS + TEMPLATE)))
LEVELS = ("slice", "patient")
# A word that says that there is nothing; the only other one is then the positive class.
ABSENT = ("absent", "control", "healthy", "negative", "no", "none", "normal")
PARTS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        line: Its number in the file, the header's being 1.
        name: What names the image or images, one text for each column of the table's key.
        frame: Frame of a multi-frame object, from 1; None for all of them.
        label: Index of its class; None where the cell is empty.
        patient: The patient as the table says; empty where it does not.
        split: train, val, test or None.
        site: The site or None.
        points: For each of `POINTS` its row and column in the source image, centre of the first pixel at 0, or None.
    """

    line: int
    name: tuple[str, ...]
    frame: int | None
    label: int | None
    patient: str
    split: str | None
    site: str | None
    points: tuple[tuple[float, float] | None, ...]


@dataclass(frozen=True)
class Labels:
    """A table of labels.

    Attributes:
        path: The file, for messages.
        key: Columns that name an image: one of `KEYS`.
        classes: Names in the order of their labels; with two, the last is the positive one.
        rows: Its lines, in order.
        level: What a line labels: a `slice`, or all slices of a `patient`.
        has_frames: Whether it has the column frame_number; an empty cell stands for all frames of an object.
        ignored: Columns that were left out.
    """

    path: Path
    key: tuple[str, ...]
    classes: list[str]
    rows: list[Row]
    level: str = "slice"
    has_frames: bool = False
    ignored: tuple[str, ...] = ()

    @property
    def kind(self) -> str | None:
        """Of the images, one of `fistula.source.formats.KINDS`; None where the table does not say."""
        if self.key == ("path",):
            return kind_of_name(self.rows[0].name[0])
        return "dicom" if self.key[0].endswith("_uid") else None

    @property
    def paths(self) -> frozenset[str]:
        """Of the images below the source that it names, letters composed."""
        return frozenset(row.name[0] for row in self.rows) if self.key == ("path",) else frozenset()


def read_labels(
    path: Path,
    *,
    classes: Sequence[str] | None = None,
    negatives: str = "none",
    level: str = "slice",
    naming: Naming | None = None,
) -> Labels:
    """Read and check a table of labels.

    Args:
        path: CSV or Excel, see `fistula.labels.spreadsheet.read_table`.
        classes: Class names; needed where labels are words, their order giving the indices.
        negatives: What the table leaves out is negative: `none`, `other_patients` or `rest`. Unless `none`, a table
            without a `label` column lists images of the last class.
        level: `slice`, or `patient`: a line's label is for all slices of a patient.
        naming: How the table calls its columns, and what to do with others.

    Raises:
        DataError: If the file, a column or a cell is not what it has to be; the message has the line.
        ConfigError: If labels are words and `classes` is not given.
    """
    if level not in LEVELS:
        raise ConfigError("labels.level", f"must be {' or '.join(LEVELS)}", found=level)
    header, lines, ignored = read_table(path, columns=(*COLUMNS, *BESIDE), naming=naming, allowed=_allowed)
    key = _check_columns(path, header, negatives=negatives)
    _check_level(path, key, level)
    body = [(line, dict(zip(header, cells, strict=True))) for line, cells in lines]
    body = first_answers(path, header, body, negatives=negatives)
    if not body:
        raise DataError(path, "must have at least one line below its header")
    names = _class_names(path, body, classes)
    rows = [_row(path, line, cells, key=key, classes=names) for line, cells in body]
    _refuse_twice(path, rows)
    _refuse_mixed_files(path, rows, key)
    return Labels(path, key, names, rows, level, has_frames="frame_number" in header, ignored=tuple(ignored))


def _allowed(header: list[str]) -> tuple[str, ...]:
    return (*COLUMNS, *beside_labels(header))


def _check_level(path: Path, key: tuple[str, ...], level: str) -> None:
    if (key in OF_PATIENTS) == (level == "patient"):
        return
    if level == "patient":
        remedy = "Leave out the columns that name images, or say labels.level=slice"
        rule = "must name patients by patient_id or patient_key alone"
        raise DataError(f"{path}, line 1", rule, found=", ".join(key), remedy=remedy)
    remedy = "Say labels.level=patient if a patient's label is that of every slice"
    raise DataError(f"{path}, line 1", "names patients, not images", remedy=remedy)


def _check_columns(path: Path, header: list[str], *, negatives: str) -> tuple[str, ...]:
    if twice := {name for name in header if header.count(name) > 1}:
        raise DataError(f"{path}, line 1", f"has the column {sorted(twice)[0]!r} twice")
    if "label" not in header and negatives == "none":
        remedy = "Add it, or say negatives=other_patients or negatives=rest if the table lists positive images only"
        raise DataError(f"{path}, line 1", "must have the column 'label'", remedy=remedy)
    for point in POINTS:
        if (f"{point}_row" in header) != (f"{point}_col" in header):
            raise DataError(f"{path}, line 1", f"must have both of {point}_row and {point}_col, or neither")
    key = next((key for key in KEYS if all(name in header for name in key)), None)
    if key is None:
        rule = "must name the images by one of: " + ", ".join(" with ".join(key) for key in KEYS)
        raise DataError(f"{path}, line 1", rule, found=", ".join(header))
    return key


def _class_names(path: Path, body: list[tuple[int, dict[str, str]]], classes: Sequence[str] | None) -> list[str]:
    if classes is not None:
        names = [] if isinstance(classes, str) or not isinstance(classes, Sequence) else [str(name) for name in classes]
        if len(names) < 2 or len(set(names)) != len(names):
            raise ConfigError("classes", "must be a list of two or more different names", found=classes)
        return names
    if "label" not in body[0][1]:
        return ["negative", "positive"]
    words = {cells["label"] for _, cells in body} - {""}
    ordered = sorted(words, key=lambda word: word.lower() not in ABSENT)
    if [word.lower() in ABSENT for word in ordered] == [True, False]:
        return ordered  # ingest prints which is the positive one
    if not all(word.isascii() and word.isdigit() for word in words):
        remedy = "Say which is which, the last being the positive one: classes=[normal,fistula]"
        rule = f"must be given, because the labels of {path} are words"
        raise ConfigError("classes", rule, found=", ".join(sorted(words)[:5]), remedy=remedy)
    return [str(index) for index in range(max(2, max(map(int, words), default=0) + 1))]


def _row(path: Path, line: int, cells: dict[str, str], *, key: tuple[str, ...], classes: list[str]) -> Row:
    where = f"{path}, line {line}"
    name = tuple(cells[column] for column in key)
    if not all(name):
        raise DataError(where, f"must have a {' and a '.join(key)}")
    if key == ("path",):
        name = (_relative(where, name[0]),)
    if key == KEYS[2]:
        name = (name[0], str(whole(where, "instance_number", name[1])))
    split = cells.get("split") or None
    if split not in (*PARTS, None):
        raise DataError(where, f"split must be one of {', '.join(PARTS)}, or empty", found=repr(split))
    frame = cells.get("frame_number") or None
    return Row(
        line=line,
        name=name,
        frame=None if frame is None else whole(where, "frame_number", frame),
        label=_label(where, cells.get("label"), classes),
        patient=cells.get("patient_id", ""),
        split=split,
        site=cells.get("site") or None,
        points=tuple(_point(where, cells, point) for point in POINTS),
    )


def _label(where: str, word: str | None, classes: list[str]) -> int | None:
    if word is None:  # a table of positive images needs no column
        return len(classes) - 1
    if not word:
        return None
    if word in classes:
        return classes.index(word)
    if word.isascii() and word.isdigit() and int(word) < len(classes):
        return int(word)
    indices = f"0 to {len(classes) - 1}"
    raise DataError(where, f"label must be one of {', '.join(classes)} (or {indices})", found=repr(word))


def _relative(where: str, text: str) -> str:
    path = PurePosixPath(text.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise DataError(where, "path must be relative to source, without '..'", found=text)
    # Some systems take letters apart from their accents; a file and a table may come from two.
    return unicodedata.normalize("NFC", str(path))


def _point(where: str, cells: dict[str, str], point: str) -> tuple[float, float] | None:
    pair = cells.get(f"{point}_row", ""), cells.get(f"{point}_col", "")
    if not any(pair):
        return None
    try:
        row, column = float(pair[0]), float(pair[1])
    except ValueError:
        row = column = math.nan
    if not (math.isfinite(row) and math.isfinite(column)):
        raise DataError(
            where, f"{point}_row and {point}_col must both be numbers, or both empty", found=", ".join(pair)
        )
    return row, column


def _refuse_twice(path: Path, rows: list[Row]) -> None:
    seen: dict[tuple[tuple[str, ...], int | None], Row] = {}
    for row in rows:
        for frame in (row.frame, None):
            if (other := seen.get((row.name, frame))) is not None:
                same = "the same label twice" if other.label == row.label else "two labels"
                remedy = f"Remove one of lines {other.line} and {row.line}"
                raise DataError(f"{path}, line {row.line}", f"gives {' '.join(row.name)} {same}", remedy=remedy)
        seen[row.name, row.frame] = row


def _refuse_mixed_files(path: Path, rows: list[Row], key: tuple[str, ...]) -> None:
    if key != ("path",):
        return
    kinds = [kind_of_name(row.name[0]) for row in rows]
    if len(set(kinds)) > 1:
        line = next(row.line for row, kind in zip(rows, kinds, strict=True) if kind != kinds[0])
        rule = f"names images of two kinds in one table ({kinds[0]} and others)"
        raise DataError(f"{path}, line {line}", rule, remedy="Ingest them apart")
