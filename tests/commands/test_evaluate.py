import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest

from fistula.audit.meeting import meet
from fistula.cohort.manifest import SCHEMA, manifest_fingerprint, read_cohort
from fistula.evidence.aggregate import patient_scores
from fistula.evidence.ranking.area import clustered_auroc
from fistula.predict.outside import score_cohort
from fistula.predict.predictor import of_runs
from fistula.predict.runs.ensemble import load_runs
from fistula.report.external.cohorts import ensemble_rows, external_rows, read_externals
from fistula.report.study import read_study


@pytest.fixture
def own_study(study, tmp_path):
    """A copy of the study, to list external cohorts under."""
    shutil.copytree(study, tmp_path / "study")
    return tmp_path / "study"


def rewrite(folder, target, change=lambda manifest: manifest, **record):
    """A copy of a cohort with another manifest or record."""
    shutil.copytree(folder, target)
    manifest = change(pl.read_parquet(folder / "manifest.parquet"))
    manifest.write_parquet(target / "manifest.parquet")
    kept = json.loads((folder / "ingest.json").read_text()) | record
    kept["fingerprint"] = manifest_fingerprint(manifest.select(list(SCHEMA)))
    (target / "ingest.json").write_text(json.dumps(kept))
    return target


def test_an_external_cohort_is_scored_listed_reported_and_verified(fistula_here, own_study, other, tmp_path):
    code, shown, error = fistula_here("evaluate", f"run={own_study}", f"cohort={other}", "out=copy")
    assert code == 0, error
    listed = own_study / "external" / "hospital"
    assert sorted(path.name for path in listed.iterdir()) == [
        "evaluate.json", "patients.parquet", "predictions.parquet",
    ]  # fmt: skip
    assert (tmp_path / "copy" / "evaluate.json").read_text() == (listed / "evaluate.json").read_text()
    record = json.loads((listed / "evaluate.json").read_text())
    # The ensemble's number by hand: each run's patients by its own rule, then the mean over the runs.
    table = pl.read_parquet(listed / "predictions.parquet")
    cohort = read_cohort(other)
    assert len(table) == 2 * len(cohort.labelled)
    assert set(table["part"]) == {"external"}
    level = record["primary"]
    runs = [rows.sort("slice_key") for rows in table.partition_by("run")]
    arrays = [[rows[name].to_numpy() for name in ("label", "score", "patient_key")] for rows in runs]
    if level == "patient":
        arrays = [[scored[1], scored[2], scored[0]] for scored in (patient_scores(*one) for one in arrays)]
    by_hand = clustered_auroc(arrays[0][0], (arrays[0][1] + arrays[1][1]) / 2, arrays[0][2])
    said = record["numbers"][f"outside / hospital / fistula / {level} / auroc"]
    assert (said["value"], said["low"]) == pytest.approx((by_hand.value, by_hand.low), rel=1e-12)
    assert f"fistula, per {level}: AUROC {by_hand.value:.3f}" in shown
    code, _, error = fistula_here("report", f"study={own_study}", "resamples=50", "maps=none")
    assert code == 0, error
    page = (own_study / "report" / "index.html").read_text()
    assert "External cohorts" in page
    assert "no external cohort was tested" not in page
    assert fistula_here("report", f"study={own_study}", "verify=true")[0] == 0
    # One score changed is found.
    table.with_columns(score=pl.col("score") * 0.99).write_parquet(listed / "predictions.parquet")
    code, _, error = fistula_here("report", f"study={own_study}", "verify=true")
    assert code == 2
    assert "predictions.parquet changed" in error


def test_scores_are_those_that_predict_gives(own_study, other, made, monkeypatch):
    monkeypatch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(made / "key"))
    predictor = of_runs(load_runs(own_study))
    cohort = read_cohort(other)
    found = score_cohort(predictor, cohort, sorted(set(cohort.labelled["patient_key"])))
    predicted = predictor.predict(other.parent / "phantom").slices.select("slice_key", predicted="score")
    mean = found.predictions.group_by("slice_key").agg(pl.col("score").mean())
    both = mean.join(predicted, on="slice_key")
    assert len(both) == len(cohort.labelled)
    np.testing.assert_allclose(both["score"], both["predicted"], atol=1e-6)


def test_decisions_of_the_ensemble_are_those_that_predict_gives(fistula_here, own_study, other, made, monkeypatch):
    assert fistula_here("evaluate", f"run={own_study}", f"cohort={other}")[0] == 0
    study = read_study(own_study)
    (external,) = read_externals(study)
    long = external_rows(study, external, "fistula", level="slice", scaling="platt")
    called = ensemble_rows(long).select("unit", "called")
    monkeypatch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(made / "key"))
    predicted = of_runs(load_runs(own_study)).predict(other.parent / "phantom").slices
    both = called.join(predicted.select("decision", unit="slice_key"), on="unit")
    assert len(both) == len(called)
    assert (both["called"] == (both["decision"] == "fistula").cast(pl.Int64)).all()


def test_a_cohort_that_holds_the_studys_patients_is_refused_or_they_are_left_out(fistula_here, own_study, other, made):
    code, _, error = fistula_here("evaluate", f"run={own_study}", f"cohort={made / 'cohort'}")
    assert code == 3
    assert "must share no patient, and no copy of a slice, with the study's cohort, found 16 patients" in error
    code, _, error = fistula_here("evaluate", f"run={own_study}", f"cohort={made / 'cohort'}", "name=.hidden")
    assert code == 2
    assert "name: must be a name, not a path, and must not begin with a dot, found .hidden" in error
    assert not (own_study / "external").exists()
    code, _, error = fistula_here("evaluate", f"run={own_study}", f"cohort={made / 'cohort'}", "shared=exclude")
    assert code == 2
    assert "must have a labeled patient who is not in the study's cohort" in error


def test_copies_under_other_names_are_found(made, other, tmp_path):
    own = read_cohort(made / "cohort")
    hidden = [pl.lit("x").alias("site")] + [
        pl.format("n{}", column).alias(column)
        for column in ("patient_key", "study_key", "series_key", "slice_key", "source_hash", "pixel_hash")
    ]
    renamed = rewrite(made / "cohort", tmp_path / "renamed", lambda manifest: manifest.with_columns(hidden))
    found = meet(own, read_cohort(renamed), distance=72, correlation=0.92)
    assert found.checks["patient"]["shared"] == found.checks["pixels"]["shared"] == 0
    assert found.checks["near_duplicate"]["shared"] > 0.8 * len(own.manifest)
    assert meet(own, read_cohort(other), distance=72, correlation=0.92).patients == {}


def test_a_blank_slice_makes_no_patient_one_of_the_studys(made, other, tmp_path):
    own, theirs = (shutil.copytree(folder, tmp_path / folder.name) for folder in (made / "cohort", other))
    for folder in (own, theirs):
        pixels = np.load(folder / "pixels.npy")
        pixels[3] = 0
        np.save(folder / "pixels.npy", pixels)
        manifest = pl.read_parquet(folder / "manifest.parquet")
        hashes = manifest["pixel_hash"].to_list()
        hashes[3] = hashlib.sha256(pixels[3]).hexdigest()
        manifest.with_columns(pl.Series("pixel_hash", hashes)).write_parquet(folder / "manifest.parquet")
        record = json.loads((folder / "ingest.json").read_text())
        record["fingerprint"] = manifest_fingerprint(pl.read_parquet(folder / "manifest.parquet"))
        (folder / "ingest.json").write_text(json.dumps(record))
    found = meet(read_cohort(own), read_cohort(theirs), distance=72, correlation=0.92)
    assert (found.patients, found.repeated) == ({}, 0)


def test_copies_are_refused_or_left_out_and_another_population_is_said(fistula_here, own_study, other, made, tmp_path):
    # Two of the study's patients under other names, among those of the hospital, who are older, men, and of one class.
    own, theirs = pl.read_parquet(made / "cohort" / "manifest.parquet"), pl.read_parquet(other / "manifest.parquet")
    lent = own["patient_key"].unique().sort().head(2)
    names = ("patient_key", "study_key", "series_key", "slice_key", "source_hash")
    copies = own.filter(pl.col("patient_key").is_in(lent.implode())).with_columns(
        [pl.format("n{}", name).alias(name) for name in names]
    )
    pixels = [np.load(folder / "pixels.npy") for folder in (other, made / "cohort")]
    mixed = np.concatenate([pixels[0], pixels[1][own["patient_key"].is_in(lent.implode()).to_numpy()]])
    healthy = theirs.group_by("patient_key").agg(pl.col("label").max()).filter(pl.col("label") == 0)["patient_key"]
    is_kept = theirs["patient_key"].is_in([*theirs["patient_key"].unique().sort().head(1), *healthy])
    older = {"age": pl.lit(93.0), "sex": pl.lit("M"), "scanner": pl.lit("Vida"), "manufacturer": pl.lit("SIEMENS")}
    strange = pl.concat([theirs.filter(is_kept).with_columns(**older), copies], how="diagonal_relaxed")
    folder = rewrite(other, tmp_path / "mixed", lambda _: strange)
    np.save(folder / "pixels.npy", mixed[[*np.flatnonzero(is_kept), *range(len(theirs), len(mixed))]])
    code, _, error = fistula_here("evaluate", f"run={own_study}", f"cohort={folder}")
    assert code == 3
    assert "found 2 patients shared, by near duplicate, pixels; the first: n" in error
    code, shown, error = fistula_here("evaluate", f"run={own_study}", f"cohort={folder}", "shared=exclude")
    assert code == 0, error
    number = theirs.filter(is_kept)["patient_key"].n_unique()
    assert f"on {number} patients of mixed" in shown
    assert "noted: excluded, since shared with the study's cohort: 2 patients" in shown
    assert "noted: population differs: mean age 93 years, not" in shown
    assert f"{number} of {number} patients from scanners that are not in the study: Siemens Vida" in shown
    assert "population differs: prevalence" in shown
    assert "population differs: 0% women, not" in shown


@pytest.mark.parametrize("size", [100, 3000, 9000], ids=["the first file", "the patients", "the record"])
def test_a_full_disk_is_one_line_and_lists_nothing(fistula_here, with_a_full_disk, own_study, other, size):
    before = {path: path.stat().st_mtime_ns for path in own_study.rglob("*")}
    code, _, error = with_a_full_disk(size, fistula_here, "evaluate", f"run={own_study}", f"cohort={other}")
    assert (code, error.count("\n")) == (2, 1), error
    assert "cannot be written (File too large). Free some space" in error
    after = {path: path.stat().st_mtime_ns for path in own_study.rglob("*")}
    assert after.keys() - before.keys() <= {own_study / "external"}
    assert all(after[path] == when for path, when in before.items() if path.is_file())


@pytest.mark.slow
def test_an_evaluation_that_is_killed_lists_nothing_and_is_made_anew(fistula_here, own_study, other):
    report = ("report", f"study={own_study}", "resamples=50", "maps=none")
    assert fistula_here(*report)[0] == 0
    command = [sys.executable, "-m", "fistula.cli", "evaluate", f"run={own_study}", f"cohort={other}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    folder = own_study / "external"
    while not list(folder.glob(".hospital.*.partial/predictions.parquet")):
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [path.name[0] for path in folder.iterdir()] == ["."]
    assert fistula_here("report", f"study={own_study}", "verify=true")[0] == 0
    assert read_externals(read_study(own_study)) == []
    assert fistula_here("evaluate", f"run={own_study}", f"cohort={other}")[0] == 0
    (external,) = read_externals(read_study(own_study))
    assert external.name == "hospital"


@pytest.mark.parametrize(
    ("record", "change", "message"),
    [
        ({"size": 32}, None, "must be read as the study's cohort: size, found 32"),
        ({"spacing_mm": 0.5}, None, "must be read as the study's cohort: spacing_mm, found 0.5"),
        (
            {"size": 32, "spacing_mm": None},
            None,
            "size, spacing_mm, found 32, null. Ingest it as the study's cohort was, with size=64 spacing_mm=1",
        ),
        (
            {"intensity": {"_target_": "fistula.source.intensity.FixedWindow", "center": 50.0, "width": 400.0}},
            None,
            "must be read as the study's cohort: intensity, found window. Ingest it as the study's cohort was, with "
            "intensity=percentile intensity.low=0.5 intensity.high=99.5\n",
        ),
        (
            {"source_kind": "volumes"},
            None,
            "must be of the study's kind of files, dicom, found volumes. Ingest",
        ),
        ({"classes": ["healthy", "fistula"]}, None, "must have the classes of the study, in their order"),
        ({}, pl.lit("coronal").alias("orientation"), "must show what the networks were trained on: orientation axial"),
    ],
)
def test_a_cohort_that_was_read_otherwise_is_refused(fistula_here, own_study, other, tmp_path, record, change, message):
    changed = rewrite(other, tmp_path / "changed", lambda m: m if change is None else m.with_columns(change), **record)
    code, _, error = fistula_here("evaluate", f"run={own_study}", f"cohort={changed}")
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (own_study / "external").exists()


def test_one_class_alone_and_one_patient_have_reasons(fistula_here, own_study, other, tmp_path):
    first = read_cohort(other).labelled.filter(pl.col("label") == 0)["patient_key"][0]
    only = pl.when(pl.col("patient_key") == first).then(0).alias("label")
    one = rewrite(other, tmp_path / "one", lambda manifest: manifest.with_columns(only))
    code, shown, error = fistula_here("evaluate", f"run={own_study}", f"cohort={one}")
    assert code == 0, error
    assert "AUROC n/a: no positives" in shown
    assert fistula_here("report", f"study={own_study}", "resamples=50", "maps=none")[0] == 0
    code, _, error = fistula_here("evaluate", f"run={own_study}", f"cohort={one}")
    assert code == 2
    assert "already exists" in error
