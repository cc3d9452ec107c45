"""Where the finding is, as a run stored it, as a new reading has it, and as an exported model has it."""

import highdicom.sr
import numpy as np
import polars as pl
import pytest
import torch

import fistula
from fistula.evidence.places.clock import clock_hours
from fistula.predict.exported.write import export, onnx_scorer
from fistula.predict.outside import score_cohort
from fistula.predict.places import MOST, ON_GRID, SCHEMA, places_of, say_clock
from fistula.predict.runs.model import load_run
from fistula.predict.source import reading
from fistula.source.workers import Workers

from ..conftest import TRAIN, run_command

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def located(made, tmp_path_factory):
    """A run that finds places, two epochs old."""
    out = tmp_path_factory.mktemp("located") / "run"
    alone = [one for one in TRAIN if not one.startswith("split.fold=")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(made / "key"))
        patch.setattr("sys.argv", ["fistula"])
        patch.chdir(made)
        run_command("train", ["cohort=cohort", *alone, "split.fold=0", "head=locate", "epochs=2", f"output_dir={out}"])
    return out


def test_the_place_in_a_new_image_is_the_one_that_training_stored(located, study, phantom):
    predictor = fistula.load(located)
    with reading(phantom, predictor.reader, Workers(1)) as slices:
        prediction = predictor.judge(slices)
        *_, marks = predictor.scored(slices)
        grid = predictor.reader.plan.grid
        again = places_of(
            slices, prediction.slices, prediction.patients, marks, run=predictor.runs[0], spacing_mm=grid.spacing_mm
        )
    assert prediction.places.equals(again)
    keys = pl.DataFrame({"slice_key": slices.table["slice_key"]})
    stored = pl.read_parquet(located / "places.parquet")
    for number, kind in enumerate(("opening", "canal")):
        row, column, peak = marks[:, number].double().numpy().T
        new = keys.with_columns(pl.Series("new_row", row), pl.Series("new_col", column), pl.Series("new_peak", peak))
        both = stored.filter(pl.col("kind") == kind).join(new, on="slice_key").drop_nulls(["row"])
        assert len(both) > 10
        for name in ("row", "col", "peak"):
            np.testing.assert_allclose(both[f"new_{name}"], both[name], atol=1e-3)


def test_the_most_suspicious_slices_of_a_patient_stand_in_the_source_images_pixels(located, study, phantom):
    found = fistula.load(located).predict(phantom)
    places = found.places
    assert places.columns == [*SCHEMA, *ON_GRID]
    for (key,), own in places.group_by("patient_key"):
        best = found.slices.filter(pl.col("patient_key") == key)["score"].sort(descending=True)[:MOST]
        assert own["rank"].to_list() == list(range(1, len(own) + 1))
        assert own["score"].to_list() == best.to_list()
    both = places.join(pl.read_csv(phantom / "labels.csv"), left_on="instance_uid", right_on="sop_instance_uid")
    assert len(both) == len(places)
    # A phantom's canal hardly moves: its source pixels are found only if the way back from the grid is right.
    hours = clock_hours(places.select("row", "col").to_numpy(), places.select("canal_row", "canal_col").to_numpy())
    off = np.abs((places["clock"].fill_null(float("nan")).to_numpy() - hours + 6) % 12 - 6)
    assert np.nanmax(off) < 0.1


def test_an_abstained_patient_and_a_quiet_slice_are_marked_so(located, study, phantom):
    found = fistula.load(located, error=0.01).predict(phantom)  # too few patients for so small an error
    assert set(found.patients["answer"]) == {"abstain"}
    assert found.places["remarks"].str.contains("abstain").all()
    quiet = found.slices.filter(pl.col("decision") == "normal")["slice_key"].to_list()
    is_quiet = found.places["slice_key"].is_in(quiet)
    assert (found.places["remarks"].str.contains("below the threshold") == is_quiet).all()


def test_runs_that_find_no_places_say_none(run_folders, one_patient):
    assert fistula.load(run_folders[0]).predict(one_patient).places is None


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_an_exported_model_gives_score_and_place(located, study, tmp_path, kind):
    run = load_run(located)
    exported = export([run], tmp_path, kind=kind)
    order = {key: row for row, key in enumerate(run.cohort.manifest["slice_key"])}
    stored = pl.read_parquet(located / "places.parquet").filter(pl.col("kind") == "opening")
    pixels = np.asarray(run.cohort.pixels[[order[key] for key in stored["slice_key"]]])
    path = tmp_path / exported.name
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        scores, places = session.run(None, {"slices": pixels})
        np.testing.assert_array_equal(onnx_scorer(path)(pixels), scores)
    else:
        scores, places = (found.detach().numpy() for found in torch.jit.load(path)(torch.from_numpy(pixels)))
    np.testing.assert_allclose(scores[:, 1], run.predictions["score"], rtol=0, atol=1e-5)
    there = stored["row"].is_not_null().to_numpy()
    for number, name in enumerate(("row", "col", "peak")):
        np.testing.assert_allclose(places[there, 0, number], stored[name].to_numpy()[there], atol=1e-2)


def test_a_clock_position_is_said_in_whole_hours():
    assert [say_clock(hour) for hour in (12.0, 0.4, 11.6, 6.2, None)] == [
        "12 o'clock", "12 o'clock", "12 o'clock", "6 o'clock", "",
    ]  # fmt: skip


def test_the_objects_of_a_series_have_its_places(located, study, one_patient, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["fistula"])
    run_command("predict", [f"run={located}", f"source={one_patient}", "out=out", "dicom=true", "workers.count=1"])
    places = pl.read_csv(tmp_path / "out" / "places.csv")
    names = sorted(path.name for path in (tmp_path / "out" / "dicom").iterdir())
    assert names[:-1] == sorted(f"overlay-{key}.dcm" for key in places["slice_key"])
    report = highdicom.sr.srread(tmp_path / "out" / "dicom" / names[-1])
    flat = report.content.get_planar_roi_measurement_groups()[::2]
    told = [(one.roi.ContentSequence[0].referenced_sop_instance_uid, one.roi.value[0].tolist()) for one in flat]
    expected = places.select("instance_uid", pl.concat_list(pl.col("col") + 0.5, pl.col("row") + 0.5))
    for (uid, point), (wanted, at) in zip(told, expected.iter_rows(), strict=True):
        assert uid == wanted
        assert point == pytest.approx(at, abs=1e-3)
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count('<th scope="row"><button type=') == len(places)


def test_an_external_cohort_is_scored_by_runs_that_find_places(located, study):
    predictor = fistula.load(located)
    cohort = predictor.runs[0].cohort
    stored = predictor.runs[0].predictions
    found = score_cohort(predictor, cohort, stored["patient_key"].unique().to_list())
    both = stored.join(found.predictions.select("slice_key", new="score"), on="slice_key")
    assert len(both) == len(stored)
    np.testing.assert_allclose(both["new"], both["score"], rtol=0, atol=1e-6)
    own = pl.read_parquet(located / "places.parquet")
    both = own.join(found.places, on=("slice_key", "kind"), suffix="_new", nulls_equal=True)
    assert len(both) == len(own)
    for name in ("row", "col", "peak", "row_true", "col_true", "mm_per_pixel"):
        wanted, new = (both[column].cast(pl.Float64).to_numpy() for column in (name, f"{name}_new"))
        np.testing.assert_allclose(new, wanted, atol=1e-3)
