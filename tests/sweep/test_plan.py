from dataclasses import replace

import polars as pl
import pytest

from fistula.cohort.manifest import read_cohort
from fistula.errors import ConfigError, DataError
from fistula.sweep.plan import _check_aggregation, _check_classes

from ..conftest import write_cohort


def test_a_class_that_validation_lacks_is_refused_before_training(tmp_path):
    cohort = read_cohort(write_cohort(tmp_path / "cohort", patients=12, classes=("a", "b", "c")))
    part = pl.when(pl.col("label") == 2).then(pl.lit("train")).otherwise(pl.lit("val"))
    table = cohort.manifest.select("slice_key", part=part, fold=pl.lit(1))
    with pytest.raises(DataError, match="has no c slice in the validation set of fold 1, on which a threshold is"):
        _check_classes(cohort, table, 1)
    _check_classes(cohort, table.with_columns(part=pl.lit("val")), 1)


def test_a_rule_that_rises_with_slices_is_refused_where_their_number_tells_the_class(tmp_path):
    cohort = read_cohort(write_cohort(tmp_path / "cohort", patients=20))
    _check_aggregation("max", cohort)  # three slices each
    some = pl.col("label").eq(1) | pl.col("position_mm").lt(2)
    cohort = replace(cohort, manifest=cohort.manifest.filter(some))
    with pytest.raises(
        ConfigError, match=r"aggregation: must be mean where the number of slices alone predicts class 1"
    ):
        _check_aggregation("max", cohort)
