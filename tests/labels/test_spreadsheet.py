import re
import zipfile

import openpyxl
import pytest

from fistula.errors import ConfigError, DataError
from fistula.labels.tables.covariates import read_of_patients
from fistula.labels.tables.page_table import read_reading
from fistula.labels.tables.ratings import read_readings
from fistula.labels.tables.read import read_labels
from fistula.labels.tables.spreadsheet import Naming


@pytest.fixture
def saved(tmp_path):
    def save(content):
        path = tmp_path / "table"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return save


@pytest.fixture
def workbook(tmp_path):
    def save(*sheets):
        book = openpyxl.Workbook()
        book.remove(book.active)
        for number, rows in enumerate(sheets):
            sheet = book.create_sheet(f"sheet {number}")
            for row in rows:
                sheet.append(row)
        book.save(tmp_path / "table.xlsx")
        return tmp_path / "table.xlsx"

    return save


def found(path, **options):
    return [(row.line, row.name[0], row.label) for row in read_labels(path, **options).rows]


@pytest.mark.parametrize(
    "content",
    [
        "sop_instance_uid,label\n1.2,1\n1.3,0\n",
        "\ufeffSOPInstanceUID;Label\r\n1.2;1\r\n1.3;0\r\n",
        "SOP Instance UID\tLABEL\n1.2\t1\n1.3\t0\n",
        'sop-instance-uid;label\n="1.2";1\n\'1.3;0\n',
        '"SOP_Instance_UID","label"\n"1.2","1"\n" 1.3\xa0","0"\n',
        "sop_instance_uid\tlabel\n1.2\t1\n1.3\t0\n".encode("utf-16"),
        "sop_instance_uid,label\n\u200b1.2\ufeff,1\n1.3,\u200e0\n",
    ],
)
def test_a_spreadsheet_of_any_country_says_the_same(saved, content):
    assert found(saved(content)) == [(2, "1.2", 1), (3, "1.3", 0)]


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "\ufeffsep=;"])
def test_a_first_line_may_say_the_separator_and_lines_keep_their_numbers(saved, first):
    assert found(saved(f"{first}\r\npath;label\r\na, b;1\r\n")) == [(3, "a, b", 1)]
    with pytest.raises(DataError, match="line 3: must have 2 cells"):
        read_labels(saved(f"{first}\npath;label\na;1;2\n"))


def test_cells_beyond_what_was_filled_in_are_none(saved):
    assert found(saved("path,label,,\na,1,,\nb,0,,\n")) == [(2, "a", 1), (3, "b", 0)]
    with pytest.raises(DataError, match="line 3: must have 2 cells as the header has, found 4"):
        read_labels(saved("path,label,,\na,1,,\nb,0,,here\n"))


def test_a_title_above_the_table_is_named_as_what_it_is(saved):
    with pytest.raises(DataError, match=r"line 1: must name the columns, found Cohort of 2024\. Delete the"):
        read_labels(saved("Cohort of 2024,,\npath,label,site\na,1,x\n"))


def test_where_no_column_is_the_label_those_there_are_are_named(saved):
    table = saved("path,Diagnose,Datum\na,1,2024\n")
    with pytest.raises(DataError, match=r"the column 'label', found path, Diagnose, Datum\. .*columns\.label=NAME"):
        read_labels(table, naming=Naming(others="ignore"))
    rule = r"must name the images by one of: .*, found label, Bild\. Say which column it is, as in columns\.patient_id="
    with pytest.raises(DataError, match=rule):
        read_labels(saved("Bild,Diagnose\na,1\n"), naming=Naming({"label": "Diagnose"}, others="ignore"))


def test_lines_of_an_old_mac_are_lines(saved):
    assert found(saved("path,label\ra,1\rb,0\r")) == [(2, "a", 1), (3, "b", 0)]


def test_a_comma_in_a_column_name_is_not_the_separator(saved):
    table = saved('path;"label";"age, years"\na;1;40\n')
    assert found(table, naming=Naming(others="ignore")) == [(2, "a", 1)]


def test_a_workbook_is_read_with_its_line_numbers_and_whole_numbers(workbook):
    path = workbook([["Patient ID", "Label"], [2, 1], [], ["02", 0.0], [None, None, " "]], [])
    assert found(path, level="patient") == [(2, "2", 1), (4, "02", 0)]


def test_a_workbook_is_known_by_its_content(workbook, tmp_path):
    path = workbook([["path", "label"], ["a", 1]]).rename(tmp_path / "labels.csv")
    assert found(path) == [(2, "a", 1)]


def test_which_sheet_is_meant_is_not_guessed(workbook):
    with pytest.raises(DataError, match="must have one sheet with cells, found sheet 0, sheet 1"):
        read_labels(workbook([["path", "label"], ["a", 1]], [["notes"]]))


def test_an_identifier_that_a_spreadsheet_rounded_is_refused_and_text_is_not(workbook, saved):
    with pytest.raises(DataError, match="line 2: patient_id is a number that a spreadsheet has rounded"):
        read_labels(workbook([["patient_id", "label"], [110105194912310000.0, 1]]), level="patient")
    with pytest.raises(DataError, match=r"line 2: .* found 1,10105E\+17"):
        read_labels(saved("patient_id;label\n1,10105E+17;1\n"), level="patient")
    assert found(workbook([["patient_id", "label"], ["110105194912310029", 1]]), level="patient") == [
        (2, "110105194912310029", 1)
    ]


@pytest.mark.parametrize(("content", "message"), [(b"\xd0\xcf\x11\xe0", "old Excel"), (b"PK\x03\x04", "not an Excel")])
def test_what_is_no_workbook_is_refused(saved, content, message):
    with pytest.raises(DataError, match=message):
        read_labels(saved(content))


def test_columns_are_mapped_and_others_left_out_by_name(saved):
    table = saved("Patient;Diagnosis;label;Age\np1;fistula;x;40\np2;normal;y;50\n")
    naming = Naming({"patient_id": "Patient", "label": "diagnosis", "site": None}, "ignore")
    labels = read_labels(table, classes=["normal", "fistula"], level="patient", naming=naming)
    assert [(row.name, row.label) for row in labels.rows] == [(("p1",), 1), (("p2",), 0)]
    assert labels.ignored == ("label (as it stands)", "Age")


def test_other_columns_are_refused_with_the_remedy(saved):
    with pytest.raises(DataError, match=r"line 1: has the unknown column 'lable'\..*other_columns=ignore"):
        read_labels(saved("path,lable\na,1\n"))


def test_one_column_in_two_spellings_is_refused(saved):
    with pytest.raises(DataError, match="has the column 'patient_id' twice"):
        read_labels(saved("path,Patient ID,PatientID,label\na,1,1,1\n"))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        pytest.param(
            "patient_id,bmi,BMI\np1,20,90\n", lambda path: read_of_patients(path, ["bmi"], {}), id="covariates"
        ),
        pytest.param("patient,reader,score,Score\np1,R,3,50\n", read_readings, id="readings"),
        pytest.param("slice_key,patient_key,label,Label,reader,repeat,unsure\n", read_reading, id="a label page"),
    ],
)
def test_of_two_columns_of_one_name_none_is_taken_in_any_table(saved, text, read):
    with pytest.raises(DataError, match=r"line 1: has the column '(bmi|score|label)' twice\. Remove one of them"):
        read(saved(text))


@pytest.mark.parametrize(
    ("columns", "key"),
    [({"label": "Diagnosis"}, "columns.label"), ({"path": "file", "label": "file"}, "columns.label")],
)
def test_a_mapped_column_must_be_there_and_one(saved, columns, key):
    with pytest.raises(ConfigError, match=rf"{key}: must be one column of .*Its columns are file, grade"):
        read_labels(saved("file,grade\na,1\n"), naming=Naming(columns))


def test_what_to_do_with_others_is_one_of_two_words():
    with pytest.raises(ConfigError, match="other_columns: must be refuse or ignore"):
        Naming(others="drop")


def test_a_formula_without_its_value_is_refused_and_one_that_left_a_text_empty_is_not(tmp_path, workbook):
    """As a program writes a workbook that no spreadsheet has calculated; and as Excel writes =IF(A2>0,1,"")."""
    path = workbook([["path", "label"], ["a", 1], ["b", "=IF(1>0,1,0)"], ["c", "=1-1"]])
    with pytest.raises(DataError, match=r"has formulas that were never calculated, found 2: B3, B4\. Open it"):
        read_labels(path)
    parts = {}
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    sheet = re.sub(rb"<v ?/>|<v></v>", b"<v>0</v>", parts["xl/worksheets/sheet1.xml"])
    empty = (
        sheet.replace(b'<c r="B4"', b'<c r="B4" t="str"')
        .replace(b"=1-1", b"")
        .replace(b"<v>0</v></c></row></sheetData>", b"<v></v></c></row></sheetData>")
    )
    for number, content in enumerate((sheet, empty)):
        with zipfile.ZipFile(tmp_path / f"{number}.xlsx", "w") as book:
            for name, part in (parts | {"xl/worksheets/sheet1.xml": content}).items():
                book.writestr(name, part)
    assert [row.label for row in read_labels(tmp_path / "0.xlsx").rows] == [1, 0, 0]
    assert [row.label for row in read_labels(tmp_path / "1.xlsx").rows] == [1, 0, None]


@pytest.mark.parametrize(
    ("merged", "failed", "message"),
    [
        ("B2:B3", "B5", r"has cells with an error, such as #N/A, found 1: B5"),
        ("A3:B4", None, r"has cells merged over several lines, found 1: A3:B4"),
        ("C2:D2", None, None),
    ],
    ids=["an error", "merged lines", "merged columns"],
)
def test_cells_that_would_be_taken_for_empty_are_refused(tmp_path, merged, failed, message):
    book = openpyxl.Workbook()
    for row in (["path", "label"], ["a", 1], ["b", 0], ["c", 1], ["d", 0]):
        book.active.append(row)
    book.active.merge_cells(merged)
    if failed:
        book.active[failed] = "#N/A"
    book.save(tmp_path / "table.xlsx")
    if message is None:
        assert len(read_labels(tmp_path / "table.xlsx").rows) == 4
    else:
        with pytest.raises(DataError, match=message):
            read_labels(tmp_path / "table.xlsx")


@pytest.mark.parametrize("content", ["path,label\na,1\nb,0\n".encode("utf-16-le"), b"path,label\na,1\n\0\0\0"])
def test_nul_bytes_are_refused(saved, content):
    with pytest.raises(DataError, match="must be UTF-8 text, found NUL bytes"):
        read_labels(saved(content))


def test_a_no_break_space_in_a_class_is_a_space(saved):
    path = saved("path,label\na,no\u00a0fistula\nb,no fistula\nc,fistula\n")
    assert [row.label for row in read_labels(path, classes=["no fistula", "fistula"]).rows] == [0, 0, 1]
