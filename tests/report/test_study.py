import json

import polars as pl
import pytest

from fistula.errors import DataError
from fistula.report.contents import Settings, compute
from fistula.report.study import read_study

RUN = "resnet18-transfer-patient_kfold-fold1-seed0"


def edit(folder, name=RUN, **changes):
    path = folder / name / "run.json"
    record = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in record.items() if value is not None}))


def test_runs_are_grouped_by_what_they_share(study_folder):
    study = read_study(study_folder)
    assert [(c.name, len(c.runs)) for c in study.configurations] == [("end-to-end", 3), ("transfer", 3)]
    assert [run.record["fold"] for run in study.configurations[0].runs] == [0, 1, 2]
    assert study.unfinished == []


def test_a_single_runs_folder_is_a_study_of_one(study_folder):
    run = study_folder / RUN
    (study_folder / "cohort").rename(run / "cohort")
    (study_folder / "split-patient_kfold.parquet").rename(run / "split-patient_kfold.parquet")
    study = read_study(run)
    assert [len(c.runs) for c in study.configurations] == [1]
    assert compute(study, Settings(resamples=20)).comparisons[0].pairs == []


def test_a_folder_of_single_runs_is_no_study(study_folder):
    first = min(study_folder.glob("*/run.json")).parent
    (study_folder / "cohort").rename(first / "cohort")
    with pytest.raises(DataError, match=r"one study, not a folder of single runs, found .* Name one of them: .*/"):
        read_study(study_folder)


@pytest.mark.parametrize("state", ["running", "failed", "killed"])
def test_an_unfinished_run_is_kept_apart(study_folder, state):
    edit(study_folder, state=state)
    study = read_study(study_folder)
    assert [run.folder.name for run in study.unfinished] == [RUN]
    assert sum(len(c.runs) for c in study.configurations) == 5


def test_a_study_without_a_finished_run_is_refused(study_folder):
    for path in study_folder.glob("resnet18-*"):
        edit(study_folder, path.name, state="failed")
    with pytest.raises(DataError, match=r"must hold a finished run, found .*fold0-seed0 \(failed\).* resumes it"):
        read_study(study_folder)


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(DataError, match="must hold a finished run, found no run"):
        read_study(tmp_path)


def test_what_is_no_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"is not a folder. Give the folder of a study"):
        read_study(tmp_path / "nowhere")


def test_a_run_of_a_study_is_no_study(study_folder):
    (study_folder / "cohort").mkdir(exist_ok=True)
    with pytest.raises(DataError, match=f"is a run of a study. Name the study: study={study_folder}"):
        read_study(study_folder / RUN)


def test_a_run_of_another_cohort_is_refused(study_folder):
    edit(study_folder, cohort_fingerprint="another")
    with pytest.raises(DataError, match=f"holds runs of another cohort, found {RUN}"):
        read_study(study_folder)


def test_an_incomplete_record_is_refused(study_folder):
    edit(study_folder, operating_point=None, seed=None)
    with pytest.raises(DataError, match=r"lacks operating_point, seed. Remove this run's folder and train it again"):
        read_study(study_folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda path: path.unlink(), "cannot be read", id="missing"),
        pytest.param(lambda path: path.write_text("PAR1"), "cannot be read", id="truncated"),
        pytest.param(
            lambda path: pl.read_parquet(path).drop("label").write_parquet(path), "lacks the columns label", id="label"
        ),
        pytest.param(
            lambda path: pl.read_parquet(path).drop("score").write_parquet(path), "lacks the column score", id="score"
        ),
        pytest.param(
            lambda path: pl.read_parquet(path).with_columns(score=float("nan")).write_parquet(path),
            "must hold a score from 0 to 1 for every test slice",
            id="NaN",
        ),
        pytest.param(
            lambda path: pl.read_parquet(path).with_columns(pl.col("score") * 4).write_parquet(path),
            "must hold a score from 0 to 1 for every test slice",
            id="logits",
        ),
        pytest.param(
            lambda path: pl.read_parquet(path).filter(pl.col("part") == "val").write_parquet(path),
            "must hold a score from 0 to 1 for every test slice",
            id="no test rows",
        ),
    ],
)
def test_damaged_predictions_are_refused(study_folder, damage, message):
    damage(study_folder / RUN / "predictions.parquet")
    with pytest.raises(DataError, match=message):
        compute(read_study(study_folder), Settings(resamples=20))


def test_a_split_allowed_to_leak_marks_its_configurations(study_folder):
    edit(study_folder, audit={"verdict": "leaks allowed by audit=warn", "is_marked": True, "split": "patient_kfold"})
    study = read_study(study_folder)
    assert [c.mark for c in study.configurations] == ["", "leaks allowed by audit=warn"]
    assert [certificate["split"] for certificate in study.certificates] == ["patient_kfold"]
