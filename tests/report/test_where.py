import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from fistula.errors import DataError
from fistula.report.contents import Settings
from fistula.report.external.cohorts import External
from fistula.report.page import write_report
from fistula.report.places.marks import marks_inside
from fistula.report.places.numbers import where, where_outside
from fistula.report.reading_room.slices import reading_data
from fistula.report.record import verify
from fistula.report.results import results
from fistula.report.study import read_study

from .conftest import write_study

TRUTH = (7.5, 23.5)  # of the opening on every positive slice
CANAL = (15.5, 15.5)


def write_places(folder, *, off=(0.0, 0.0), random=None, mm=1.0, canal=True, learning="transfer", none=False):
    """Write `places.parquet` of a study's runs: each point `off` from the true one, or drawn at random."""
    manifest = pl.read_parquet(folder / "cohort" / "manifest.parquet")
    for run in sorted(folder.glob(f"resnet18-{learning}-*")):
        scored = pl.read_parquet(run / "predictions.parquet").select(
            "slice_key", "patient_key", "fold", "part", "label"
        )
        rows = []
        for row in scored.iter_rows(named=True):
            positive = row.pop("label") == 1
            point = random.uniform(0, 31, 2) if random else np.add(TRUTH, off)
            own = row | {"copy": 0, "kind": "opening", "peak": 0.9 if positive else 0.2, "mm_per_pixel": mm}
            truth = TRUTH if positive else (None, None)
            place = (None, None) if none else tuple(map(float, point))
            own |= dict(zip(("row", "col"), place, strict=True)) | dict(
                zip(("row_true", "col_true"), truth, strict=True)
            )
            rows.append(own)
            if canal:
                at = dict(zip(("row", "col", "row_true", "col_true"), (*CANAL, *CANAL), strict=True))
                rows.append(own | at | {"kind": "canal"})
        pl.DataFrame(rows, schema_overrides={"row": pl.Float64, "col": pl.Float64}).write_parquet(
            run / "places.parquet"
        )
    assert len(manifest)
    return folder


@pytest.fixture
def folder(tmp_path):
    study = write_study(tmp_path / "study", slices=5)
    table = pl.read_parquet(study / "cohort" / "manifest.parquet")
    assert table["orientation"].unique().to_list() == ["axial"]
    return study


def judged(folder):
    return where(read_study(folder), resamples=50)


def test_a_study_without_places_has_no_such_section(folder):
    assert judged(folder) == ([], [])
    page = write_report(read_study(folder), Settings(resamples=20))
    assert 'id="where"' not in page.read_text()


def test_points_moved_by_a_known_offset_are_found_so(folder):
    ((found,), pairs) = judged(write_places(folder, off=(3.0, -4.0), mm=0.5))
    assert (found.unit, pairs) == ("mm", [])
    assert found.slices["distance"].unique().to_list() == [2.5]
    assert found.estimates["median"].value == found.estimates["mean"].value == 2.5
    assert found.estimates["near"].value == 1.0
    ((found,), _) = judged(write_places(folder, off=(3.0, -4.0), mm=1.5))
    assert found.estimates["median"].value == 7.5
    assert (found.estimates["near"].value, found.estimates["far"].value) == (0.0, 1.0)
    assert found.estimates["first"].value == found.estimates["lroc"].value == 0.0
    assert {one.value for one in found.froc.at.values()} == {0.0}


def test_right_points_on_the_right_slices_have_the_area_of_the_scores(folder):
    ((found,), _) = judged(write_places(folder))
    study = read_study(folder)
    rows = results(study, resamples=20, scaling="platt", prevalence=None)
    slices = next(row for row in rows if row.level == "slice" and row.configuration.name == found.configuration.name)
    assert found.estimates["lroc"].value == pytest.approx(slices.estimates["auroc"].value)
    assert found.estimates["slice"].value == 1.0  # every slice of a positive patient is positive here
    assert found.froc.at[0.5].value == 1.0
    assert found.clock.within_one.value == 1.0
    assert found.clock.mean == pytest.approx(0.0)


def test_a_place_turned_about_the_canal_is_off_by_its_hours(folder):
    # From (-8, 8) to (8, 8) about the canal: from half past one to half past four.
    ((found,), _) = judged(write_places(folder, off=(16.0, 0.0)))
    assert found.slices["hours"].unique().to_list() == pytest.approx([3.0])
    assert found.clock.within_one.value == 0.0
    assert found.clock.mean_absolute.value == pytest.approx(3.0)


def test_points_at_random_do_no_better_than_chance(folder):
    ((found,), _) = judged(write_places(folder, random=np.random.default_rng(0)))
    assert found.estimates["near"].value < 0.25  # a circle of 5 pixels is 8 % of the image
    assert found.estimates["fixed"].value == 1.0  # all openings are at one place


def test_what_cannot_be_judged_is_na_with_its_reason(folder):
    ((found,), _) = judged(write_places(folder, none=True, canal=False, mm=None))
    assert (found.unit, found.clock) == ("% of the side", None)
    assert found.estimates["near"].value == 0.0
    assert "no location was given for half" in found.estimates["median"].reason
    for run in folder.glob("resnet18-transfer-*"):
        table = pl.read_parquet(run / "places.parquet")
        table.with_columns(row_true=pl.lit(None, pl.Float64), col_true=pl.lit(None, pl.Float64)).write_parquet(
            run / "places.parquet"
        )
    ((found,), _) = judged(folder)
    assert not any(estimate.is_defined for estimate in found.estimates.values())
    assert all(estimate.reason for estimate in found.estimates.values())


def test_a_leaky_configuration_never_stands_first_and_seeds_add_no_slices(folder, tmp_path):
    write_study(folder, slices=5, learnings=("end_to_end",), split="image_holdout", leaky=True)
    write_study(folder, slices=5, learnings=("transfer",), seeds=(1,))
    for path in folder.glob("resnet18-end_to_end-patient_kfold-*"):
        shutil.rmtree(path)
    write_places(folder, off=(30.0, 0.0))
    write_places(folder, learning="end_to_end")
    assert [one.configuration.leaks for one in judged(folder)[0]] == [False, True]
    page = write_report(read_study(folder), Settings(resamples=20)).read_text()
    assert "configurations, placed the finding within" not in page  # the other one is nearer, and leaks
    assert "in 0% of 150 (75 slices, 2 seeds each) with a marked finding" in page


def test_two_configurations_are_compared_on_the_same_slices_and_every_number_is_verified(folder):
    write_places(folder)
    write_places(folder, random=np.random.default_rng(1), learning="end_to_end")
    found, (pair,) = judged(folder)
    assert [one.configuration.factors["learning"] for one in found] == ["transfer", "end_to_end"]
    shares = [one.estimates["near"].value for one in found]
    assert pair.test.difference.value == pytest.approx(shares[0] - shares[1])
    assert pair.corrected < 0.001
    page = write_report(read_study(folder), Settings(resamples=20))
    text = page.read_text()
    assert "is never narrower than that of a sensitivity at the same threshold" in text
    assert 'id="where"' in text
    assert "placed the finding within 5 mm of the reference in 100% of" in text
    record = json.loads((page.parent / "report.json").read_text())["numbers"]
    assert sum(name.startswith("where / ") for name in record) > 30
    assert verify(folder) == len(record)
    write_places(folder, off=(6.0, 0.0))
    with pytest.raises(DataError, match="every number must follow from the stored predictions"):
        verify(folder)


def test_the_reading_room_has_the_points_that_a_run_names(folder):
    write_places(folder, off=(1.0, 2.0))
    study = read_study(folder)
    rows = [row for row in results(study, resamples=20, scaling="platt", prevalence=None) if row.level == "patient"]
    views = reading_data(study, rows, first=0)["views"]
    named = next(view for view in views if "transfer" in view["name"])["runs"][0]
    assert {(mark["kind"], mark["row"], mark["col"]) for marks in named["marks"] for mark in marks} == {
        ("found opening", 8.5, 25.5),
        ("found canal", 15.5, 15.5),
    }
    assert next(view for view in views if "end" in view["name"])["runs"][0]["marks"] is None


def test_a_table_of_places_that_lacks_a_column_is_one_line(folder):
    write_places(folder)
    path = next(folder.glob("resnet18-transfer-*")) / "places.parquet"
    pl.read_parquet(path).drop("peak").write_parquet(path)
    with pytest.raises(DataError, match=r"places\.parquet: lacks the columns peak"):
        judged(folder)


def test_the_places_of_an_external_cohort_are_judged_as_the_studys_own(folder):
    study = read_study(write_places(folder, off=(3.0, -4.0), mm=0.5))
    (inside,), _ = where(study, resamples=50)
    (one,) = (c for c in study.configurations if c.runs[0].places is not None)
    openings, canals = marks_inside(study, one)
    extra = pl.DataFrame(
        schema={name: openings.schema[name] for name in openings.columns if name not in canals.columns}
    )
    places = pl.concat([openings, pl.concat([canals, extra], how="diagonal").select(openings.columns)])
    external = External(folder / "external" / "there", {}, one.runs, pl.DataFrame(), pl.DataFrame(), places)
    found = where_outside(study, [external], resamples=50)["there"]
    for name, estimate in inside.estimates.items():
        if name != "lroc":  # which compares within runs inside, and all slices with all outside
            assert (found.estimates[name].value, found.estimates[name].low) == pytest.approx(
                (estimate.value, estimate.low),
                nan_ok=True,  # all are as far off: their mean has no interval
            ), name
    assert str(found.clock) == str(inside.clock)  # there are NaNs in them
    moved = External(
        external.folder, {}, one.runs, pl.DataFrame(), pl.DataFrame(), places.with_columns(pl.col("row") + 100)
    )
    assert where_outside(study, [moved], resamples=50)["there"].estimates["near"].value == 0
    without = External(external.folder, {}, one.runs, pl.DataFrame(), pl.DataFrame(), None)
    assert where_outside(study, [without], resamples=50) == {}


def change(folder, **columns):
    """Change columns of the places that runs name."""
    for run in folder.glob("resnet18-transfer-*"):
        table = pl.read_parquet(run / "places.parquet")
        table.with_columns(**columns).write_parquet(run / "places.parquet")


def test_points_on_negative_slices_change_no_number(folder):
    ((before,), _) = judged(write_places(folder, off=(3.0, -4.0), mm=0.5))
    is_open = (pl.col("kind") == "opening") & pl.col("row_true").is_null()
    change(
        folder,
        row_true=pl.when(is_open).then(pl.lit(1.0)).otherwise("row_true"),
        col_true=pl.when(is_open).then(pl.lit(1.0)).otherwise("col_true"),
    )
    ((after,), _) = judged(folder)
    assert str(after.estimates) == str(before.estimates)  # there are NaNs in them
    assert after.froc.at == before.froc.at
    assert str(after.clock) == str(before.clock)


def test_one_patient_with_a_marked_finding_has_values_and_no_intervals(folder):
    write_places(folder, off=(3.0, -4.0), mm=0.5)
    keep = pl.col("patient_key") == "patient1"
    change(folder, **{name: pl.when(keep).then(name) for name in ("row_true", "col_true")})
    ((found,), _) = judged(folder)
    assert found.slices["patient_key"].unique().to_list() == ["patient1"]
    for name in ("near", "three", "median", "mean", "slice"):
        assert found.estimates[name].is_defined, name
        assert not found.estimates[name].has_interval, name
        assert "patient" in found.estimates[name].reason
    assert (found.estimates["median"].value, found.estimates["near"].value) == (2.5, 1.0)
    assert not found.clock.within_one.has_interval
    assert all("one patient" in one.reason for one in found.froc.at.values())
    page = write_report(read_study(folder), Settings(resamples=20)).read_text()
    assert "only one patient" in page
    # And where the cohort has no other: of a mean place of others there is nothing to say.
    study = read_study(folder)
    alone = study.cohort.manifest.with_columns(
        pl.when(pl.col("patient_key") == "patient1").then(name).alias(name) for name in ("opening_row", "opening_col")
    )
    ((found,), _) = where(replace(study, cohort=replace(study.cohort, manifest=alone)), resamples=50)
    assert not found.estimates["fixed"].is_defined
    assert found.estimates["fixed"].reason == "no other patient has a marked finding"
    assert found.estimates["near"].value == 1.0


def test_a_clock_is_judged_where_the_canal_is_known_and_counts_what_was_not_said(folder):
    write_places(folder)
    first = pl.col("patient_key").is_in(["patient1", "patient3", "patient5"])
    canal = pl.col("kind") == "canal"
    change(
        folder,
        row_true=pl.when(first | ~canal).then("row_true"),  # of the others the canal was not marked
        row=pl.when(~canal | (pl.col("patient_key") != "patient3")).then("row"),  # and of one it was not found
    )
    ((found,), _) = judged(folder)
    known = found.slices.filter(pl.col("patient_key").is_in(["patient1", "patient5"]))
    assert (found.clock.count, found.clock.missing) == (len(known), len(known) // 2)
    assert found.clock.within_one.value == pytest.approx(2 / 3)
    assert found.slices["hours"].null_count() == len(found.slices) - len(known)
    assert found.estimates["near"].value == 1.0  # distances need no canal


def test_either_of_two_openings_of_a_patient_is_a_right_place(folder):
    write_places(folder)
    # Two slices of each patient are open, at two places, and each run names one of them on both.
    marked = pl.col("kind") == "opening"
    change(folder, col_true=pl.when(marked & pl.col("slice_key").str.ends_with("-1")).then(2.5).otherwise("col_true"))
    ((found,), _) = judged(folder)
    assert 0 < found.estimates["near"].value < 1
    assert found.estimates["three"].value == 1.0
    assert found.estimates["first"].value <= found.estimates["three"].value


def test_the_right_slice_is_not_judged_where_slices_state_no_position(folder):
    write_places(folder)
    assert judged(folder)[0][0].estimates["slice"].is_defined
    study = read_study(folder)
    blind = study.cohort.manifest.with_columns(position_mm=pl.lit(None, pl.Float64))
    (found,), _ = where(replace(study, cohort=replace(study.cohort, manifest=blind)), resamples=50)
    assert not found.estimates["slice"].is_defined
    assert found.estimates["slice"].reason == "slices without a position"
