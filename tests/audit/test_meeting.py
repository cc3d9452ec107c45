import numpy as np
import polars as pl

from fistula.audit.meeting import population
from fistula.cohort.manifest import Cohort
from fistula.report.planning.pilot import assumed
from fistula.report.study import read_study

from ..conftest import write_cohort
from ..report.conftest import write_study


def test_numbers_of_patients_have_the_same_last_digits_each_time(tmp_path):
    folder = write_cohort(tmp_path / "cohort", patients=60)
    manifest = pl.read_parquet(folder / "manifest.parquet")
    ages = dict(zip(manifest["patient_key"].unique().sort(), np.random.default_rng(0).normal(50, 9, 60), strict=True))
    cohort = Cohort(folder, manifest.with_columns(age=pl.col("patient_key").replace_strict(ages)), np.zeros(0), {})
    assert len({repr(population(cohort)) for _ in range(20)}) == 1
    study = read_study(write_study(tmp_path / "study"))
    assert len({repr(assumed(study)) for _ in range(10)}) == 1
