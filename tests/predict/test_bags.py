import numpy as np
import polars as pl
import pytest

import fistula
from fistula.predict.outside import score_cohort

from ..conftest import TINY_RUN


@pytest.fixture
def run_of_patients(study, fistula_here, tmp_path):
    """A run of the synthetic study's cohort that scores patients."""

    def train(pooling):
        target = tmp_path / "patients"
        where = f"hydra.run.dir={target}"
        code, _, error = fistula_here("train", f"cohort={study / 'cohort'}", *TINY_RUN, "unit=patient", pooling, where)
        assert code == 0, error
        return target

    return train


@pytest.mark.parametrize("pooling", ["pooling=attention", "pooling=transformer"])
def test_the_score_of_a_patient_is_that_of_training(run_of_patients, phantom, pooling):
    predictor = fistula.load(run_of_patients(pooling))
    found = predictor.predict(phantom)
    new = found.patients.select("patient_key", pl.col("score").alias("new"), "known")
    stored = predictor.runs[0].predictions.join(new, on="patient_key")
    assert len(stored) == len(predictor.runs[0].predictions)
    np.testing.assert_allclose(stored["new"], stored["score"], rtol=0, atol=1e-6)
    slices = pl.read_parquet(predictor.runs[0].folder / "slices.parquet").join(
        found.slices.select("slice_key", pl.col("score").alias("new")), on="slice_key"
    )
    np.testing.assert_allclose(slices["new"], slices["score"], rtol=0, atol=1e-6)
    assert set(found.patients["known"]) == {"trained on", "validated on", "tested on"}


def test_patients_of_another_cohort_are_scored_as_the_studys_own(run_of_patients):
    predictor = fistula.load(run_of_patients("pooling=attention"))
    run = predictor.runs[0]
    patients = sorted(set(run.predictions["patient_key"]))
    found = score_cohort(predictor, run.cohort, patients)
    both = run.predictions.join(found.predictions, on="patient_key", suffix="_new")
    assert len(both) == len(found.predictions) == len(patients)
    assert both["label"].equals(both["label_new"], check_names=False)
    np.testing.assert_allclose(both["score_new"], both["score"], rtol=0, atol=1e-6)
    slices = pl.read_parquet(run.folder / "slices.parquet").join(found.slices, on="slice_key", suffix="_new")
    np.testing.assert_allclose(slices["score_new"], slices["score"], rtol=0, atol=1e-6)


def test_a_run_of_patients_is_not_exported(run_of_patients, fistula_here):
    code, _, error = fistula_here("export", f"run={run_of_patients('pooling=mean')}", "out=model")
    assert code == 2
    assert "must be of runs that score slices" in error


@pytest.mark.parametrize("run", [("unit=slice",), ("unit=patient",), ("unit=slice", "model=clinical")])
def test_covariates_come_from_the_headers_and_score_as_in_training(study, fistula_here, phantom, tmp_path, run):
    target, tiny = tmp_path / "run", [one for one in TINY_RUN if run[-1] != "model=clinical" or "arch" not in one]
    where = f"hydra.run.dir={target}"
    code, _, error = fistula_here("train", f"cohort={study / 'cohort'}", *run, *tiny, "covariates=[age,sex]", where)
    assert code == 0, error
    predictor = fistula.load(target, device="cpu")
    found = predictor.predict(phantom)
    key, table = ("patient_key", found.patients) if "unit=patient" in run else ("slice_key", found.slices)
    stored = predictor.runs[0].predictions.join(table.select(key, pl.col("score").alias("new")), on=key)
    assert len(stored) == len(predictor.runs[0].predictions)
    np.testing.assert_allclose(stored["new"], stored["score"], rtol=0, atol=1e-6)
    code, _, error = fistula_here("export", f"run={target}", "out=model")
    assert (code, "cannot be exported" in error) == (2, True)
