import numpy as np
import polars as pl
import pytest

from fistula.report.contents import Settings, compute
from fistula.report.page import write_report
from fistula.report.record import verify
from fistula.report.study import read_study

from .conftest import write_study

FRACTIONS = {"transfer": 1.0, "end_to_end": 0.5}


@pytest.fixture
def study(tmp_path):
    """Two configurations that differ in nothing but the share of patients that they learned from."""
    changes = {
        f"resnet18-{learning}-patient_kfold-fold{fold}-seed0": {
            "train_patients": int(20 * fraction),
            "factors": {
                "model": "resnet18",
                "learning": "transfer",
                "epochs": 50,
                "augmentation": "none",
                "split": "patient_kfold",
                "labelling": "given",
            },
            "identity": {"learning": "transfer", "split.train_fraction": fraction, "split.fold": fold},
        }
        for learning, fraction in FRACTIONS.items()
        for fold in range(3)
    }
    return write_study(tmp_path / "study", patients=60, changes=changes)


def test_a_study_of_one_number_of_patients_has_no_curve(tmp_path):
    contents = compute(read_study(write_study(tmp_path / "study")), Settings(resamples=20))
    assert contents.growths == []


def test_more_patients_that_help_are_said_to_help(study):
    contents = compute(read_study(study), Settings(resamples=20))
    (found,) = contents.growths
    assert found.patients == [10, 20]
    values = [row.estimates["auroc"].value for row in found.rows]
    assert found.last.value == pytest.approx(values[1] - values[0])
    assert found.last.low > 0
    assert found.verdict.startswith("From 10 to 20 training patients, the AUROC rose by ")
    page = write_report(read_study(study), Settings(resamples=20))
    assert "can be expected to help" in page.read_text()
    assert verify(study) > 0


def test_more_patients_that_do_not_help_are_not_said_to(study):
    random = np.random.default_rng(0)
    for fold in range(3):
        few, many = (study / f"resnet18-{name}-patient_kfold-fold{fold}-seed0" for name in ("end_to_end", "transfer"))
        table = pl.read_parquet(few / "predictions.parquet")
        noisy = table.with_columns(score=(pl.col("score") + pl.Series(random.normal(0, 0.05, len(table)))).clip(0, 1))
        noisy.write_parquet(many / "predictions.parquet")
    (found,) = compute(read_study(study), Settings(resamples=20)).growths
    assert "does not differ significantly" in found.verdict
    assert "remains open" in found.verdict
