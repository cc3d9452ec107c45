from itertools import pairwise

import polars as pl
import pytest

from fistula.cohort.split import PatientKFold
from fistula.cohort.thinning import thinned
from fistula.errors import ConfigError


@pytest.fixture
def rows():
    found = []
    for patient in range(60):
        for number in range(3):
            label = int(patient % 3 == 0 and number == 1)
            found.append((f"s{patient}-{number}", f"p{patient:02}", label, None))
    schema = {"slice_key": pl.String, "patient_key": pl.String, "label": pl.Int64, "site": pl.String}
    return pl.DataFrame(found, schema=schema, orient="row")


def trained(rows, parts):
    return set(parts.filter(pl.col("part") == "train").join(rows, on="slice_key")["patient_key"])


def test_smaller_fractions_are_among_larger_ones_and_keep_the_classes(rows):
    table = PatientKFold(folds=3)(rows)
    for fold in range(3):
        parts = table.filter(pl.col("fold") == fold)
        sets = [trained(rows, thinned(rows, parts, fraction, seed=0)) for fraction in (0.25, 0.5, 0.75, 1.0)]
        assert all(small < large for small, large in pairwise(sets))
        positive = {f"p{patient:02}" for patient in range(0, 60, 3)}
        whole = sets[-1]
        for fraction, few in zip((0.25, 0.5, 0.75), sets, strict=False):
            for of_class in (positive, whole - positive):
                assert len(few & of_class) == pytest.approx(fraction * len(whole & of_class), abs=1)


def test_the_parts_that_score_stay_as_they_are_and_no_patient_is_cut_in_two(rows):
    parts = PatientKFold(folds=3)(rows).filter(pl.col("fold") == 0)
    few = thinned(rows, parts, 0.3, seed=0)
    assert few.filter(pl.col("part") != "train").equals(parts.filter(pl.col("part") != "train"))
    sizes = few.filter(pl.col("part") == "train").join(rows, on="slice_key").group_by("patient_key").len()["len"]
    assert set(sizes) == {3}
    assert thinned(rows, parts, 1, seed=0) is parts
    assert trained(rows, thinned(rows, parts, 0.001, seed=0)) & {f"p{patient:02}" for patient in range(0, 60, 3)}
    assert thinned(rows, parts, 0.3, seed=1)["slice_key"].to_list() != few["slice_key"].to_list()


def test_the_patients_of_a_fraction_depend_neither_on_their_names_nor_on_the_order_of_the_split(rows):
    parts = PatientKFold(folds=3)(rows).filter(pl.col("fold") == 0)
    shuffled = parts.sample(fraction=1, shuffle=True, seed=1)
    renamed = rows.with_columns(patient_key=pl.col("patient_key").str.reverse())
    kept = trained(rows, thinned(rows, parts, 0.4, seed=0))
    assert trained(rows, thinned(rows, shuffled, 0.4, seed=0)) == kept
    assert trained(rows, thinned(renamed, parts, 0.4, seed=0)) == kept


@pytest.mark.parametrize("fraction", [0, -0.5, 1.5, True, "half"])
def test_a_fraction_that_cannot_be_is_refused(fraction):
    with pytest.raises(ConfigError, match=r"split\.train_fraction: must be a number above 0 and at most 1"):
        PatientKFold(train_fraction=fraction)
