"""Every kind of study before patients whom it never saw: by command, in the report, and verified."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from omegaconf import OmegaConf
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from fistula.cli import config_folder, run_command
from fistula.cohort.manifest import read_cohort
from fistula.report.external.cohorts import ensemble_rows, external_rows, read_externals
from fistula.report.readers.aid import aid_of
from fistula.report.study import read_study

from ..conftest import TRAIN
from ..learning.read_wandb import read_wandb

pytestmark = pytest.mark.slow


@pytest.fixture
def outside(fistula_here, made, tmp_path, monkeypatch):
    """Train a study, evaluate it on another cohort, report and verify it."""
    monkeypatch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(made / "key"))

    def run(own, other, *settings, before_report=lambda study: None):
        train = ["-m", f"cohort={own}", *TRAIN, *settings, "hydra/launcher=in_process"]
        run_command("train", [*train, f"hydra.sweep.dir={tmp_path / 'study'}"])
        study = tmp_path / "study"
        code, shown, error = fistula_here("evaluate", f"run={study}", f"cohort={other}", "name=hospital")
        assert code == 0, error
        before_report(study)
        code, _, error = fistula_here("report", f"study={study}", "resamples=20", "maps=none", "prevalence=0.1")
        assert code == 0, error
        assert fistula_here("report", f"study={study}", "verify=true")[0] == 0
        folder = study / "external" / "hospital"
        kept = json.loads((folder / "evaluate.json").read_text())["numbers"]
        reported = json.loads((study / "report" / "report.json").read_text())["numbers"]
        assert {name: reported[name]["value"] for name in kept} == {name: one["value"] for name, one in kept.items()}
        return folder, kept, (study / "report" / "index.html").read_text(), shown

    return run


def mean_of_runs(folder, score="score"):
    """Labels and the ensemble's scores, by unit."""
    table = pl.read_parquet(folder / "predictions.parquet")
    unit = pl.coalesce("slice_key", "patient_key").alias("unit")
    return table.group_by(unit, maintain_order=True).agg(pl.col("label").first(), pl.col(score).mean().alias("score"))


def test_patients_with_covariates(outside, made, other):
    settings = ("unit=patient", "pooling=attention", "covariates=[age,sex]")

    def tell_wandb(study):
        logger = OmegaConf.load(config_folder() / "logger" / "wandb.yaml")
        logger.wandb.update(name="run", group="study", tags=[], save_dir=str(study / "run"), mode="offline")
        for path in study.glob("*/config.yaml"):
            OmegaConf.save(OmegaConf.merge(OmegaConf.load(path), {"logger": logger}), path)

    folder, numbers, page, _ = outside(made / "cohort", other, *settings, before_report=tell_wandb)
    patients = mean_of_runs(folder)
    assert len(patients) == 16  # all have one label each
    place = "outside / hospital / fistula / patient"
    area = roc_auc_score(patients["label"], patients["score"])
    assert numbers[f"{place} / auroc"]["value"] == pytest.approx(area, rel=1e-12)
    # Positive where scores lie above the runs' own thresholds of patients on average; counts stand on the page.
    study = folder.parents[1]
    points = [json.loads(path.read_text())["patient_operating_point"] for path in study.glob("*/run.json")]
    called = (patients["score"] >= np.mean([point["threshold"] for point in points])).to_numpy()
    sick = (patients["label"] == 1).to_numpy()
    assert numbers[f"{place} / sensitivity"]["value"] == pytest.approx(called[sick].mean())
    assert numbers[f"{place} / specificity"]["value"] == pytest.approx((~called[~sick]).mean())
    assert f"{called[sick].sum()}/{sick.sum()}" in page
    # At another prevalence than the cohort's, by Bayes.
    reported = json.loads((study / "report" / "report.json").read_text())["numbers"]
    hits, false = 0.1 * called[sick].mean(), 0.9 * called[~sick].mean()
    assert reported[f"{place} / positive_predictive_value"]["value"] == pytest.approx(hits / (hits + false))
    assert "At a prevalence of 10%, the ensemble" in page
    assert "Both decision curves are at the prevalence of 0.1, to which the log odds of the probabilities were" in page
    # Calibration in the large: what has to be added to the logits so that the mean is the observed share.
    (external,) = read_externals(read_study(study))
    rows = external_rows(read_study(study), external, "fistula", level="patient", scaling="platt")
    chances = ensemble_rows(rows)["calibrated"].to_numpy()
    assert numbers[f"{place} / mean probability"]["value"] == pytest.approx(chances.mean())
    assert numbers[f"{place} / observed share"]["value"] == 0.5
    moved = expit(logit(chances) + numbers[f"{place} / calibration intercept"]["value"])
    assert moved.mean() == pytest.approx(0.5, abs=1e-6)
    # What `fistula predict` would answer, against the labels.
    told = pl.read_parquet(folder / "patients.parquet").sort("patient_key")
    truth = np.array(["normal", "fistula"])[patients.sort("unit")["label"].to_numpy()]
    assert told["patient_key"].equals(patients.sort("unit")["unit"], check_names=False)
    assert numbers[f"{place} / answers, abstained"]["value"] == (told["answer"] == "abstain").sum()
    assert numbers[f"{place} / answers, right"]["value"] == (told["answer"].to_numpy() == truth).sum()
    covered = [name in possible.split("|") for name, possible in zip(truth, told["possible"], strict=True)]
    assert numbers[f"{place} / answers, covered"]["value"] == sum(covered)
    # Who reads these patients with the study sees a bar for each slice, though patients alone have scores.
    _, aids = aid_of(read_study(study))
    alone = pl.read_parquet(folder / "slices.parquet").group_by("patient_key").agg(pl.col("slice_key").n_unique())
    assert {key: len(one["slices"]) for key, one in aids["hospital"].items()} == dict(alone.iter_rows())
    # W&B has the table, the difference and the calibration among it.
    (log,) = study.glob("wandb/offline-run-*/*.wandb")
    told = read_wandb(log)
    assert told["exit"] == 0
    (table,) = Path(log.parent).glob("files/media/table/outside*.json")
    told = json.loads(table.read_text())
    line = dict(zip(told["columns"], told["data"][0], strict=True))
    assert (line["cohort"], line["count"], line["positives"]) == ("hospital", 16, 8)
    for name in ("auroc", "auroc internal minus external", "calibration intercept", "brier"):
        value = numbers[f"{place} / {name}"]["value"]
        assert line[name.replace(" ", "_")] == pytest.approx(value)


def test_places_and_neighbours(outside, made, other):
    folder, _, page, _ = outside(made / "cohort", other, "head=locate", "model.channels=adjacent", "epochs=2")
    places = pl.read_parquet(folder / "places.parquet").filter(pl.col("kind") == "opening")
    known = places.drop_nulls("row_true")
    assert len(known) == 16  # two slices of each of eight patients
    far = ((known["row"] - known["row_true"]) ** 2 + (known["col"] - known["col_true"]) ** 2).sqrt()
    near = (far * known["mm_per_pixel"] <= 5).mean()
    reported = json.loads((folder.parents[1] / "report" / "report.json").read_text())["numbers"]
    said = [one["value"] for name, one in reported.items() if "hospital" in name and name.endswith("/ near")]
    assert said == [pytest.approx(near)]
    assert "Localization of the finding. Internal" in page
    assert len(mean_of_runs(folder)) == len(
        read_cohort(other).labelled
    )  # neighbours are looked at, and every labelled slice is scored
