"""Labels have no say in pixels: whichever slices are labelled, and however, each looks the same, and says nothing."""

import numpy as np
import polars as pl
import pytest
from misbehaving import cohort, write, write_labels

from fistula.cohort.manifest import read_cohort

SMALL = ("size=32", "spacing_mm=1.0", "workers.count=1")
INTENSITIES = ["percentile", *(pytest.param(name, marks=pytest.mark.slow) for name in ("window", "voi", "min_max"))]
PATIENTS, SLICES = 8, 6
# Which slices are listed, as what, and how the rest is to be understood.
LABELLINGS = {
    "all": ([(p, s, p % 2) for p in range(PATIENTS) for s in range(SLICES)], ()),
    "the upper half": ([(p, s, p % 2) for p in range(PATIENTS) for s in range(3, SLICES)], ()),
    "one slice a patient": ([(p, 2, p % 2) for p in range(PATIENTS)], ()),
    "positives, other patients": (
        [(p, s, 1) for p in range(0, PATIENTS, 2) for s in (4, 5)], ("negatives=other_patients",),
    ),
    "positives, the rest": ([(p, 5, 1) for p in range(0, PATIENTS, 2)], ("negatives=rest",)),
}  # fmt: skip


@pytest.fixture
def archive(tmp_path, write_dicom):
    images = cohort(PATIENTS, slices=SLICES)
    return write(tmp_path / "archive", images, write_dicom), {(one.patient, one.place): one.uid for one in images}


def ingested(run, archive, tmp_path, name, *more):
    folder, uids = archive
    listed, options = LABELLINGS[name]
    labels = write_labels(tmp_path / "labels.csv", [f"{uids[p, s]},{label}" for p, s, label in listed])
    out = tmp_path / f"cohort {len(list(tmp_path.iterdir()))}"
    code, shown, error = run("ingest", f"source={folder}", f"labels={labels}", f"out={out}", *SMALL, *options, *more)
    assert (code, error) == (0, "")
    return read_cohort(out), shown


def auroc(labels, scores):
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
    return float(wins)


@pytest.mark.parametrize("intensity", INTENSITIES)
def test_the_pixels_of_a_slice_are_the_same_whatever_is_labelled(archive, tmp_path, fistula_here, intensity):
    found = {}
    for name in LABELLINGS:
        read, _ = ingested(fistula_here, archive, tmp_path, name, f"intensity={intensity}")
        assert len(read.manifest) == PATIENTS * SLICES
        found[name] = dict(zip(read.manifest["slice_key"], read.pixels, strict=True))
    for name, pixels in found.items():
        for key, image in found["all"].items():
            np.testing.assert_array_equal(pixels[key], image, err_msg=name)


def test_a_label_for_the_patient_moves_no_pixel_either(archive, tmp_path, fistula_here):
    read, _ = ingested(fistula_here, archive, tmp_path, "one slice a patient")
    labels = write_labels(
        tmp_path / "patients.csv", [f"P{p:02d},{p % 2}" for p in range(PATIENTS)], header="patient_id,label"
    )
    out = tmp_path / "whole"
    code, _, error = fistula_here(
        "ingest", f"source={archive[0]}", f"labels={labels}", "labels.level=patient", f"out={out}", *SMALL
    )
    assert (code, error) == (0, "")
    whole = read_cohort(out)
    assert whole.manifest["pixel_hash"].to_list() == read.manifest["pixel_hash"].to_list()
    assert whole.manifest["label"].null_count() == 0


def test_grey_count_and_position_say_nothing_of_a_class_that_the_pixels_do_not_show(archive, tmp_path, fistula_here):
    # The signal rises along the stack, and the positives of every patient stand for all heights alike.
    read, _ = ingested(fistula_here, archive, tmp_path, "all")
    labels = read.labelled["label"].to_numpy()
    grey = read.pixels.reshape(len(read.pixels), -1).mean(1)
    assert auroc(labels, grey) == pytest.approx(0.5, abs=0.1)
    assert auroc(labels, read.labelled["position_mm"].to_numpy()) == 0.5
    counts = read.manifest.with_columns(slices=pl.len().over("patient_key"))["slices"].to_numpy()
    assert auroc(labels, counts) == 0.5


def test_positives_listed_alone_do_not_change_what_a_slice_says(archive, tmp_path, fistula_here):
    listed, shown = ingested(fistula_here, archive, tmp_path, "positives, other patients")
    assert "negatives=other_patients: 24 slices of 4 other patients are negative" in shown
    assert "and 16 more without a label" in shown
    grey = dict(zip(listed.manifest["slice_key"], listed.pixels.reshape(len(listed.pixels), -1).mean(1), strict=True))
    same = listed.labelled.with_columns(grey=pl.col("slice_key").replace_strict(grey, return_dtype=pl.Float64))
    # At one height slices of both classes are equally bright: before, the positives' own two slices set the scale.
    of_height = same.filter(pl.col("position_mm") == same["position_mm"].max())
    means = of_height.group_by("label").agg(pl.col("grey").mean()).sort("label")["grey"].to_list()
    assert means[0] == pytest.approx(means[1], rel=0.03)


def test_the_rest_is_negative_only_where_it_is_said(archive, tmp_path, fistula_here):
    read, shown = ingested(fistula_here, archive, tmp_path, "positives, the rest")
    assert "negatives=rest: 24 slices of 4 other patients are negative" in shown
    assert "negatives=rest: 20 slices of 4 labelled patients are negative" in shown
    assert read.manifest["label"].null_count() == 0


def test_unlabelled_slices_are_neighbours_and_never_scored(archive, tmp_path, fistula_here):
    from fistula.learning.data.channels import channel_rows

    read, _ = ingested(fistula_here, archive, tmp_path, "one slice a patient")
    assert len(read.labelled) == PATIENTS
    rows = channel_rows(read.manifest, 3)[read.labelled["row"].to_numpy()]
    positions = read.manifest["position_mm"].to_numpy()[rows]
    assert np.allclose(np.diff(positions, axis=1), 3.0)


def test_predict_reads_the_pixels_that_ingest_wrote(archive, tmp_path, fistula_here):
    from fistula.predict.source import Limits, reader_of, reading
    from fistula.source.workers import Workers

    read, _ = ingested(fistula_here, archive, tmp_path, "one slice a patient")
    reader = reader_of(read.record, where="cohort", limits=Limits())
    with reading(archive[0], reader, Workers(1)) as slices:
        found = dict(zip(slices.table["slice_key"], np.array(slices.pixels), strict=True))
    assert len(found) == PATIENTS * SLICES
    for key, image in zip(read.manifest["slice_key"], read.pixels, strict=True):
        np.testing.assert_array_equal(found[key], image)
