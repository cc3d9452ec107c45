"""Serve a label page on this machine alone, and keep what it answers in `labels.csv`."""

import csv
import io
import json
import re
import secrets
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fistula.errors import ConfigError, DataError
from fistula.folder import write_whole

HOST = "127.0.0.1"
MOST_BYTES = 32 << 20  # of one save: the answers to some hundred thousand slices
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


class Answers:
    """The table `labels.csv`: every reader's rows, written whole after each save.

    What the file holds already is kept.

    Raises:
        DataError: If the file is there and has another header, or a line of another length.
    """

    def __init__(self, path: Path, columns: list[str]) -> None:
        self.path, self.columns, self._lock = path, columns, Lock()
        self._at = [columns.index(name) for name in ("reader", "patient_key", "repeat")]
        self._rows: dict[tuple[str, str, str], list[list[str]]] = {}
        if path.exists():
            try:
                with path.open(encoding="utf-8", newline="") as file:
                    header, *body = list(csv.reader(file)) or [[]]
            except (UnicodeDecodeError, csv.Error) as error:
                raise DataError(path, "cannot be read", remedy="Save it as CSV UTF-8 with commas") from error
            if header != columns:
                remedy = "Name another folder (out=...): this one has the answers to another question"
                raise DataError(
                    f"{path}, line 1", f"must be {','.join(columns)}", found=",".join(header), remedy=remedy
                )
            for line, row in enumerate(body, 2):
                if row and len(row) != len(columns):
                    raise DataError(f"{path}, line {line}", f"must have {len(columns)} cells", found=len(row))
                if row:  # an editor may have left an empty line at the end
                    self._rows.setdefault(self._scope(row), []).append(row)

    def of(self, reader: str) -> str:
        """One reader's rows as CSV."""
        with self._lock:
            return self._text(row for scope, rows in self._rows.items() if scope[0] == reader for row in rows)

    def save(self, reader: str, scopes: list[tuple[str, str]], rows: list[list[str]]) -> None:
        """Put a reader's rows in place of those that stood for these patients.

        `scopes` are patient and `repeat` of each patient concerned, and `rows` all rows of these.

        Raises:
            ValueError: If a row has another width, or is of another reader or patient.
        """
        given = {(reader, *scope) for scope in scopes}
        if any(len(row) != len(self.columns) or self._scope(row) not in given for row in rows):
            raise ValueError("a row that is not of these patients")
        with self._lock:
            changed = {scope: [row for row in rows if self._scope(row) == scope] for scope in given}
            self._rows |= changed
            write_whole(self.path, self._text(row for scope in sorted(self._rows) for row in self._rows[scope]))

    def _scope(self, row: list[str]) -> tuple[str, str, str]:
        reader, patient, repeat = (row[index] for index in self._at)
        return reader, patient, repeat

    def _text(self, rows: Any) -> str:
        text = io.StringIO()
        csv.writer(text).writerows([self.columns, *rows])
        return text.getvalue()


class Desk:
    """A loopback server for one page.

    `patient` gives a patient as JSON text, by number, and is called by one thread at a time; port 0 is a free one.

    Raises:
        ConfigError: If the port is in use.
    """

    def __init__(
        self, page: str, patient: Callable[[int], str], patients: int, answers: Answers, *, port: int = 0
    ) -> None:
        self.token = secrets.token_urlsafe(24)
        try:
            self.server = ThreadingHTTPServer((HOST, port), _handler(self, page, patient, patients, answers))
        except OSError as error:
            remedy = "Name another port, or port=0 for one that is free"
            raise ConfigError(f"port={port}", f"cannot be listened on ({error.strerror})", remedy=remedy) from error
        self.server.daemon_threads = True

    @property
    def address(self) -> str:
        """Where a browser finds the page; whoever does not know it gets nothing."""
        return f"http://{HOST}:{self.server.server_address[1]}/{self.token}/"


def _handler(
    desk: Desk, page: str, patient: Callable[[int], str], patients: int, answers: Answers
) -> type[BaseHTTPRequestHandler]:
    reading = Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "fistula", ""

        def do_GET(self) -> None:
            if (rest := self._rest()) is None:
                return
            path, query = urlsplit(rest).path, parse_qs(urlsplit(rest).query)
            if path == "":
                self._answer(page, "text/html; charset=utf-8")
            elif (found := re.fullmatch(r"patient/(\d{1,7})", path)) and int(found[1]) < patients:
                with reading:
                    text = patient(int(found[1]))
                self._answer(text, "application/json")
            elif path == "answers":
                self._answer(answers.of(query.get("reader", [""])[0]), "text/csv; charset=utf-8")
            else:
                self._refuse(HTTPStatus.NOT_FOUND)

        def do_POST(self) -> None:
            if (rest := self._rest()) is None:
                return None
            origin = self.headers.get("Origin")
            length = self.headers.get("Content-Length", "")
            if rest != "save" or (origin is not None and origin != desk.address[: desk.address.index("/", 8)]):
                return self._refuse(HTTPStatus.NOT_FOUND)
            if not length.isdecimal() or int(length) > MOST_BYTES:
                return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            try:
                given = json.loads(self.rfile.read(int(length)))
                rows = [[_cell(cell) for cell in row] for row in given["rows"]]
                answers.save(str(given["reader"]), [(str(key), str(again)) for key, again in given["scope"]], rows)
            except (ValueError, KeyError, TypeError):
                return self._refuse(HTTPStatus.BAD_REQUEST)
            return self._answer("{}", "application/json")

        def _rest(self) -> str | None:
            """What follows the token; None, and an answer, for who does not bring it or calls us by another name."""
            host = self.headers.get("Host", "").rpartition(":")[0]
            token, _, rest = self.path.removeprefix("/").partition("/")
            if host not in (HOST, "localhost") or not secrets.compare_digest(token.encode(), desk.token.encode()):
                self._refuse(HTTPStatus.NOT_FOUND)
                return None
            return rest

        def _answer(self, text: str, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
            content = text.encode()
            self.send_response(status)
            for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def _refuse(self, status: HTTPStatus) -> None:
            self.close_connection = True  # what was not read must not be taken for the next request
            self._answer("", "text/plain", status)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the library's name)
            """Log nothing: addresses hold the token."""

    return Handler


def _cell(value: object) -> str:
    """A cell as text, on one line and of a length that a note may have."""
    if not isinstance(value, str | int | float | None):
        raise TypeError("a cell that is neither text nor a number")
    return "" if value is None else " ".join(str(value).split())[:1000]
