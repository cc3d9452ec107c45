"""Several tables of labels as one, such as those that a reader exports page by page."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from fistula.errors import ConfigError, DataError
from fistula.labels.tables.lines import Labels
from fistula.labels.tables.read import read_labels, refuse_twice


def read_tables(paths: Sequence[Path], **options: Any) -> Labels:
    """Read tables that name images in one way, each with these options of `read_labels`, and put their lines together.

    Raises:
        DataError: As `read_labels`; if they differ in how they name images, in classes or in covariates, are of several
            readers, or name an image twice.
    """
    if not paths:
        raise ConfigError("labels", "must name a table")
    tables = [read_labels(path, **options) for path in paths]
    if len(tables) == 1:
        return tables[0]
    first = tables[0]
    for other in tables[1:]:
        for name in ("key", "classes", "covariates"):
            ours, theirs = getattr(first, name), getattr(other, name)
            if ours != theirs:
                rule = f"must have the same {'columns for images' if name == 'key' else name} as {first.path}"
                remedy = "Name them in order: classes=[normal,fistula]" if name == "classes" else ""
                raise DataError(other.path, rule, found=", ".join(theirs) or "none", remedy=remedy)
    if len(readers := sorted({table.reader for table in tables})) > 1:
        remedy = "Make one table of them with fistula agree"
        raise DataError("labels", "must hold the answers of one reader", found=", ".join(readers), remedy=remedy)
    # Numbers of lines run on, so that each is of one line; messages name the line of the file.
    starts = accumulate((max(row.line for row in table.rows) for table in tables), initial=0)
    rows = [
        replace(row, line=start + row.line, origin=f"{table.path}, line {row.line}")
        for start, table in zip(starts, tables, strict=False)
        for row in table.rows
    ]
    refuse_twice(first.path, rows)
    return replace(
        first,
        path=Path(", ".join(str(table.path) for table in tables)),
        rows=rows,
        has_frames=any(table.has_frames for table in tables),
        ignored=tuple(dict.fromkeys(name for table in tables for name in table.ignored)),
    )
