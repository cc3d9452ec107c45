"""What else is known of patients: encoded, standardised, joined to the images, and judged without them."""

import shutil

import numpy as np
import polars as pl
import pytest
import torch
from hydra.utils import instantiate
from sklearn.linear_model import LogisticRegression

from fistula.cohort.manifest import SCHEMA, manifest_fingerprint, read_cohort
from fistula.errors import ConfigError, DataError
from fistula.evidence.ranking.roc import auroc
from fistula.learning.data.covariates import Covariates, check_covariates, values_of
from fistula.learning.experiment import build

from ..conftest import TINY_RUN, write_cohort

CLINICAL = ("model=clinical", "model.architecture=clinical")


def aged(folder, **columns):
    """A cohort whose positive patients are older, and whose pictures say nothing; further columns over it."""
    write_cohort(folder, patients=24)
    random = np.random.default_rng(3)
    pixels = np.load(folder / "pixels.npy")
    np.save(folder / "pixels.npy", random.integers(0, 120, pixels.shape, dtype=np.uint8))
    manifest = pl.read_parquet(folder / "manifest.parquet")
    number = pl.col("patient_key").str.slice(7).cast(pl.Int64)
    manifest = manifest.with_columns(age=(40 + 20 * pl.col("label") + number % 5).cast(pl.Float64), **columns)
    return rewrite(folder, manifest)


def rewrite(folder, manifest):
    """Give a cohort another manifest."""
    before = manifest_fingerprint(pl.read_parquet(folder / "manifest.parquet"))
    manifest.write_parquet(folder / "manifest.parquet")
    record = (folder / "ingest.json").read_text()
    (folder / "ingest.json").write_text(record.replace(before, manifest_fingerprint(manifest)))
    return folder


@pytest.fixture
def trained(compose_train, tmp_path):
    def train(*overrides, folder):
        cohort = read_cohort(folder)
        cfg = compose_train(*TINY_RUN, *overrides, cohort=folder)
        experiment = build(cfg, cohort, instantiate(cfg.split)(cohort.labelled))
        experiment.folder.mkdir(exist_ok=True)
        summary = experiment.train(description={"seed": cfg.seed})
        return pl.read_parquet(experiment.folder / "predictions.parquet"), summary, experiment

    return train


def test_of_a_bag_counts_the_mean_of_what_is_known():
    table = pl.DataFrame({"age": [40.0, None, 50.0, None], "sex": ["F", None, "O", "M"]})
    found = values_of(table, ["age", "sex"], np.array([2, 1, 1])).numpy()
    np.testing.assert_array_equal(found, np.array([[40, 1], [50, np.nan], [np.nan, 0]], np.float32))


def test_values_are_standardised_on_the_training_part_and_what_is_missing_is_known_to_be():
    covariates = Covariates(["age"], num_classes=2)
    covariates.standardise(torch.tensor([[30.0], [50.0], [torch.nan]]))  # mean 40, standard deviation 10
    found = covariates.standard(torch.tensor([[60.0], [torch.nan]]))
    torch.testing.assert_close(found, torch.tensor([[2.0, 0.0], [0.0, 1.0]]))


@pytest.mark.parametrize(("values", "found"), [([40.0, 40.0], "40 alone"), ([torch.nan] * 2, "none")])
def test_a_covariate_that_does_not_vary_is_refused(values, found):
    with pytest.raises(DataError, match=f"must have two values in the training set, found {found}"):
        Covariates(["age"], num_classes=2).standardise(torch.tensor(values)[:, None])


@pytest.mark.parametrize("names", [["weight"], ["age", "age"], "age", [["age"]], None])
def test_covariates_are_different_columns_of_the_cohort(names):
    with pytest.raises(ConfigError, match="covariates: must be"):
        check_covariates(names, ["covariate_crp"])


def test_a_cohort_s_fingerprint_covers_its_covariates():
    manifest = pl.DataFrame([dict.fromkeys(SCHEMA)], schema=SCHEMA)
    one, two = (manifest_fingerprint(manifest.with_columns(covariate_crp=pl.lit(value))) for value in (1.0, 2.0))
    assert len({one, two, manifest_fingerprint(manifest)}) == 3


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["slice", "patient"])
def test_a_network_learns_from_a_covariate_what_no_image_shows(trained, tmp_path, unit):
    folder = aged(tmp_path / "aged")
    frozen = ("learning=linear_probe", "learning.pretrained=false", "epochs=40", "optimizer.lr=0.03")
    areas = []
    for names in ("[]", "[age]"):
        scores, _, _ = trained(f"unit={unit}", f"covariates={names}", *frozen, folder=folder)
        test = scores.filter(pl.col("part") == "test")
        areas.append(auroc(test["label"].to_numpy(), test["score"].to_numpy()))
    assert areas[0] < 0.9 < areas[1]


@pytest.mark.parametrize("unit", ["slice", "patient"])
def test_the_clinical_model_is_scikit_learns_on_standardised_values(trained, tmp_path, unit):
    missing = pl.when(pl.col("patient_key").is_in(["patient0", "patient7"])).then(None).otherwise(pl.col("position_mm"))
    folder = aged(tmp_path / "aged", covariate_crp=missing + pl.col("label"))
    scores, summary, experiment = trained(*CLINICAL, f"unit={unit}", "covariates=[age,crp]", folder=folder)
    data = experiment.data
    train, labels = data.known["train"].double().numpy(), data.bags["train"].labels
    middle, spread = np.nanmean(train, axis=0), np.nanstd(train, axis=0)

    def standard(values):
        return np.hstack([np.nan_to_num((values - middle) / spread), np.isnan(values)])

    model = LogisticRegression(tol=1e-8, max_iter=10_000).fit(standard(train), labels)
    expected = np.concatenate(
        [model.predict_proba(standard(data.known[part].double().numpy()))[:, 1] for part in ("val", "test")]
    )
    np.testing.assert_allclose(scores["score"], expected, atol=1e-5)
    assert summary["best_epoch"] == 0


def test_a_clinical_model_needs_something_to_look_at(fistula_here, tmp_path):
    write_cohort(tmp_path / "cohort")
    code, _, error = fistula_here("train", "cohort=cohort", *TINY_RUN[1:], "model=clinical")
    assert code == 2
    assert "model=clinical: must have covariates" in error


def test_a_clinical_model_has_no_other_network(fistula_here, tmp_path):
    write_cohort(tmp_path / "cohort")
    code, _, error = fistula_here("train", "cohort=cohort", *TINY_RUN, "model=clinical", "covariates=[age]")
    assert code == 2
    assert "model.architecture: must be clinical" in error


def test_pooling_and_head_begin_alike_with_covariates_and_without(compose_train, tmp_path):
    cohort = read_cohort(aged(tmp_path / "aged"))
    start = ("unit=patient", "pooling=attention", "learning=end_to_end")
    begun = []
    for names in ("[]", "[age]"):
        cfg = compose_train(*TINY_RUN, *start, f"covariates={names}", cohort=cohort.folder)
        begun.append(build(cfg, cohort, instantiate(cfg.split)(cohort.labelled)).classifier.pooling.state_dict())
    assert all(torch.equal(begun[0][name], begun[1][name]) for name in begun[0])


@pytest.mark.parametrize("network", [CLINICAL, ()])
def test_what_is_known_of_a_test_patient_changes_the_score_of_no_other(trained, tmp_path, network):
    """Means, deviations and coefficients come from the training set: a leak would move every score."""
    aged(tmp_path / "aged")
    other = pl.when(pl.col("patient_key") == "patient8").then(95.0).otherwise(pl.col("age"))
    scores = []
    for name, age in (("one", pl.col("age")), ("two", other)):
        folder = tmp_path / name
        shutil.copytree(tmp_path / "aged", folder)
        rewrite(folder, pl.read_parquet(folder / "manifest.parquet").with_columns(age=age))
        scores.append(trained(*network, "split=predefined", "covariates=[age]", folder=folder)[0])
    changed = (scores[0]["score"] - scores[1]["score"]).abs() > 0
    assert set(scores[0].filter(changed)["patient_key"]) == {"patient8"}
