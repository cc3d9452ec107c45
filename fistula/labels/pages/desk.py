"""Serve a label page on this machine alone, at the same address whenever the command is repeated."""

import json
import os
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from stat import S_ISREG
from threading import Lock
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import ProxyHandler, build_opener

from fistula.errors import ConfigError, DataError
from fistula.labels.pages.answers import Answers

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


class Desk:
    """A loopback server for one page.

    `patient` gives a patient as JSON text, by number, and is called by one thread at a time; port 0 is a free one, and
    an empty token a new one.

    Raises:
        ConfigError: If the port is in use.
    """

    def __init__(
        self,
        page: str,
        patient: Callable[[int], str],
        patients: int,
        answers: Answers,
        *,
        port: int = 0,
        token: str = "",
    ) -> None:
        self.token = token or secrets.token_urlsafe(24)
        try:
            self.server = ThreadingHTTPServer((HOST, port), _handler(self, page, patient, patients, answers))
        except OSError as error:
            remedy = "Name another port, or port=0 for one that is free"
            raise ConfigError(f"port={port}", f"cannot be listened on ({error.strerror})", remedy=remedy) from error
        self.server.daemon_threads = True

    @property
    def address(self) -> str:
        """Where a browser finds the page; whoever does not know it gets nothing."""
        return _address(int(self.server.server_address[1]), self.token)


@dataclass(frozen=True)
class Place:
    """Port and token under which a question was served, kept in a file that only its owner can read.

    A command that is repeated is found at the same address, so that a page which is still open saves there what it
    could not, and a browser finds what it keeps.
    """

    port: int = 0
    token: str = ""

    @classmethod
    def last(cls, path: Path, question: str) -> "Place":
        """The place of the last server of this question; a new one if there was none."""
        try:
            facts = path.lstat()
            if not S_ISREG(facts.st_mode) or (
                os.name == "posix" and (facts.st_uid != os.getuid() or facts.st_mode & 0o077)
            ):
                return cls()  # whoever could write it would know the token
            found = json.loads(path.read_text(encoding="utf-8"))
            is_same = found["question"] == question and len(found["token"]) >= 32 and 0 < int(found["port"]) < 65536
            return cls(int(found["port"]), str(found["token"])) if is_same else cls()
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def keep(self, path: Path, question: str) -> None:
        """Write it for the next command; a folder that takes no file does not stop this one."""
        text = json.dumps({"question": question, "port": self.port, "token": self.token})
        with suppress(OSError):
            path.unlink(missing_ok=True)  # one that others may read, or a link to something else
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)

    @property
    def served(self) -> str:
        """The address, if a server answers there now."""
        address = _address(self.port, self.token)
        try:
            with build_opener(ProxyHandler({})).open(f"{address}answers", timeout=2) as answer:
                return address if answer.status == HTTPStatus.OK else ""
        except HTTPError as error:
            return address if error.code == HTTPStatus.INSUFFICIENT_STORAGE else ""
        except (OSError, ValueError, HTTPException):
            return ""


def open_desk(serve: Callable[..., Desk], folder: Path, *, question: str, port: int = 0) -> Desk:
    """Call `serve` with a port and a token: those of the last time that `folder` had a server of this question.

    Raises:
        ConfigError: If the folder is being served, or `port` is given and in use.
    """
    kept = folder / ".address"
    last = Place.last(kept, question)
    if last.token and (address := last.served):
        raise ConfigError(f"out={folder}", f"is being served already at {address}", remedy="Open that address")
    try:
        desk = serve(port=port or last.port, token=last.token)
    except ConfigError:
        if port:
            raise
        desk = serve(port=0, token=last.token)  # another program has taken the last one
    Place(int(desk.server.server_address[1]), desk.token).keep(kept, question)
    return desk


def _address(port: int, token: str) -> str:
    return f"http://{HOST}:{port}/{token}/"


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
                try:
                    self._answer(answers.of(query.get("reader", [""])[0]), "text/csv; charset=utf-8")
                except (OSError, DataError) as error:  # another program has damaged the table
                    self._answer(str(error), "text/plain; charset=utf-8", HTTPStatus.INSUFFICIENT_STORAGE)
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
            except (OSError, DataError) as error:  # the disk is full, or gone: the page keeps the answers and says why
                full = f"{answers.path.name} cannot be written ({error.strerror})" if isinstance(error, OSError) else ""
                why = full or str(error)
                return self._answer(why, "text/plain; charset=utf-8", HTTPStatus.INSUFFICIENT_STORAGE)
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
