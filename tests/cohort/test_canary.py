import numpy as np
import polars as pl
import pytest

from fistula.cohort.canary import given, permuted_by_patient
from fistula.cohort.manifest import read_cohort
from fistula.cohort.split import ImageHoldout, PatientKFold
from fistula.errors import DataError

from ..conftest import write_cohort


@pytest.fixture
def cohort(tmp_path):
    return read_cohort(write_cohort(tmp_path / "cohort", patients=40))


def test_labels_as_given_are_the_cohorts_own(cohort):
    assert given(cohort, pl.DataFrame()) is cohort


def test_each_patient_has_the_labels_of_one_other_and_the_counts_stay(cohort):
    table = PatientKFold()(cohort.manifest)
    permuted = permuted_by_patient(cohort, table, seed=0)
    of_patient = permuted.manifest.group_by("patient_key").agg(
        pl.col("label").n_unique(), pl.col("label").first().alias("one")
    )
    assert of_patient["label"].max() == 1  # a patient's slices were all alike, and are still
    assert of_patient["one"].sum() == 20
    assert permuted.manifest.drop("label").equals(cohort.manifest.drop("label"))
    assert cohort.manifest["label"].sum() == 60  # the cohort itself is as it was


def test_the_permutation_says_nothing_of_the_true_labels(cohort):
    for seed in range(5):
        permuted = permuted_by_patient(cohort, PatientKFold()(cohort.manifest), seed=seed)
        assert abs(np.corrcoef(cohort.manifest["label"], permuted.manifest["label"])[0, 1]) < 1e-9


def test_the_same_seed_permutes_alike_under_every_split_and_another_seed_otherwise(cohort):
    by_patient, by_image = PatientKFold()(cohort.manifest), ImageHoldout(folds=5)(cohort.manifest)
    first, second, other = (
        permuted_by_patient(cohort, table, seed=seed).manifest["label"].to_list()
        for table, seed in ((by_patient, 0), (by_image, 0), (by_patient, 1))
    )
    assert first == second
    assert first != other


def test_labels_that_change_within_a_patient_keep_their_order_and_are_stretched(cohort):
    """Patient by patient: 0 1 1, or one slice removed: the run of ones stays at the end."""
    manifest = cohort.manifest.with_columns(label=(pl.col("position_mm") > 0).cast(pl.Int64))
    short = ~((pl.col("patient_key") == "patient0") & (pl.col("position_mm") == 0))
    changed = type(cohort)(cohort.folder, manifest.filter(short), cohort.pixels, cohort.record)
    labels = permuted_by_patient(changed, ImageHoldout()(changed.manifest), seed=0).manifest
    profiles = labels.group_by("patient_key", maintain_order=True).agg("label")
    assert {tuple(profile) for profile in profiles["label"].to_list()} <= {(0, 1, 1), (0, 1), (1, 1), (1, 1, 1)}
    assert profiles.filter(pl.col("label").list.len() == 2)["label"].to_list() == [[0, 1]]


def test_a_split_too_small_for_any_permutation_is_refused(cohort):
    few = type(cohort)(cohort.folder, cohort.manifest.head(12), cohort.pixels, cohort.record)
    parts = few.manifest.select(
        "slice_key",
        fold=pl.lit(0, pl.Int64),
        part=pl.col("patient_key").replace_strict({"patient0": "train", "patient1": "val"}, default="test"),
    )
    with pytest.raises(DataError, match=r"permuted_by_patient: needs a permutation .* found none in 200 draws"):
        permuted_by_patient(few, parts, seed=0)
