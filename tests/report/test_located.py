"""Places that readers and a network name for patients: right or wrong by one rule, and what LROC makes of them."""

import json
from itertools import product

import numpy as np
import polars as pl
import pytest

from fistula.cohort.manifest import read_cohort
from fistula.errors import DataError
from fistula.report.contents import Settings, compute
from fistula.report.places.located import located_patients, rightly_placed
from fistula.report.readers.analysis import compare_readers
from fistula.report.readers.given import Given
from fistula.report.study import read_study

from .conftest import write_study
from .test_where import TRUTH, write_places


@pytest.fixture
def folder(tmp_path):
    return write_study(tmp_path / "study", slices=5)


def judged(folder, rows):
    places = pl.DataFrame(rows, schema=["patient_key", "slice_key", "row", "col"], orient="row")
    return rightly_placed(places, read_cohort(folder / "cohort")).to_list()


def test_a_place_counts_within_five_per_cent_of_the_side_on_a_marked_slice_where_there_are_no_millimetres(folder):
    row, col = TRUTH  # patients of odd number are positive; 5% of 32 pixels are 1.6
    assert judged(
        folder,
        [
            ("patient1", "slice1-0", row, col + 1.5),
            ("patient1", "slice1-0", row, col + 1.7),
            ("patient1", "slice3-0", row, col),  # another patient's slice
            ("patient1", None, None, None),
            ("patient0", "slice0-0", row, col),  # has no finding
        ],
    ) == [1, 0, 0, 0, None]


def test_the_distance_in_the_stack_counts_where_slices_state_it(folder):
    kept = json.loads((folder / "cohort" / "ingest.json").read_text()) | {"spacing_mm": 2.0}
    (folder / "cohort" / "ingest.json").write_text(json.dumps(kept))
    table = pl.read_parquet(folder / "cohort" / "manifest.parquet")
    is_marked = (pl.col("slice_key") == "slice1-2").fill_null(value=False)
    only = [pl.when(is_marked).then(pl.col(name)).alias(name) for name in ("opening_row", "opening_col")]
    table = table.with_columns(*only, pixel_spacing_mm=pl.lit(0.5))
    from fistula.cohort.manifest import SCHEMA, manifest_fingerprint

    table.write_parquet(folder / "cohort" / "manifest.parquet")
    kept["fingerprint"] = manifest_fingerprint(table.select(list(SCHEMA)))
    (folder / "cohort" / "ingest.json").write_text(json.dumps(kept))
    row, col = TRUTH  # slices lie 1 mm apart: 2 mm along the stack, and 2 pixels of 2 mm across
    rows = [("patient1", f"slice1-{slice_}", row, col + off) for slice_ in (2, 0) for off in (2.0, 2.4, 2.6)]
    far = [np.hypot(2 * abs(2 - slice_) / 2, 2 * off) for slice_ in (2, 0) for off in (2.0, 2.4, 2.6)]
    assert judged(folder, rows) == [int(one <= 5) for one in far] == [1, 1, 0, 1, 0, 0]


def lroc(labels, scores, located):
    """Share of pairs in which the positive is both placed rightly and scored above; ties half."""
    pairs = [
        located[i] * ((scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j]))
        for i, j in product(np.flatnonzero(labels), np.flatnonzero(labels == 0))
    ]
    return float(np.mean(pairs))


def readings(cases, random, readers=3):
    rows = [
        (
            key,
            f"r{reader}",
            "",
            float(round(50 + 20 * label + 15 * random.normal())),
            None,
            None,
            int(random.random() < 0.7),
        )
        for key, label in cases
        for reader in range(readers)
    ]
    columns = ["patient_key", "reader", "modality", "score", "minutes", "experience", "located"]
    kinds = {"minutes": pl.Float64, "experience": pl.String}
    table = pl.DataFrame(rows, schema=columns, schema_overrides=kinds, orient="row")
    return table.with_columns(date=pl.lit(None, pl.String))


def test_the_network_is_held_against_readers_under_lroc_as_pairs_counted_by_hand_say(folder):
    write_places(folder, random=np.random.default_rng(3))
    for run in folder.glob("resnet18-transfer-*"):  # half of the points are right
        table = pl.read_parquet(run / "places.parquet").with_row_index("at")
        right = (pl.col("at") % 4 < 2) & (pl.col("kind") == "opening")
        put = [
            pl.when(right).then(pl.lit(at)).otherwise(pl.col(name)).alias(name)
            for name, at in zip(("row", "col"), TRUTH, strict=True)
        ]
        table.with_columns(put).drop("at").write_parquet(run / "places.parquet")
    study = read_study(folder)
    best = next(c for c in study.configurations if c.name == "transfer")
    cohort = study.cohort.manifest.group_by("patient_key").agg(pl.col("label").max()).sort("patient_key")
    table = readings(cohort.rows(), np.random.default_rng(0))
    found = compute(study, Settings(resamples=20), Given(readings=table)).readers
    assert found.model == "transfer"
    versus = next(one for one in found.against if one.figure == "lroc")
    # By hand: the slice with the highest score, and whether its point is the true one.
    located = {}
    for run in best.runs:
        places = pl.read_parquet(run.folder / "places.parquet").filter(
            (pl.col("part") == "test") & (pl.col("kind") == "opening")
        )
        scores = pl.read_parquet(run.folder / "predictions.parquet").select("slice_key", "score")
        for (key,), rows in places.join(scores, on="slice_key").group_by("patient_key"):
            first = max(rows.iter_rows(named=True), key=lambda row: row["score"])
            far = np.hypot(first["row"] - TRUTH[0], first["col"] - TRUTH[1])
            located[key] = int(far * 100 / 32 <= 5)
    cases = found.labels
    labels = cases["label"].to_numpy()
    own = lroc(labels, cases["score"].to_numpy(), [located[key] for key in cases["patient_key"]])
    assert 0 < own < 0.9
    assert dict(located_patients(best, study.cohort).drop_nulls().iter_rows()) == {
        key: value for key, value in located.items() if dict(cohort.iter_rows())[key] == 1
    }
    areas = []
    for reader in ("r0", "r1", "r2"):
        rows = cases.select("patient_key").join(
            table.filter(pl.col("reader") == reader), on="patient_key", maintain_order="left"
        )
        areas.append(lroc(labels, rows["score"].to_numpy(), rows["located"].to_numpy()))
    assert versus.values == pytest.approx((own, np.mean(areas)), rel=1e-12)
    assert versus.tests["random"].estimate.value == pytest.approx(own - np.mean(areas), abs=1e-12)


def test_positive_patients_whose_place_nobody_knows_are_left_out_and_half_known_ones_refused(folder):
    cases = pl.DataFrame(
        {"patient_key": [f"p{i}" for i in range(12)], "label": [0, 1] * 6, "score": np.arange(12) / 12}
    )
    cases = cases.with_columns(called=pl.lit(1))
    table = readings(cases.select("patient_key", "label").rows(), np.random.default_rng(1))
    gone = pl.when(pl.col("patient_key") == "p1").then(None).otherwise(pl.col("located"))
    settings = {"model": "m", "cohort": "", "margin": 0.05, "cutoff": None}
    found = compare_readers(table.with_columns(located=gone), cases.with_columns(located=pl.lit(1)), **settings)
    versus = {one.figure: one for one in found.against}
    assert (versus["auroc"].positives, versus["lroc"].positives) == (6, 5)
    torn = pl.when((pl.col("patient_key") == "p1") & (pl.col("reader") == "r0")).then(None).otherwise(pl.col("located"))
    with pytest.raises(DataError, match=r"for every reading of a positive patient, or for none, found .* of p1"):
        compare_readers(table.with_columns(located=torn), cases, **settings)
