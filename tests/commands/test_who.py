import polars as pl
import pydicom
import pytest
from PIL import Image

from fistula.cohort.manifest import read_cohort


@pytest.fixture
def cohort(dicom_tree, tmp_path, fistula_here):
    source, table = dicom_tree
    code, _, error = fistula_here(
        "ingest", f"source={source}", f"labels={table}", "out=cohort", "size=32", "spacing_mm=4", "keep=all"
    )
    assert code == 0, error
    return read_cohort(tmp_path / "cohort").manifest


def test_a_pseudonym_leads_back_to_the_patient_and_every_image(cohort, dicom_tree, fistula_here, tmp_path):
    patient = cohort["patient_key"][0]
    code, shown, error = fistula_here("who", f"key={patient}", f"source={dicom_tree[0]}", "out=who.csv")
    assert code == 0, error
    assert "This identifies persons" in shown
    found = pl.read_csv(tmp_path / "who.csv")
    assert found["patient"].n_unique() == 1
    own = cohort.filter(pl.col("patient_key") == patient)
    assert set(own["slice_key"]) <= set(found["pseudonym of the slice"])
    numbers = dict(found.select("pseudonym of the slice", "image number").iter_rows())
    assert [numbers[key] for key in own["slice_key"]] == own["image_number"].to_list()


@pytest.mark.parametrize("rule", ["compared", "study", "folder:1"])
def test_a_slice_without_ids_of_its_own_leads_back_whoever_names_its_patient(dicom_tree, fistula_here, tmp_path, rule):
    source, _ = dicom_tree
    for number, path in enumerate(sorted(source.rglob("*.dcm"))):
        image = pydicom.dcmread(path)
        image.SOPInstanceUID, image.PatientID = "", image.PatientID if number % 3 else ""
        image.save_as(path)
    (tmp_path / "some.csv").write_text("path,label\n" + "".join(f"P{one}/0.dcm,{one % 2}\n" for one in range(4)))
    options = ("labels=some.csv", "out=cohort", "size=32", "spacing_mm=4", "keep=all", f"patient={rule}")
    code, _, error = fistula_here("ingest", f"source={source}", *options)
    assert code == 0, error
    own = read_cohort(tmp_path / "cohort").manifest.row(0, named=True)
    for key, slices in ((own["patient_key"], 3), (own["slice_key"], 1)):
        (tmp_path / "who.csv").unlink(missing_ok=True)
        code, _, error = fistula_here("who", f"key={key}", f"source={source}", "out=who.csv", f"patient={rule}")
        assert code == 0, error
        assert len(pl.read_csv(tmp_path / "who.csv")) == slices


def test_the_first_digits_of_a_slice_will_do_and_nothing_is_written_unasked(cohort, dicom_tree, fistula_here, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    key = cohort["slice_key"][3]
    code, shown, _ = fistula_here("who", f"key={key[:10]}", f"source={dicom_tree[0]}")
    assert code == 0
    assert key in shown
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("abc", "key: must be a pseudonym"),
        ("not-a-key", "key: must be a pseudonym"),
        ("0123456789", "is not the pseudonym of a patient, study, series, or slice"),
    ],
)
def test_what_is_no_pseudonym_is_one_line(cohort, dicom_tree, fistula_here, key, message):
    code, _, error = fistula_here("who", f"key='{key}'", f"source={dicom_tree[0]}")
    assert code == 2
    assert message in error
    assert error.count("\n") == 1


def test_another_key_leads_nowhere(cohort, dicom_tree, fistula_here, monkeypatch, tmp_path):
    monkeypatch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(tmp_path / "none"))
    code, _, error = fistula_here("who", f"key={cohort['slice_key'][0]}", f"source={dicom_tree[0]}")
    assert code == 2
    assert "without it, no pseudonym can be traced back" in error


def test_a_patient_whom_a_table_named_is_sought_by_a_slice(tmp_path, fistula_here):
    (tmp_path / "in").mkdir()
    for label, name in enumerate("ab"):
        Image.new("L", (8, 8), label).save(tmp_path / "in" / f"{name}.png")
    (tmp_path / "labels.csv").write_text("path,patient_id,label\na.png,P1,0\nb.png,P2,1\n")
    code, _, error = fistula_here("ingest", "source=in", "labels=labels.csv", "out=cohort", "workers.count=1")
    assert code == 0, error
    manifest = pl.read_parquet(tmp_path / "cohort" / "manifest.parquet")
    code, _, error = fistula_here("who", f"key='{manifest['patient_key'][0]}'", "source=in", "workers.count=1")
    assert (code, "or a slice of a patient whom a table named" in error) == (2, True)
    code, shown, error = fistula_here("who", f"key='{manifest['slice_key'][0]}'", "source=in", "workers.count=1")
    assert (code, ".png" in shown) == (0, True), error
