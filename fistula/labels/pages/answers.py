"""The table `labels.csv` of a served label page: what its readers have answered."""

import csv
import io
from pathlib import Path
from threading import Lock
from typing import Any

from fistula.errors import DataError
from fistula.folder import write_whole


class Answers:
    """The table `labels.csv`: every reader's rows, written whole after each save.

    What the file holds already is kept, and so is what another command or an editor writes into it in the meantime.

    Raises:
        DataError: If the file is there and has another header, or a line of another length.
    """

    def __init__(self, path: Path, columns: list[str]) -> None:
        self.path, self.columns, self._lock = path, columns, Lock()
        self._at = [columns.index(name) for name in ("reader", "patient_key", "repeat")]
        self._rows: dict[tuple[str, str, str], list[list[str]]] = {}
        self._seen: tuple[int, ...] | None = None  # what the file was when it was read or written last
        self._read_if_changed()

    def _read_if_changed(self) -> None:
        if (seen := self._stamp()) in (None, self._seen):  # a file that somebody removed is written again
            return
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                header, *body = list(csv.reader(file)) or [[]]
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(self.path, "cannot be read", remedy="Save it as CSV UTF-8 with commas") from error
        if header != self.columns:
            remedy = "Name another folder (out=...): this one has the answers to another question"
            raise DataError(
                f"{self.path}, line 1", f"must be {','.join(self.columns)}", found=",".join(header), remedy=remedy
            )
        rows: dict[tuple[str, str, str], list[list[str]]] = {}
        for line, row in enumerate(body, 2):
            if row and len(row) != len(self.columns):
                raise DataError(f"{self.path}, line {line}", f"must have {len(self.columns)} cells", found=len(row))
            if row:  # an editor may have left an empty line at the end
                rows.setdefault(self._scope(row), []).append(row)
        self._rows, self._seen = rows, seen

    def _stamp(self) -> tuple[int, ...] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def of(self, reader: str) -> str:
        """One reader's rows as CSV."""
        with self._lock:
            self._read_if_changed()
            return self._text(row for scope, rows in self._rows.items() if scope[0] == reader for row in rows)

    def save(self, reader: str, scopes: list[tuple[str, str]], rows: list[list[str]]) -> None:
        """Put a reader's rows in place of those that stood for these patients.

        `scopes` are patient and `repeat` of each patient concerned, and `rows` all rows of these.

        Raises:
            ValueError: If a row has another width, or is of another reader or patient.
            OSError: If the table cannot be written; it is then as it was.
            DataError: If somebody has made another table of it.
        """
        given = {(reader, *scope) for scope in scopes}
        if any(len(row) != len(self.columns) or self._scope(row) not in given for row in rows):
            raise ValueError("a row that is not of these patients")
        with self._lock:
            self._read_if_changed()
            changed = {scope: [row for row in rows if self._scope(row) == scope] for scope in given}
            every = self._rows | changed
            write_whole(self.path, self._text(row for scope in sorted(every) for row in every[scope]))
            self._rows, self._seen = every, self._stamp()

    def _scope(self, row: list[str]) -> tuple[str, str, str]:
        reader, patient, repeat = (row[index] for index in self._at)
        return reader, patient, repeat

    def _text(self, rows: Any) -> str:
        text = io.StringIO()
        csv.writer(text).writerows([self.columns, *rows])
        return text.getvalue()
