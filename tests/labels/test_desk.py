"""The loopback server of a label page: saves, and gives nothing to who does not know its address."""

import csv
import http.client
import json
import threading
from functools import partial

import pytest

from fistula.errors import ConfigError, DataError
from fistula.labels.pages.answers import Answers
from fistula.labels.pages.desk import Desk, open_desk
from fistula.labels.tables.page_table import columns_of

COLUMNS = columns_of("patient", "class")


def row(patient, label, reader="AB", note=""):
    return [patient, label, "0", note, reader, "2026-01-02", "0", "12"]


@pytest.fixture
def desk(tmp_path):
    answers = Answers(tmp_path / "labels.csv", COLUMNS)
    desk = Desk("<p>page</p>", lambda number: json.dumps({"key": f"p{number}"}), 2, answers)
    thread = threading.Thread(target=desk.server.serve_forever, daemon=True)
    thread.start()
    yield desk
    desk.server.shutdown()
    desk.server.server_close()


@pytest.fixture
def ask(desk):
    def call(path, *, method="GET", token=None, body=None, **headers):
        port = desk.server.server_address[1]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        target = path if path.startswith("/") else f"/{token or desk.token}/{path}"
        body = body if body is None or isinstance(body, bytes) else json.dumps(body)
        connection.request(method, target, body=body, headers={"Host": f"127.0.0.1:{port}"} | headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    return call


def saved(tmp_path):
    with (tmp_path / "labels.csv").open(newline="") as file:
        return list(csv.reader(file))


def test_a_save_is_in_the_table_and_comes_back_to_its_reader_alone(ask, tmp_path):
    given = {"reader": "AB", "scope": [["p0", 0]], "rows": [row("p0", "fistula", note="a, b")]}
    assert ask("save", method="POST", body=given)[0] == 200
    other = {"reader": "CD", "scope": [["p0", 0]], "rows": [row("p0", "normal", reader="CD")]}
    assert ask("save", method="POST", body=other)[0] == 200
    assert saved(tmp_path) == [COLUMNS, row("p0", "fistula", note="a, b"), row("p0", "normal", reader="CD")]
    assert "fistula" in ask("answers?reader=AB")[1]
    assert "fistula" not in ask("answers?reader=CD")[1]


def test_a_later_save_takes_the_place_of_the_earlier_one_of_this_patient_alone(ask, tmp_path):
    both = {"reader": "AB", "scope": [["p0", 0], ["p1", 0]], "rows": [row("p0", "fistula"), row("p1", "normal")]}
    ask("save", method="POST", body=both)
    ask("save", method="POST", body={"reader": "AB", "scope": [["p0", 0]], "rows": []})
    assert saved(tmp_path) == [COLUMNS, row("p1", "normal")]


def test_a_server_that_starts_again_goes_on_with_its_table(ask, tmp_path):
    ask("save", method="POST", body={"reader": "AB", "scope": [["p0", 0]], "rows": [row("p0", "fistula")]})
    assert "fistula" in Answers(tmp_path / "labels.csv", COLUMNS).of("AB")


@pytest.mark.parametrize(
    ("path", "more"),
    [
        pytest.param("", {"token": "wrong"}, id="another token"),
        pytest.param("/", {}, id="no token"),
        pytest.param("../../etc/passwd", {}, id="a path out of the folder"),
        pytest.param("..%2f..%2fetc%2fpasswd", {}, id="the same, quoted"),
        pytest.param("patient/2", {}, id="a patient who is not there"),
        pytest.param("patient/-1", {}, id="a number below 0"),
        pytest.param("labels.csv", {}, id="the table by its name"),
        pytest.param("", {"Host": "evil.example:80"}, id="another name for this machine"),
        pytest.param("save", {"method": "POST", "body": {}, "Origin": "http://evil.example"}, id="another page's save"),
    ],
)
def test_nothing_is_given_to_who_does_not_know_the_address(ask, path, more, tmp_path):
    assert ask(path, **more) == (404, "")
    assert not (tmp_path / "labels.csv").exists()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"not json", id="no JSON"),
        pytest.param({"reader": "AB", "scope": [["p0", 0]], "rows": [["p0"]]}, id="a short row"),
        pytest.param({"reader": "AB", "scope": [["p0", 0]], "rows": [row("p1", "x")]}, id="a row of another patient"),
        pytest.param(
            {"reader": "AB", "scope": [["p0", 0]], "rows": [row("p0", "x", reader="CD")]}, id="another reader"
        ),
        pytest.param(
            {"reader": "AB", "scope": [["p0", 0]], "rows": [row("p0", {"a": 1})]}, id="a cell that is a table"
        ),
    ],
)
def test_a_save_that_is_no_save_changes_nothing(ask, body, tmp_path):
    assert ask("save", method="POST", body=body)[0] == 400
    assert not (tmp_path / "labels.csv").exists()


def test_an_absurdly_long_save_is_not_read(ask):
    assert ask("save", method="POST", body=b"", **{"Content-Length": str(1 << 40)})[0] == 413


def test_the_page_and_its_patients_are_given(ask):
    assert ask("") == (200, "<p>page</p>")
    assert json.loads(ask("patient/1")[1]) == {"key": "p1"}


def test_a_table_of_another_question_is_refused(tmp_path):
    (tmp_path / "labels.csv").write_text("slice_key,label\na,1\n")
    with pytest.raises(DataError, match=r"line 1: must be patient_key,label,.* answers to another question"):
        Answers(tmp_path / "labels.csv", COLUMNS)


def test_a_table_that_an_editor_has_saved_is_read_or_refused_in_one_line(tmp_path):
    path, header = tmp_path / "labels.csv", ",".join(COLUMNS)
    path.write_text(f"{header}\n{','.join(row('p0', 'fistula'))}\n\n")
    assert "fistula" in Answers(path, COLUMNS).of("AB")
    path.write_text(f"{header}\np0,fistula\n")
    with pytest.raises(DataError, match=r"labels.csv, line 2: must have 8 cells, found 2"):
        Answers(path, COLUMNS)
    path.write_bytes(f"{header}\n{','.join(row('p0', 'fistel', note='größer'))}\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"labels.csv: cannot be read. Save it as CSV UTF-8"):
        Answers(path, COLUMNS)


def test_a_port_in_use_is_one_line(desk, tmp_path):
    port = desk.server.server_address[1]
    with pytest.raises(ConfigError, match=rf"port={port}: cannot be listened on \(Address already in use\)"):
        Desk("", str, 0, Answers(tmp_path / "other.csv", COLUMNS), port=port)


def test_a_table_that_cannot_be_written_is_said_and_stays_as_it_was(ask, tmp_path):
    given = {"reader": "AB", "scope": [["p0", 0]], "rows": [row("p0", "fistula")]}
    folder = tmp_path.with_name(f"{tmp_path.name}-gone")
    tmp_path.rename(folder)  # a disk that is full, or a share that is gone
    assert ask("save", method="POST", body=given) == (507, "labels.csv cannot be written (No such file or directory)")
    folder.rename(tmp_path)
    assert not (tmp_path / "labels.csv").exists()
    assert ask("save", method="POST", body=given)[0] == 200
    assert saved(tmp_path) == [COLUMNS, row("p0", "fistula")]


def test_two_servers_of_one_folder_do_not_write_over_one_another(tmp_path):
    one, other = (Answers(tmp_path / "labels.csv", COLUMNS) for _ in range(2))
    one.save("AB", [("p0", "0")], [row("p0", "fistula")])
    other.save("CD", [("p0", "0")], [row("p0", "normal", reader="CD")])
    one.save("AB", [("p1", "0")], [row("p1", "normal")])
    assert saved(tmp_path)[1:] == [row("p0", "fistula"), row("p1", "normal"), row("p0", "normal", reader="CD")]
    assert "p1" in other.of("AB")
    (tmp_path / "labels.csv").unlink()  # by mistake
    one.save("AB", [], [])
    assert len(saved(tmp_path)) == 4


def test_a_table_that_was_changed_into_another_is_not_written_over(ask, tmp_path):
    ask("save", method="POST", body={"reader": "AB", "scope": [["p0", 0]], "rows": [row("p0", "fistula")]})
    (tmp_path / "labels.csv").write_text("Patient;Label\np0;fistula\n")
    code, why = ask("save", method="POST", body={"reader": "AB", "scope": [["p1", 0]], "rows": [row("p1", "normal")]})
    assert (code, "line 1: must be patient_key" in why) == (507, True)
    assert ask("answers?reader=AB") == (507, why)
    assert (tmp_path / "labels.csv").read_text() == "Patient;Label\np0;fistula\n"


@pytest.mark.parametrize("kept", ["read by all", "a link", "port"])
def test_an_address_that_others_may_have_written_is_not_taken_and_nothing_else_is_written_over(kept, tmp_path):
    port = 99999 if kept == "port" else 8000
    text = json.dumps({"question": "a", "port": port, "token": "x" * 32})
    path = tmp_path / ("mine" if kept == "a link" else ".address")
    path.write_text(text)
    path.chmod(0o644 if kept == "read by all" else 0o600)
    if kept == "a link":
        (tmp_path / ".address").symlink_to(path)
    desk = open_desk(partial(Desk, "", str, 0, Answers(tmp_path / "labels.csv", COLUMNS)), tmp_path, question="a")
    desk.server.server_close()
    assert desk.token != "x" * 32
    assert kept != "a link" or path.read_text() == text
    assert (tmp_path / ".address").lstat().st_mode & 0o777 == 0o600
    assert desk.token in (tmp_path / ".address").read_text()


def test_a_server_that_is_started_again_is_found_at_its_address_and_a_second_one_refused(tmp_path):
    serve = partial(Desk, "", str, 0, Answers(tmp_path / "labels.csv", COLUMNS))
    first = open_desk(serve, tmp_path, question="a")
    assert (tmp_path / ".address").stat().st_mode & 0o777 == 0o600  # whoever knows the token can answer
    first.server.server_close()
    again = open_desk(serve, tmp_path, question="a")
    assert again.address == first.address
    thread = threading.Thread(target=again.server.serve_forever, daemon=True)
    thread.start()
    with pytest.raises(ConfigError, match=f"is being served already at {again.address}. Open that address"):
        open_desk(serve, tmp_path, question="a")
    other = open_desk(serve, tmp_path, question="b")  # the port is taken, and another question is another page
    assert other.address != again.address
    assert other.token != again.token
    other.server.server_close()
    again.server.shutdown()
    again.server.server_close()
