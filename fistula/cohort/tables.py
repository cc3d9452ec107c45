"""Read a table from a file: the cells of its lines, whatever a country separates them by."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from fistula.errors import DataError


def read_table(path: Path, *, columns: Sequence[str]) -> list[tuple[int, list[str]]]:
    """Line numbers and stripped cells, every line as long as the first; empty lines are left out.

    Args:
        path: UTF-8, with or without a byte order mark; commas, semicolons or tabs; the first line names the columns.
        columns: That it may have, for messages.

    Raises:
        DataError: If it is not such a file.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(path, "must be UTF-8 text", remedy="Save it as CSV UTF-8") from error
    except OSError as error:
        raise DataError(f"labels={path}", f"cannot be read ({error.strerror})", remedy="Check the path") from error
    delimiter = next((mark for mark in ",;\t" if mark in content.split("\n", 1)[0]), ",")  # countries differ
    reader = csv.reader(io.StringIO(content, newline=""), strict=True, delimiter=delimiter)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}", f"is not CSV ({error})") from error
    lines = [(line, cells) for line, cells in lines if any(cells)]
    if not lines:
        raise DataError(path, "is empty", remedy=f"Its first line must name columns of {', '.join(columns)}")
    width = len(lines[0][1])
    for line, cells in lines:
        if len(cells) != width:
            raise DataError(f"{path}, line {line}", f"must have {width} cells as the header has", found=len(cells))
    return lines
