"""Read the table of labels: which images it names, how, and as what."""

import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from fistula.errors import DataError, refuse_other
from fistula.labels.tables.classes import class_names, label_of
from fistula.labels.tables.covariates import check_names, read_covariates
from fistula.labels.tables.lines import KEYS, LEVELS, POINT_COLUMNS, POINTS, Labels, Row
from fistula.labels.tables.page_table import BESIDE, beside_labels, first_answers
from fistula.labels.tables.spreadsheet import Naming, number, read_table, whole
from fistula.source.files.formats import kind_of_name

RANGE = ("first", "last")  # image numbers, or frames of a path
LONGEST_RANGE = 100_000
OTHER_COLUMNS = ("frame_number", *RANGE, "label", "patient_id", "split", "site", *POINT_COLUMNS)
TEMPLATE = ("patient_id", "series", "image_number", "position_mm")  # columns that help to fill in doctor's table
COLUMNS = tuple(dict.fromkeys([name for key in KEYS for name in key] + list(OTHER_COLUMNS + TEMPLATE)))
PARTS = ("train", "val", "test")


def read_labels(
    path: Path,
    *,
    classes: Sequence[str] | None = None,
    negatives: str = "none",
    level: str = "slice",
    naming: Naming | None = None,
    covariates: Sequence[str] = (),
) -> Labels:
    """Read and check a table of labels.

    Args:
        path: CSV or Excel, see `fistula.labels.tables.spreadsheet.read_table`.
        classes: Class names; needed where labels are words, their order giving the indices.
        negatives: What the table leaves out is negative: `none`, `other_patients` or `rest`. Unless `none`, a table
            without a `label` column lists images of the last class.
        level: `slice`, or `series`, `study` or `patient`: a line's label is for all slices of one.
        naming: How the table calls its columns, and what to do with others.
        covariates: Further columns, of numbers or of two words.

    Raises:
        DataError: If the file, a column or a cell is not what it has to be; the message has the line.
        ConfigError: If labels are words and `classes` is not given.
    """
    refuse_other("labels.level", level, LEVELS)
    further = check_names(covariates, known=(*COLUMNS, *BESIDE))
    columns = (*COLUMNS, *BESIDE, *further)
    header, body, ignored = read_table(
        path, columns=columns, naming=naming, allowed=lambda header: (*COLUMNS, *beside_labels(header), *further)
    )
    key = _check_columns(path, header, level, negatives=negatives, ignored=ignored)
    body = first_answers(path, header, body, negatives=negatives)
    if not body:
        raise DataError(path, "must have at least one line below its header")
    names = class_names(path, body, classes)
    of_one = [one for line, cells in body for one in _of_one_image(path, line, cells)]
    values, words = read_covariates(path, body, further)
    points = [point for point in POINTS if f"{point}_row" in header]
    rows = [
        _row(path, line, cells, key=key, classes=names, points=points, covariates=values[line])
        for line, cells in of_one
    ]
    refuse_twice(path, rows)
    _refuse_mixed_files(path, rows, key)
    reader = body[0][1].get("reader", "")
    has_frames = "frame_number" in header or (key == ("path",) and RANGE[0] in header)
    return Labels(
        path, key, names, rows, level,
        reader=reader, has_frames=has_frames, ignored=tuple(ignored), covariates=words,
    )  # fmt: skip


def _key(path: Path, header: list[str], level: str, ignored: list[str]) -> tuple[str, ...]:
    """The columns that name the images, or what else a line is of."""
    has = set(header) | ({"instance_number"} if RANGE[0] in header else set())
    keys = [key for key in KEYS if has.issuperset(key)]
    if not keys:
        rule = "must name the images by one of: " + ", ".join(" with ".join(key) for key in KEYS)
        remedy = "Say which column it is, as in columns.patient_id=NAME" if ignored else ""
        raise DataError(f"{path}, line 1", rule, found=", ".join([*header, *ignored]), remedy=remedy)
    wanted = [key for key in keys if KEYS[key] == level]
    of = KEYS[keys[0]]
    if of == level or (wanted and of != "slice"):
        return wanted[0]
    if of == "slice":
        remedy = f"Remove the columns that name images, or set labels.level={of}"
        columns = " or ".join(" with ".join(key) for key, of in KEYS.items() if of == level)
        raise DataError(f"{path}, line 1", f"must name {_several(level)} only by {columns}",
                        found=", ".join(keys[0]), remedy=remedy)  # fmt: skip
    remedy = f"Set labels.level={of} if the label of a {of} applies to every slice"
    raise DataError(f"{path}, line 1", f"names {_several(of)}, not {_several(level, 'images')}", remedy=remedy)


def _several(level: str, slices: str = "slices") -> str:
    return {"slice": slices, "series": "series", "study": "studies", "patient": "patients"}[level]


def _of_one_image(path: Path, line: int, cells: dict[str, str]) -> Iterator[tuple[int, dict[str, str]]]:
    """A line as it is, or for a range of images once for each of its numbers."""
    if RANGE[0] not in cells:
        yield line, cells
        return
    where = f"{path}, line {line}"
    first = whole(where, RANGE[0], cells[RANGE[0]])
    last = whole(where, RANGE[1], cells[RANGE[1]] or cells[RANGE[0]])
    if not first <= last < first + LONGEST_RANGE:
        raise DataError(
            where, f"first and last must be a range of at most {LONGEST_RANGE} images", found=f"{first}, {last}"
        )
    for one in map(str, range(first, last + 1)):
        yield line, cells | {"instance_number": one, "frame_number": one if cells.get("path") else ""}


def _check_columns(path: Path, header: list[str], level: str, *, negatives: str, ignored: list[str]) -> tuple[str, ...]:
    if "label" not in header and negatives == "none":
        positive = "set negatives=other_patients or negatives=rest if the table lists only positive images"
        remedy = f"Say which column it is, columns.label=NAME, or {positive}"
        found = ", ".join([*header, *ignored])
        raise DataError(f"{path}, line 1", "must have the column 'label'", found=found, remedy=remedy)
    for point in POINTS:
        if (f"{point}_row" in header) != (f"{point}_col" in header):
            raise DataError(f"{path}, line 1", f"must have both of {point}_row and {point}_col, or neither")
    if (RANGE[0] in header) != (RANGE[1] in header) or {RANGE[0], "instance_number"} <= set(header):
        raise DataError(f"{path}, line 1", "must have both of first and last, and then no instance_number")
    return _key(path, header, level, ignored)


def _row(
    path: Path,
    line: int,
    cells: dict[str, str],
    *,
    key: tuple[str, ...],
    classes: list[str],
    points: Sequence[str],
    covariates: tuple[float | None, ...],
) -> Row:
    where = f"{path}, line {line}"
    name = tuple(cells[column] for column in key)
    if not all(name):
        raise DataError(where, f"must have a {' and a '.join(key)}")
    if key == ("path",):
        name = (_relative(where, name[0]),)
    if "instance_number" in key:
        name = (name[0], str(whole(where, "instance_number", name[1])))
    split = cells.get("split") or None
    if split not in (*PARTS, None):
        raise DataError(where, f"split must be one of {', '.join(PARTS)}, or empty", found=repr(split))
    frame = cells.get("frame_number") or None
    return Row(
        line=line,
        name=name,
        frame=None if frame is None else whole(where, "frame_number", frame),
        label=label_of(where, cells.get("label"), classes),
        patient=cells.get("patient_id", ""),
        split=split,
        site=cells.get("site") or None,
        points=tuple(_point(where, cells, point) if point in points else None for point in POINTS),
        covariates=covariates,
    )


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
    if not all(pair):
        rule = f"{point}_row and {point}_col must both be numbers, or both empty"
        raise DataError(where, rule, found=", ".join(pair))
    return number(where, f"{point}_row", pair[0]), number(where, f"{point}_col", pair[1])


def refuse_twice(path: Path, rows: list[Row]) -> None:
    """Raise DataError where two of the rows are for one image, or one for a frame and one for its whole object."""
    seen: dict[tuple[tuple[str, ...], int | None], Row] = {}
    for row in rows:
        for frame in (row.frame, None):
            if (other := seen.get((row.name, frame))) is not None:
                same = "the same label twice" if other.label == row.label else "two labels"
                both = f"{other.origin} and {row.origin}" if row.origin else f"lines {other.line} and {row.line}"
                where = row.origin or f"{path}, line {row.line}"
                raise DataError(where, f"gives {' '.join(row.name)} {same}", remedy=f"Remove one of {both}")
        seen[row.name, row.frame] = row


def _refuse_mixed_files(path: Path, rows: list[Row], key: tuple[str, ...]) -> None:
    if key != ("path",):
        return
    kinds = [kind_of_name(row.name[0]) for row in rows]
    if len(set(kinds)) > 1:
        line = next(row.line for row, kind in zip(rows, kinds, strict=True) if kind != kinds[0])
        rule = f"names images of two kinds in one table ({kinds[0]} and others)"
        raise DataError(f"{path}, line {line}", rule, remedy="Ingest them separately")
