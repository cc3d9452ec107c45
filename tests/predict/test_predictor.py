import dataclasses
import shutil
import zipfile

import numpy as np
import polars as pl
import pydicom
import pytest

import fistula
from fistula.errors import ConfigError, DataError
from fistula.predict.runs.familiar import cohort_patients, looks_of, recognised
from fistula.predict.source import reading
from fistula.source.patients import PatientRule
from fistula.source.workers import Workers

from .conftest import head, write_series


def test_the_score_of_an_ingested_slice_is_that_of_training(run_folders, phantom):
    for folder in run_folders:
        predictor = fistula.load(folder)
        new = predictor.predict(phantom).slices.select("slice_key", pl.col("score").alias("new"))
        stored = predictor.runs[0].predictions.join(new, on="slice_key")
        assert len(stored) == len(predictor.runs[0].predictions)
        np.testing.assert_allclose(stored["new"], stored["score"], rtol=0, atol=1e-6)


def test_the_pixels_are_those_of_ingest(study, phantom):
    from fistula.predict.source import reading
    from fistula.source.workers import Workers

    predictor = fistula.load(study)
    cohort = predictor.runs[0].cohort
    with reading(phantom, predictor.reader, Workers(1)) as slices:
        order = {key: row for row, key in enumerate(cohort.manifest["slice_key"])}
        rows = [order[key] for key in slices.table["slice_key"]]
        np.testing.assert_array_equal(slices.pixels, cohort.pixels[rows])
        assert len(rows) == len(cohort.manifest)


def test_a_study_is_the_mean_of_its_runs_with_their_range(study, run_folders, one_patient):
    together = fistula.load(study).predict(one_patient)
    apart = np.stack([fistula.load(folder).predict(one_patient).slices["score"] for folder in run_folders])
    np.testing.assert_allclose(together.slices["score"], apart.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(together.slices["score_low"], apart.min(axis=0), atol=1e-12)
    np.testing.assert_allclose(together.slices["score_high"], apart.max(axis=0), atol=1e-12)
    assert fistula.load(run_folders[0]).predict(one_patient).slices["score_low"].null_count() == len(apart[0])


def test_the_decision_is_that_of_the_operating_point(run_folders, phantom):
    predictor = fistula.load(run_folders[0])
    found = predictor.predict(phantom)
    run = predictor.runs[0]
    called = found.slices["score"] >= run.threshold
    assert (found.slices["decision"] == "fistula").to_list() == called.to_list()
    assert called.any()
    assert not called.all()
    assert (found.patients["decision"] == "fistula").to_list() == (
        found.patients["score"] >= run.patient_threshold
    ).to_list()


def test_a_patient_of_the_cohort_is_recognised_by_its_pseudonym(study, run_folders, phantom, monkeypatch, tmp_path):
    predictor = fistula.load(run_folders[0])
    patients = predictor.predict(phantom).patients
    stored = predictor.runs[0].predictions.select("patient_key", "part").unique()
    part = dict(stored.iter_rows())
    names = {"val": "validated on", "test": "tested on", None: "trained on"}
    for key, known in patients.select("patient_key", "known").iter_rows():
        assert known == names[part.get(key)]
    assert set(fistula.load(study).predict(phantom).patients["known"]) <= {"trained on", "validated on"}
    monkeypatch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(tmp_path / "another"))
    found = fistula.load(run_folders[0]).predict(phantom)
    assert set(found.patients["known"]) == {""}
    assert any("another pseudonym key" in note for note in found.summary["notes"])


@pytest.mark.parametrize("rule", ["column", "joined", "folder:1"])
def test_a_patient_is_recognised_whichever_rule_named_the_cohorts(study, run_folders, phantom, one_patient, rule):
    predictor = fistula.load(run_folders[0])
    (run,) = predictor.runs
    # As if a table, or the folders, had named the patients: in other words than PatientID.
    names = {key: f"other {key}" for key in run.cohort.manifest["patient_key"].unique()}
    rename = pl.col("patient_key").replace_strict(names)
    cohort = dataclasses.replace(run.cohort, manifest=run.cohort.manifest.with_columns(patient_key=rename))
    known = {names[key]: part for key, part in predictor.known.items()}
    there = {key: predictor.known[key] for key in predictor.predict(one_patient).patients["patient_key"]}
    named = cohort_patients(cohort)
    reader = dataclasses.replace(predictor.reader, patient=PatientRule(rule))
    with reading(one_patient, reader, Workers(1)) as slices:
        assert recognised(slices.table, named, known) == there
        told = ["patients are identified by PatientID, since these paths do not fit patient=folder:1"]
        seen = [note for note in slices.notes if not note.startswith("windows differ between slices")]
        assert seen == (told if rule == "folder:1" else [])


def test_a_follow_up_is_of_a_known_patient_and_a_stranger_is_of_none(study, run_folders, one_patient, tmp_path):
    predictor = fistula.load(run_folders[0])
    for place, path in enumerate(sorted(one_patient.glob("*.dcm"))):
        image = pydicom.dcmread(path)
        image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID = "2.25.61", "2.25.62", f"2.25.63{place}"
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        for name, patient in (("later", image.PatientID), ("stranger", "A STRANGER")):
            image.PatientID = patient
            (tmp_path / name).mkdir(exist_ok=True)
            image.save_as(tmp_path / name / path.name)
    assert predictor.predict(tmp_path / "later").patients["known"][0] in ("trained on", "validated on", "tested on")
    assert predictor.predict(tmp_path / "stranger").patients["known"].to_list() == [""]


def test_people_under_one_id_are_not_scored_as_one(study, phantom, run_folders, tmp_path):
    predictor = fistula.load(run_folders[0])
    folders = sorted({path.parent for path in phantom.rglob("*.dcm")})[:2]
    for number, folder in enumerate(folders):
        for path in folder.glob("*.dcm"):
            image = pydicom.dcmread(path)
            image.PatientID, image.PatientBirthDate = "ANONYMOUS", ""
            image.save_as(tmp_path / f"{number}{path.name}")
    found = predictor.predict(tmp_path)
    assert len(found.patients) == 2
    said = "1 PatientID is probably not one person's: each of its studies is scored as a patient"
    assert said in found.summary["notes"]
    # Slices and studies of the cohort are known all the same.
    assert "" not in found.patients["known"].to_list()


def test_a_file_and_a_zip_archive_are_read_as_a_folder_is(study, one_patient, tmp_path):
    predictor = fistula.load(study)
    folder = predictor.predict(one_patient).slices
    with zipfile.ZipFile(tmp_path / "patient.zip", "w") as archive:
        for path in one_patient.glob("*.dcm"):
            archive.write(path, path.name)
    archived = predictor.predict(tmp_path / "patient.zip").slices
    assert archived.select("slice_key", "score").equals(folder.select("slice_key", "score"))
    single = predictor.predict(next(one_patient.glob("*.dcm"))).slices
    assert len(single) == 1


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_two_files_of_one_name_is_refused(study, one_patient, tmp_path):
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        for file in sorted(one_patient.glob("*.dcm"))[:2]:
            archive.write(file, "a.dcm")
    with pytest.raises(DataError, match="an archive with several files of one name"):
        fistula.load(study).predict(tmp_path / "twice.zip")


def test_what_cannot_be_scored_is_listed_with_its_reason(study, one_patient, tmp_path, write_dicom):
    source = tmp_path / "mixed"
    source.mkdir()
    for path in one_patient.glob("*.dcm"):
        (source / path.name).write_bytes(path.read_bytes())
    write_dicom(source / "ct.dcm", Modality="CT", SOPInstanceUID="2.25.5")
    (source / "torn.dcm").write_bytes((next(one_patient.glob("*.dcm"))).read_bytes()[:3000])
    found = fistula.load(study).predict(source)
    reasons = dict(found.left_out.select("instance_uid", "reason").iter_rows())
    assert reasons["2.25.5"] == "modality CT"
    assert len(found.left_out) == 2
    # What another rule leaves out is no loss; what could not be read may have been half of a series.
    unread = [note for note in found.summary["notes"] if "unreadable" in note]
    assert unread == ["1 image was unreadable and not scored; left_out.csv gives the reasons"]
    assert len(found.slices) == len(list(one_patient.glob("*.dcm")))


def test_a_slice_in_other_units_is_unreadable(study, one_patient, tmp_path):
    files = sorted(one_patient.glob("*.dcm"))
    for file in files:
        image = pydicom.dcmread(file)
        image.RescaleSlope, image.RescaleIntercept = 2, 0
        if file == files[0]:
            del image.RescaleSlope, image.RescaleIntercept
        image.save_as(tmp_path / file.name)
    found = fistula.load(study).predict(tmp_path)
    assert found.left_out["reason"].to_list() == ["without the rescale slope and intercept that its series has"]
    assert "1 image was unreadable and not scored; left_out.csv gives the reasons" in found.summary["notes"]


def test_one_picture_under_two_patients_is_scored_for_both(study, one_patient, tmp_path):
    shutil.copytree(one_patient, tmp_path / "source")
    file = min((tmp_path / "source").rglob("*.dcm"))
    image = pydicom.dcmread(file)
    shutil.copy(file, tmp_path / "source" / "again.dcm")
    image.PatientID = "another"
    image.save_as(tmp_path / "source" / "another.dcm")
    whole, found = (fistula.load(study).predict(folder) for folder in (one_patient, tmp_path / "source"))
    assert sorted(found.slices["patient_key"].value_counts()["count"]) == [1, len(whole.slices)]


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"Modality": "CT"}, "modality CT"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M_SE", "M", "SE"], "ScanningSequence": "SE"}, "component magnitude"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"]}, "component phase"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "orientation sagittal"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "orientation not stated"),
    ],
    ids=["CT", "T2 spin echo", "phase map", "sagittal", "no plane"],
)
def test_another_kind_of_image_is_refused(study, tmp_path, attributes, reason):
    source = write_series(tmp_path / "other", head(), **attributes)
    told = rf"no image passes the keep rules, found {reason} \(4\). They are those of the run's cohort"
    with pytest.raises(DataError, match=told):
        fistula.load(study).predict(source)


def test_a_brain_that_calls_itself_a_water_image_is_marked_and_not_answered(study, tmp_path):
    found = fistula.load(study).predict(write_series(tmp_path / "brain", head()))
    assert found.patients["answer"].to_list() == ["abstain"]
    assert "from the cohort's" in found.series["marks"][0]


def test_the_cohorts_own_patients_are_not_marked(study, phantom):
    marks = fistula.load(study).predict(phantom).series["marks"]
    assert (marks == "").mean() >= 0.9


def test_odd_headers_are_said(study):
    predictor = fistula.load(study)
    looks, cohort = looks_of(predictor.runs[0].cohort), predictor.runs[0].cohort
    rows = cohort.manifest.with_row_index("row").filter(pl.col("series_key") == cohort.manifest["series_key"][0])
    facts = rows.with_columns(spacing_row=pl.col("pixel_spacing_mm"))
    pixels = np.asarray(cohort.pixels[rows["row"].to_list()])
    assert looks.oddities(facts, pixels) == []
    odd = facts.with_columns(modality=pl.lit("CT"), component=pl.lit("phase"), spacing_row=pl.lit(5.0))
    assert looks.oddities(odd, pixels) == ["component phase", "modality CT", "pixel spacing 5 mm"]
    assert looks.oddities(odd.with_columns(facts["modality"], facts["component"], spacing_row=None), pixels) == [
        "pixel spacing not stated"
    ]
    assert "gray levels" in looks.oddities(facts, 255 - pixels)[0]


def test_an_error_rate_that_cannot_be_is_refused(study):
    with pytest.raises(ConfigError, match="error: must lie between 0 and 1, found 1"):
        fistula.load(study, error=1.0)


def test_few_known_patients_make_every_answer_an_abstention_that_says_why(study, one_patient):
    found = fistula.load(study, error=0.01).predict(one_patient)
    assert found.patients["answer"].to_list() == ["abstain"]
    assert found.patients["possible"].to_list() == ["normal|fistula"]
    assert any("too few known patients" in note for note in found.summary["notes"])


def test_a_cohort_that_does_not_say_how_it_was_read_is_refused(copied_run):
    record = copied_run.parent / "cohort" / "ingest.json"
    record.write_text(record.read_text().replace('"intensity"', '"tone"'))
    with pytest.raises(DataError, match=r"ingest.json: does not state how its images were read: it lacks intensity"):
        fistula.load(copied_run)


def test_what_the_package_lacks_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'fistula' has no attribute 'sload'"):
        fistula.sload  # noqa: B018
