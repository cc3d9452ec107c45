import json
import shutil

import numpy as np
import onnxruntime
import polars as pl
import pytest
import torch

import fistula
from fistula.cohort.manifest import manifest_fingerprint, read_cohort
from fistula.errors import ConfigError, DataError
from fistula.learning.building.judging import features_of, pool
from fistula.predict.exported.write import onnx_scorer
from fistula.predict.outside import score_cohort
from fistula.predict.runs.known import refuse_other_covariates
from fistula.predict.runs.model import load_run

from ..conftest import TINY_RUN


@pytest.fixture
def run_of_patients(study, fistula_here, tmp_path):
    """A run of the synthetic study's cohort that scores patients."""

    def train(pooling, *further):
        target = tmp_path / "patients"
        where = f"hydra.run.dir={target}"
        code, _, error = fistula_here(
            "train", f"cohort={study / 'cohort'}", *TINY_RUN, "unit=patient", pooling, *further, where
        )
        assert code == 0, error
        return target

    return train


@pytest.mark.parametrize("run", [("pooling=attention",), ("pooling=transformer", "head=locate")], ids=" ".join)
def test_the_score_of_a_patient_is_that_of_training_and_so_is_the_place(run_of_patients, phantom, run):
    predictor = fistula.load(run_of_patients(*run))
    found = predictor.predict(phantom)
    new = found.patients.select("patient_key", pl.col("score").alias("new"), "known")
    stored = predictor.runs[0].predictions.join(new, on="patient_key")
    assert len(stored) == len(predictor.runs[0].predictions)
    np.testing.assert_allclose(stored["new"], stored["score"], rtol=0, atol=1e-6)
    slices = pl.read_parquet(predictor.runs[0].folder / "slices.parquet").join(
        found.slices.select("slice_key", "weight", pl.col("score").alias("new")), on="slice_key", suffix="_new"
    )
    np.testing.assert_allclose(slices["new"], slices["score"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(slices["weight_new"], slices["weight"], rtol=0, atol=1e-6)
    assert set(found.patients["known"]) == {"trained on", "validated on", "tested on"}
    if len(run) == 1:
        assert found.places is None
        return
    # The place of a patient: the peak in the most suspicious of its slices, each seen alone.
    first = found.places.filter(pl.col("rank") == 1)
    assert sorted(first["patient_key"]) == sorted(found.patients["patient_key"])
    highest = found.slices.group_by("patient_key").agg(pl.col("score").max())
    assert first.join(highest, on=("patient_key", "score")).height == len(first)
    named = pl.read_parquet(predictor.runs[0].folder / "places.parquet").filter(pl.col("kind") == "opening")
    named = named.join(found.places, on="slice_key", suffix="_new")
    assert len(named) > 5
    np.testing.assert_allclose(named["grid_row"], named["row"], rtol=0, atol=1e-3)
    np.testing.assert_allclose(named["grid_col"], named["col"], rtol=0, atol=1e-3)


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


@pytest.mark.slow
@pytest.mark.parametrize(("pooling", "kind"), [("attention", "torchscript"), ("transformer", "onnx")])
def test_an_exported_network_scores_patients_of_any_number_of_slices(study, fistula_here, tmp_path, pooling, kind):
    target, said = tmp_path / "run", (f"pooling={pooling}", "unit=patient", "covariates=[age,sex]")
    where = f"hydra.run.dir={target}"
    code, _, error = fistula_here("train", f"cohort={study / 'cohort'}", *TINY_RUN, *said, where)
    assert code == 0, error
    code, _, error = fistula_here("export", f"run={target}", "out=model", f"format={kind}")
    assert code == 0, error
    record = json.loads((tmp_path / "model" / "export.json").read_text())
    assert record["parity"]["largest_difference"] < 1e-6
    assert (record["unit"], record["output"]["shape"], record["weights"]["shape"]) == ("patient", [1, 2], ["N"])
    assert record["covariates"]["names"] == ["age", "sex"]
    assert "all those of one patient" in (tmp_path / "model" / "MODEL_CARD.md").read_text()
    classifier, run = load_run(target).classifier, load_run(target)
    score = onnx_scorer(tmp_path / "model" / "model.onnx") if kind == "onnx" else None

    def beside(*given):
        """What the file says further, by the runtime alone."""
        if kind == "torchscript":
            return [
                found.numpy()
                for found in torch.jit.load(tmp_path / "model" / "model.pt")(*map(torch.from_numpy, given))[1:]
            ]
        session = onnxruntime.InferenceSession(str(tmp_path / "model" / "model.onnx"))
        return session.run(None, dict(zip((one.name for one in session.get_inputs()), given, strict=True)))[1:]

    for size in (1, 2, 9):
        rows, positions = np.arange(size), np.linspace(-20, 20, size).astype(np.float32)
        stated = np.array([[np.nan, 1.0]], np.float32)
        features, _ = features_of(classifier, run.images(rows))
        own, *further = pool(classifier, features, [size], torch.from_numpy(positions), torch.from_numpy(stated))
        given = np.asarray(run.cohort.pixels[rows]), positions, stated
        if score is None:
            found = torch.jit.load(tmp_path / "model" / "model.pt")(*map(torch.from_numpy, given))[0].numpy()
        else:
            found = score(*given)
        np.testing.assert_allclose(found, own.numpy(), rtol=0, atol=1e-6)
        for theirs, ours in zip(beside(*given), further, strict=True):  # weights, and slices by themselves
            np.testing.assert_allclose(theirs, ours.numpy(), rtol=0, atol=1e-6)


def test_covariates_that_no_header_states_come_from_a_table(study, fistula_here, phantom, tmp_path):
    target, folder = tmp_path / "run", tmp_path / "cohort"
    shutil.copytree(study / "cohort", folder, symlinks=False)
    manifest = pl.read_parquet(folder / "manifest.parquet")
    patients = sorted(set(manifest["patient_key"]))
    crp = {key: None if number % 5 == 0 else number * 1.5 for number, key in enumerate(patients)}
    column = manifest["patient_key"].replace_strict(crp, return_dtype=pl.Float64)
    manifest = manifest.with_columns(covariate_crp=column)
    manifest.write_parquet(folder / "manifest.parquet")
    record = json.loads((folder / "ingest.json").read_text())
    record |= {"fingerprint": manifest_fingerprint(manifest), "covariates": {"crp": []}}
    (folder / "ingest.json").write_text(json.dumps(record))
    where = f"hydra.run.dir={target}"
    code, _, error = fistula_here("train", f"cohort={folder}", *TINY_RUN, "unit=patient", "covariates=[crp]", where)
    assert code == 0, error
    predictor, table = fistula.load(target, device="cpu"), tmp_path / "crp.csv"
    with pytest.raises(ConfigError, match="needs covariates that no header states, found crp"):
        predictor.predict(phantom)
    shown = {key: "" if value is None else f"{value}" for key, value in crp.items()}
    table.write_text("\n".join(["patient_key,crp", *(f"{key},{value}" for key, value in shown.items())]))
    found = predictor.predict(phantom, covariates_table=table)
    stored = predictor.runs[0].predictions.join(found.patients.select("patient_key", new="score"), on="patient_key")
    assert len(stored) == len(predictor.runs[0].predictions)
    np.testing.assert_allclose(stored["new"], stored["score"], rtol=0, atol=1e-6)
    assert any("crp is unknown" in note for note in found.summary["notes"])
    table.write_text("patient_key,crp\nsomebody,3\n")
    with pytest.raises(DataError, match="must have a line for a patient of the images"):
        predictor.predict(phantom, covariates_table=table)
    with pytest.raises(DataError, match="must have the covariates that the study was trained on, found no crp"):
        refuse_other_covariates(predictor.runs[0], read_cohort(study / "cohort"))


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
