from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from fistula.cohort.canary import permuted_by_patient
from fistula.cohort.manifest import read_cohort
from fistula.cohort.split import PatientKFold
from fistula.cohort.thinning import thinned
from fistula.errors import ConfigError, DataError
from fistula.learning.data.bags import bags_of, patient_labels


@pytest.fixture
def cohort(cohort_folder):
    return read_cohort(cohort_folder)


def parts_of(cohort, **named):
    """Columns ``slice_key copy part``: patients whose number is named in a part, by their slices."""
    part = {f"patient{number}": name for name, numbers in named.items() for number in numbers}
    return (
        cohort.labelled.filter(pl.col("patient_key").is_in(list(part)))
        .select("slice_key", copy=pl.lit(0, pl.Int64), part=pl.col("patient_key").replace_strict(part))
    )  # fmt: skip


def relabelled(cohort, **columns):
    """The cohort with other columns; a slice's label may go."""
    object.__setattr__(cohort, "manifest", cohort.manifest.with_columns(**columns))
    return cohort


def test_a_slice_is_a_bag_of_one(cohort):
    bags = bags_of(cohort, parts_of(cohort, train=[0, 1], val=[2]), "train", unit="slice")
    assert (bags.sizes == 1).all()
    assert len(bags) == len(bags.rows) == 6
    assert bags.labels.tolist() == cohort.manifest["label"].to_numpy()[bags.rows].tolist()


def test_a_patient_is_a_bag_of_all_slices_with_a_label_or_without(cohort):
    unlabelled = pl.when(pl.col("slice_key").str.ends_with("-1")).then(None).otherwise("label")
    bags = bags_of(
        relabelled(cohort, label=unlabelled), parts_of(cohort, train=[0, 1], test=[2]), "train", unit="patient"
    )
    assert bags.sizes.tolist() == [3, 3]
    assert cohort.manifest["patient_key"][bags.rows.tolist()].to_list() == ["patient0"] * 3 + ["patient1"] * 3
    assert bags.labels.tolist() == [0, 1]
    assert bags.starts.tolist() == [0, 3]


def test_pseudonyms_have_no_say_in_what_is_learned(cohort):
    """The same archive under another pseudonym key: other names for the same patients, in the same order."""
    names = ("patient_key", "series_key", "slice_key")
    other = cohort.manifest.with_columns(pl.col(name).hash(seed=7).cast(pl.String) for name in names)
    found = []
    for manifest in (cohort.manifest, other):
        named = replace(cohort, manifest=manifest)
        table = PatientKFold(folds=3)(named.labelled)
        parts = thinned(named.labelled, table.filter(pl.col("fold") == 0), 0.5, seed=0)
        bags = bags_of(named, parts.with_columns(copy=pl.lit(0, pl.Int64)), "train", unit="patient")
        permuted = permuted_by_patient(named, table, seed=0).manifest["label"]
        rows = parts.filter(pl.col("part") == "train").join(named.labelled, on="slice_key")["row"]
        found.append([bags.rows.tolist(), bags.labels.tolist(), permuted.to_list(), sorted(rows)])
    assert found[0] == found[1]
    assert other["patient_key"].rank("dense").to_list() != cohort.manifest["patient_key"].rank("dense").to_list()


def test_slices_of_a_bag_lie_in_the_order_of_their_positions(cohort):
    turned = relabelled(cohort, position_mm=-pl.col("position_mm"))
    bags = bags_of(turned, parts_of(cohort, train=[4]), "train", unit="patient")
    assert np.diff(turned.manifest["position_mm"].to_numpy()[bags.rows]).min() > 0


def test_a_patients_own_class_wins_over_those_of_the_slices(cohort):
    own = pl.when(pl.col("patient_key") == "patient0").then(1).otherwise(None)
    labels = dict(patient_labels(relabelled(cohort, patient_label=own).manifest, num_classes=2).iter_rows())
    assert (labels["patient0"], labels["patient1"], labels["patient2"]) == (1, 1, 0)


def test_a_patient_is_positive_if_a_slice_is(cohort):
    one = pl.when(pl.col("slice_key") == "slice0-2").then(1).otherwise("label")
    labels = dict(patient_labels(relabelled(cohort, label=one).manifest, num_classes=2).iter_rows())
    assert labels["patient0"] == 1


def test_slices_of_several_of_three_classes_leave_a_patient_without_one(cohort):
    mixed = pl.when(pl.col("slice_key") == "slice0-2").then(2).otherwise("label")
    with pytest.raises(DataError, match="1 patient with slices of several"):
        patient_labels(relabelled(cohort, label=mixed).manifest, num_classes=3)


def test_of_grades_a_patient_has_the_highest(cohort):
    mixed = pl.when(pl.col("slice_key") == "slice0-2").then(2).otherwise("label")
    labels = patient_labels(relabelled(cohort, label=mixed).manifest, num_classes=3, are_grades=True)
    assert dict(labels.iter_rows())["patient0"] == 2


def test_a_patient_on_two_sides_is_no_bag(cohort):
    parts = parts_of(cohort, train=[0, 1])
    torn = parts.with_columns(part=pl.when(pl.col("slice_key") == "slice0-0").then(pl.lit("test")).otherwise("part"))
    with pytest.raises(DataError, match="needs each patient in one set"):
        bags_of(cohort, torn, "train", unit="patient")


def test_a_unit_is_a_slice_or_a_patient(cohort):
    with pytest.raises(ConfigError, match="unit: must be slice or patient, found exam"):
        bags_of(cohort, parts_of(cohort, train=[0]), "train", unit="exam")
