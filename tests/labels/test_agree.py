"""Readers' tables together: numbers worked by hand, what is disputed, and a consensus that ingest takes."""

import csv
import json

import pytest

from fistula.cohort.manifest import read_cohort
from fistula.commands.label import read_asked
from fistula.errors import ConfigError, DataError
from fistula.labels.readers.agreement import read_readers
from fistula.labels.tables.page_table import SLICE
from fistula.labels.tables.read import read_labels

FIRST = "nnnn nnff ffff nnnn nnnn"  # five patients of four slices: n(ormal), f(istula), u(nsure)
SECOND = "nnnn nfff fffn nnnn nnnn"
THIRD = "nnnn nnff fffu nnnn nnff"
WORDS = {"n": "normal", "f": "fistula", "u": ""}


def write(path, reader, answers, *, repeat="0", places=None):
    """A table with these answers; `places` gives slices their opening and canal (row, col) and clock."""
    rows = []
    for patient, letters in enumerate(answers.split()):
        for number, letter in enumerate(letters):
            key = f"s{patient}{number}"
            opening, canal, clock = (places or {}).get(key, (("", ""), ("", ""), ""))
            row = dict.fromkeys(SLICE, "") | {
                "slice_key": key, "patient_key": f"p{patient}", "label": WORDS[letter], "unsure": int(letter == "u"),
                "reader": reader, "repeat": repeat, "pixel_mm": "0.5x2", "clock": clock,
                "opening_row": opening[0], "opening_col": opening[1], "canal_row": canal[0], "canal_col": canal[1],
            }  # fmt: skip
            rows.append(row)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, SLICE)
        if path.stat().st_size == 0:
            writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def agree(tmp_path, fistula_here):
    def call(*arguments, readers=(("A", FIRST), ("B", SECOND)), tables=None, **places):
        for name, answers in readers:
            (tmp_path / f"{name}.csv").unlink(missing_ok=True) if tables else None
            write(tmp_path / f"{name}.csv", name, answers, places=places.get(name))
        paths = ",".join([*(f"{name}.csv" for name, _ in readers), *([tables] if tables else [])])
        code, said, error = fistula_here(
            "agree", f"labels=[{paths}]", "out=found", "classes=[normal,fistula]", *arguments
        )
        numbers = {}
        if code == 0:
            for row in json.loads((tmp_path / "found" / "agreement.json").read_text()):
                numbers[row["who"], row["measure"]] = row
        return code, said + error, numbers

    return call


def table(tmp_path, name):
    with (tmp_path / "found" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_kappa_of_two_readers_is_that_of_the_table_by_hand(agree, tmp_path):
    """Both normal 13, both fistula 5, one each way: 18 of 20; by chance (14 × 14 + 6 × 6) / 400 = 0.58."""
    code, said, numbers = agree()
    assert code == 0, said
    kappa = numbers["A and B", "Cohen's kappa"]
    assert kappa["value"] == pytest.approx((0.9 - 0.58) / (1 - 0.58))
    assert kappa["low"] < kappa["value"] < kappa["high"]
    assert kappa["rows"] == 20
    assert kappa["patients"] == 5
    assert numbers["all readers", "agreement on fistula"]["value"] == pytest.approx(2 * 5 / 12)
    assert {row["slice_key"]: row["reason"] for row in table(tmp_path, "disagreements.csv")} == dict.fromkeys(
        ["s11", "s23"], "different answers"
    )


def test_three_readers_have_fleiss_and_every_pair(agree, tmp_path):
    code, said, numbers = agree("majority=true", readers=(("A", FIRST), ("B", SECOND), ("C", THIRD)))
    assert code == 0, said
    assert {who for who, measure in numbers if measure == "Cohen's kappa"} == {"A and B", "A and C", "B and C"}
    assert numbers["all readers", "Fleiss' kappa"]["rows"] == 19  # C was unsure of one slice
    rules = {row["slice_key"]: row["rule"] for row in table(tmp_path, "consensus.csv")}
    assert rules["s00"] == "unanimous, 3 readers"
    assert rules["s11"] == "majority, 2 of 3 readers"
    assert rules["s23"] == "undecided"  # fistula, normal, unsure


def test_of_patients_no_number_of_slices_is_shown(fistula_here, tmp_path):
    for reader, letters in (("A", "nnff"), ("B", "nfff")):
        rows = [f"p{number},{WORDS[letter]},0,{reader},0" for number, letter in enumerate(letters)]
        (tmp_path / f"{reader}.csv").write_text("\n".join(["patient_key,label,unsure,reader,repeat", *rows]) + "\n")
    code, said, error = fistula_here("agree", "labels=[A.csv,B.csv]", "out=found", "classes=[normal,fistula]")
    assert (code, error) == (0, "")
    heading = next(line for line in said.splitlines() if "measure" in line)
    assert "patients" in heading
    assert "slices" not in heading


def test_openings_are_compared_in_mm_and_hours(agree, tmp_path):
    """Rows are 0.5 mm apart and columns 2: (8, 1) off is √(4² + 2²) mm; 11.5 and 0.5 o'clock are one hour apart."""
    places = {
        "A": {"s12": ((10, 10), (20, 10), "11.5"), "s20": ((10, 10), ("", ""), "")},
        "B": {"s12": ((18, 11), (20, 10), "12.5"), "s20": ((30, 10), ("", ""), "")},
    }
    code, said, numbers = agree(**places)
    assert code == 0, said
    assert numbers["A and B", "openings within 5 mm"]["value"] == 0.5
    median = numbers["A and B", "median distance of openings, mm"]
    assert median["value"] == pytest.approx(20**0.5)  # half are within it
    assert numbers["A and B", "openings within one hour"]["value"] == 1
    consensus = {row["slice_key"]: row for row in table(tmp_path, "consensus.csv")}
    assert (consensus["s12"]["opening_row"], consensus["s12"]["opening_col"]) == ("14.0", "10.5")
    assert consensus["s20"]["opening_row"] == ""  # 10 mm apart: nobody decided
    assert table(tmp_path, "disagreements.csv")[-2]["reason"] == "openings 10.0 mm apart"


def test_an_adjudicated_consensus_is_what_ingest_takes(agree, tmp_path):
    judge = write(tmp_path / "judge.csv", "J", "---- -n-- ---f".replace("-", "u"))
    code, said, _ = agree(f"adjudicated={judge}")
    assert code == 0, said
    rules = {row["slice_key"]: (row["label"], row["rule"]) for row in table(tmp_path, "consensus.csv")}
    assert rules["s11"] == ("normal", "adjudicated by J")
    assert rules["s23"] == ("fistula", "adjudicated by J")
    labels = read_labels(tmp_path / "found" / "consensus.csv", classes=["normal", "fistula"])
    assert labels.key == ("slice_key",)
    assert sum(row.label == 1 for row in labels.rows) == 6
    assert len(labels.rows) == 20


def test_an_adjudicator_decides_disagreements_alone(agree, tmp_path):
    judge = write(tmp_path / "judge.csv", "A", "ffff ffff ffff")
    code, said, _ = agree(f"adjudicated={judge}")
    assert code == 0, said
    rules = {row["slice_key"]: row["rule"] for row in table(tmp_path, "consensus.csv")}
    assert {key for key, rule in rules.items() if rule.startswith("adjudicated")} == {"s11", "s23"}
    assert "note: A, who adjudicated, is one of the readers" in said
    assert "note: 10 adjudicated answers are not for disagreements and were ignored" in said
    assert "out=adjudication" not in said


@pytest.mark.parametrize(
    ("words", "order"),
    [
        pytest.param({"n": "plain", "f": "contrast"}, None, id="nobody can know it"),
        pytest.param({"n": "normal", "f": "fistula"}, "normal,fistula", id="one says that there is nothing"),
    ],
)
def test_what_comes_next_proposes_no_order_of_classes_that_nobody_stated(
    tmp_path, fistula_here, monkeypatch, words, order
):
    for letter, word in words.items():
        monkeypatch.setitem(WORDS, letter, word)
    for name, answers in (("A", FIRST), ("B", SECOND)):
        write(tmp_path / f"{name}.csv", name, answers)
    judge = write(tmp_path / "judge.csv", "J", FIRST)
    for out, more in (("found", ()), ("agreed", (f"adjudicated={judge}",))):
        code, said, error = fistula_here("agree", "labels=[A.csv,B.csv]", f"out={out}", *more)
        assert code == 0, error
        follow = next(line for line in said.splitlines() if line.startswith("next: "))
        assert ("classes=[" in follow) == (order is not None), follow
        assert (f'"classes=[{order}]"' if order else "classes= (contrast, plain) of the label pages") in follow
    weighted = fistula_here("agree", "labels=[A.csv,B.csv]", "out=weighted", "weights=linear")
    assert weighted[0] == (0 if order else 2)
    assert order or weighted[2].startswith("error: classes: must be given with weights=linear, found none. State the")


def test_the_page_of_adjudication_has_the_classes_of_the_readers(agree, dicom_tree, fistula_here, tmp_path):
    assert agree()[0] == 0
    source, _ = dicom_tree
    asked = ("label", f"source={source}", "asked=found/disagreements.csv", "out=adjudication", "workers.count=1")
    code, _, error = fistula_here(*asked, "classes=[plain,contrast]")
    assert (code, error.count("\n")) == (2, 1)
    assert "must name every answer of found/disagreements.csv (fistula, normal), found plain, contrast" in error


def test_a_full_disk_is_one_line_and_leaves_no_consensus(agree, with_a_full_disk, tmp_path):
    judge = write(tmp_path / "judge.csv", "J", "---- -n-- ---f".replace("-", "u"))
    code, said, _ = with_a_full_disk(3000, agree, f"adjudicated={judge}")  # the tables are smaller, the page is not
    assert (code, said.count("\n")) == (2, 1), said
    assert "cannot be written (File too large). Free some space" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A.csv", "B.csv", "judge.csv"]


@pytest.mark.parametrize("size", [1_000, 30_000], ids=["the first picture", "the page"])
def test_a_full_disk_is_one_line_and_leaves_no_page_of_adjudication(
    dicom_tree, fistula_here, with_a_full_disk, tmp_path, size
):
    source, table = dicom_tree
    fistula_here("ingest", f"source={source}", f"labels={table}", "out=cohort", "size=16", "workers.count=1")
    keys = read_cohort(tmp_path / "cohort").manifest["slice_key"]
    (tmp_path / "asked.csv").write_text(f"slice_key\n{keys[0]}\n")
    told = ("label", f"source={source}", "asked=asked.csv", "out=adjudication", "workers.count=1")
    code, said, error = with_a_full_disk(size, fistula_here, *told)
    assert (code, error.count("\n")) == (2, 1), said + error
    assert "File too large" in error
    assert not [path for path in tmp_path.iterdir() if "adjudication" in path.name]
    assert fistula_here(*told)[0] == 0


def test_slices_that_are_asked_about_stand_in_any_table_that_labels_may(tmp_path):
    path = tmp_path / "asked.csv"
    path.write_text("sep=;\nSlice Key;reason\na1;x\nb2;y\n\n")
    assert read_asked(path, ["normal", "fistula"]) == {"a1", "b2"}
    path.write_text("slice;reason\na1;x\n")
    with pytest.raises(DataError, match=r"asked=.*asked.csv: must name slices in a column slice_key"):
        read_asked(path, ["normal", "fistula"])
    with pytest.raises(DataError, match=r"^\S*none.csv: cannot be read \(No such file or directory\). Check the path$"):
        read_asked(tmp_path / "none.csv", [])


def test_what_nobody_decided_is_no_label(agree, tmp_path):
    assert agree()[0] == 0
    labels = read_labels(tmp_path / "found" / "consensus.csv", classes=["normal", "fistula"])
    assert len(labels.rows) == 18


def test_a_reader_is_compared_with_oneself(agree, tmp_path):
    write(tmp_path / "A.csv", "A", "nnnn nnnf", repeat="1")
    code, said, numbers = agree()
    assert code == 0, said
    assert numbers["A, first and second reading", "Cohen's kappa"]["rows"] == 8


@pytest.mark.parametrize(
    ("second", "rule"),
    [
        pytest.param(
            ("A", SECOND), r"one answer of a reader for each slice, found two of A for 20, in .*a\.csv and", id="twice"
        ),
        pytest.param(("B", "u"), "a slice that two readers answered", id="nothing in common"),
    ],
)
def test_tables_that_cannot_be_compared_are_refused(tmp_path, second, rule):
    paths = [write(tmp_path / "a.csv", "A", FIRST), write(tmp_path / "b.csv", *second)]
    with pytest.raises(DataError, match=rule):
        read_readers(paths, ["normal", "fistula"])


def test_the_tables_of_a_readers_pages_are_one_however_a_spreadsheet_saved_them(agree, tmp_path, fistula_here):
    whole = agree()[2]
    (tmp_path / "found").rename(tmp_path / "whole")
    lines = (tmp_path / "A.csv").read_text().splitlines()
    (tmp_path / "A-page-1.csv").write_text("\n".join(lines[:9]) + "\n")
    semicolons = "\n".join([lines[0], *lines[9:]]).replace(",", ";")
    (tmp_path / "A-page-2.csv").write_text("\ufeff" + semicolons, encoding="utf-8")
    (tmp_path / "A.csv").unlink()
    code, said, parts = agree(readers=(("B", SECOND),), tables="A-page-*.csv")
    assert code == 0, said
    assert parts == whole
    code, said, error = fistula_here("agree", "labels=*.csv", "out=pattern", "classes=[normal,fistula]")
    assert code == 0, error
    assert (tmp_path / "pattern" / "consensus.csv").read_text() == (tmp_path / "whole" / "consensus.csv").read_text()


@pytest.mark.parametrize("classes", [[0, 1], ["0", "1"], None])
def test_classes_that_are_numbers_are_named_as_the_tables_have_them(tmp_path, monkeypatch, classes):
    for letter, number in (("n", "0"), ("f", "1")):
        monkeypatch.setitem(WORDS, letter, number)
    paths = [write(tmp_path / "a.csv", "A", FIRST), write(tmp_path / "b.csv", "B", SECOND)]
    assert read_readers(paths, classes).classes == ["0", "1"]


def test_readers_that_differ_in_case_are_refused(tmp_path):
    paths = [write(tmp_path / "a.csv", "AB", FIRST), write(tmp_path / "b.csv", "ab", SECOND)]
    with pytest.raises(DataError, match="each reader must be spelt in one way, found AB and ab"):
        read_readers(paths, None)


def test_one_reader_is_no_two(tmp_path):
    with pytest.raises(DataError, match="two readers or more, found A"):
        read_readers([write(tmp_path / "a.csv", "A", FIRST)], None)


def test_an_answer_that_is_no_class_is_refused(tmp_path):
    paths = [write(tmp_path / "a.csv", "A", FIRST), write(tmp_path / "b.csv", "B", SECOND)]
    with pytest.raises(ConfigError, match="must name every answer of the tables, found not normal"):
        read_readers(paths, ["healthy", "fistula"])


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        pytest.param("label\n1\n", "must be the table of a label page, found label", id="another table"),
        pytest.param("patient_key,label,reader,repeat,unsure\np,1,A,0\n", "line 2: must have 5 cells", id="short"),
        pytest.param("patient_key,label,reader,repeat,unsure\np,1,,0,0\n", "line 2: must have a reader", id="nobody"),
        pytest.param("patient_key,label,reader,repeat,unsure\n", "at least one answer", id="empty"),
        pytest.param(
            "patient_key,label,reader,repeat,unsure\np,1,A,0,0\np,0,A,0,0\n", "line 3: gives p a second answer by A",
            id="twice",
        ),
    ],
)  # fmt: skip
def test_a_table_that_is_none_is_refused_with_its_line(tmp_path, text, rule):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=rule):
        read_readers([tmp_path / "a.csv"], None)


def test_a_table_that_another_program_saved_again_says_the_same(tmp_path):
    """Other case, a decomposed name, 1.0 for 1, no-break spaces: none makes another reader, class or answer."""
    head = "slice_key,patient_key,label,reader,repeat,unsure\n"
    first = "a,p,true,Jos\u00e9,0,0\nb,p,no finding,Jos\u00e9,0,0\nc,q,,Jos\u00e9,0,1\nd,q,true,Jos\u00e9,0,0\n"
    again = "a,p,TRUE,Jose\u0301,1.0,0.0\nb,p,no\u00a0finding,Jose\u0301,1.0,0.0\n"
    second = "a,p,TRUE,B,0.0,0.0\nb,p,no\u00a0finding,B,0.0,0.0\nc,q,true,B,0.0,1.0\nd,q,True,B,0.0,0.0\n"
    for name, text in (("a", first + again), ("b", second)):
        (tmp_path / f"{name}.csv").write_text(head + text)
    readers = read_readers([tmp_path / "a.csv", tmp_path / "b.csv"], None)
    assert (readers.names, readers.classes) == (["B", "Jos\u00e9"], ["no finding", "true"])
    assert readers.ratings.tolist() == [[1, 1], [0, 0], [-1, -1], [1, 1]]
    assert list(readers.readings[1].again) == ["a", "b"]


def test_no_table_is_one_line(fistula_here):
    code, _, error = fistula_here("agree")
    assert (code, error) == (
        2,
        "error: labels: must be given: tables of two or more readers. For example labels=[a.csv,b.csv]\n",
    )
