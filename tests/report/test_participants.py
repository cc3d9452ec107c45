from dataclasses import replace

import polars as pl

from fistula.report.contents import Settings, compute
from fistula.report.sections.participants import AGE, SPAN, flow, patient_flow, table_one
from fistula.report.study import read_study

from .conftest import write_study


def test_table_one_counts_patients_and_slices_by_class_and_part(study_folder):
    table = table_one(read_study(study_folder))
    assert table.columns == [
        "all",
        "patients: normal",
        "patients: fistula",
        "test fold 0",
        "test fold 1",
        "test fold 2",
    ]
    rows = dict(table.rows)
    assert rows["patients"] == ["30", "15", "15", "10", "10", "10"]
    assert rows["slices"] == ["90", "45", "45", "30", "30", "30"]
    assert rows["slices: fistula"] == ["45", "0", "45", "15", "15", "15"]
    assert rows["slices per patient, median (range)"][0] == "3 (3 to 3)"
    assert rows["sex: female"][0] == "10 (33%)"
    assert rows["sex: male"][0] == "20 (67%)"
    # Ages are 30 to 59, each once: mean 44.5, sample SD sqrt(30 * 31 / 12).
    assert rows["age, years, mean ± SD (range)"][0] == "44.5 ± 8.8 (30 to 59)"
    assert rows["site: A"] == ["30 (100%)", "15 (100%)", "15 (100%)", "10 (100%)", "10 (100%)", "10 (100%)"]
    assert rows["scanner"] == ["not known"] * 6
    assert not [name for name in rows if name.startswith("field strength")]


def test_table_one_gives_each_patient_one_scanner_and_field_strength(study_folder):
    study = read_study(study_folder)
    number = pl.col("patient_key").str.slice(7).cast(pl.Int64)
    scanners = study.cohort.manifest.with_columns(
        manufacturer=pl.lit("siemens"),
        scanner=pl.when((number < 3) & (pl.col("position_mm") > 0)).then(pl.lit("Skyra")).otherwise(pl.lit("Vida")),
        field_strength=pl.when(number < 6).then(1.494).when(number < 20).then(2.89).when(number < 21).then(0.55),
    )
    object.__setattr__(study.cohort, "manifest", scanners)
    rows = {name: cells[0] for name, cells in table_one(study).rows if name.startswith(("scanner", "field"))}
    assert rows == {
        "scanner: Siemens Vida": "27 (90%)",
        "scanner: several": "3 (10%)",
        "field strength: 0.55 T": "1 (3%)",
        "field strength: 1.5 T": "6 (20%)",
        "field strength: 3 T": "14 (47%)",
        "field strength: not known": "9 (30%)",
    }


def test_what_is_not_known_says_so(study_folder):
    for modality in ("CT", "MR"):  # of which one has a field strength
        study = read_study(study_folder)
        unknown = study.cohort.manifest.with_columns(
            age=pl.lit(None, pl.Float64), sex=pl.lit(None, pl.String), field_strength=pl.lit(None, pl.Float64),
            modality=pl.lit(modality),
        )  # fmt: skip
        object.__setattr__(study.cohort, "manifest", unknown)
        rows = dict(table_one(study).rows)
        assert ("field strength" in rows) == (modality == "MR")
    assert rows["age, years, mean ± SD (range)"][0] == "not known"
    assert rows["sex"][0] == "not known"
    assert "sex: not known" not in rows


def test_the_flow_is_that_of_the_cohorts_record(study_folder):
    study = read_study(study_folder)
    assert [(step.name, step.count, step.excluded) for step in flow(study)] == [
        ("found", 100, {}),
        ("kept", 90, {"localizer <b>": 10}),
    ]
    del study.cohort.record["flow"]
    assert flow(study) == []


def test_the_flow_of_patients_ends_in_the_two_by_two_table(study_folder):
    contents = compute(read_study(study_folder), Settings(resamples=20))
    row = contents.ranked("fistula")[0]
    everyone, tested, called, spared = patient_flow(contents.study, row)
    assert (everyone.count, everyone.lines) == (30, ["15 normal, 15 fistula"])
    assert (tested.count, tested.lines) == (30, ["15 normal, 15 fistula"])
    hits = row.rows.filter((pl.col("label") == 1) & (pl.col("called") == 1)).height
    right = row.rows.filter((pl.col("label") == 0) & (pl.col("called") == 0)).height
    assert called.lines == [f"{hits} fistula, {15 - right} normal by the reference standard"]
    assert spared.lines == [f"{15 - hits} fistula, {right} normal by the reference standard"]
    assert (called.count, spared.count) == (hits + 15 - right, 15 - hits + right)


def test_a_class_that_no_patient_has_has_no_median_of_slices_and_no_age(study_folder):
    study = read_study(study_folder)
    positive = study.cohort.manifest.with_columns(label=pl.lit(1, pl.Int64))
    table = table_one(replace(study, cohort=replace(study.cohort, manifest=positive)))
    cells = dict(table.rows)
    empty = table.columns.index("patients: normal")
    assert cells["patients"][empty] == "0"
    assert [cells[name][empty] for name in (SPAN, AGE)] == ["n/a", "n/a"]


def test_seeds_add_classifications_and_no_patients(tmp_path):
    contents = compute(read_study(write_study(tmp_path / "study", seeds=(0, 1))), Settings(resamples=20))
    row = contents.ranked("fistula")[0]
    boxes = patient_flow(contents.study, row)
    assert [box.says for box in boxes[2:]] == [
        f"classifications as {name} (30 patients, 2 seeds each)" for name in ("fistula", "normal")
    ]
    assert sum(box.count for box in boxes[2:]) == 60
    assert contents.answer[1].count("of 30 (15 patients, 2 seeds each) as") == 2
