import json

import polars as pl
import pytest

from fistula.cohort.manifest import manifest_fingerprint
from fistula.predict.runs.model import load_run
from fistula.sweep.folder.run import short_name

from ..conftest import TINY, TINY_RUN, write_cohort
from ..learning.read_wandb import read_wandb

HERE = ("hydra/launcher=in_process",)  # a process for each run is the matter of tests/sweep
TINY_WANDB = tuple(override for override in TINY_RUN if not override.startswith("logger"))


@pytest.fixture
def cohort(tmp_path):
    return write_cohort(tmp_path / "cohort")


def test_a_run_leaves_all_that_a_later_stop_needs(fistula_here, cohort, tmp_path):
    code, shown, _ = fistula_here("train", f"cohort={cohort}", *TINY_RUN)
    assert code == 0
    (run,) = (tmp_path / "multirun" / "single").iterdir()
    assert run.name == "test_resnet-end_to_end-e1-none-fold0-seed0-batch_size=8-image_size=32-split=patient_holdout"
    assert {path.name for path in run.iterdir()} >= {
        "run.json",
        "config.yaml",
        "predictions.parquet",
        "history.csv",
        "best.ckpt",
        "cohort",
        "split-patient_holdout.parquet",
    }
    record = json.loads((run / "run.json").read_text())
    assert record["state"] == "done"
    assert record["factors"] == {
        "model": "test_resnet",
        "learning": "end_to_end",
        "epochs": 1,
        "augmentation": "none",
        "split": "patient_holdout",
        "labelling": "given",
        "unit": "slice",
        "head": "classify",
        "covariates": "images",
    }
    assert record["weights"] == "random initialization"
    assert shown.splitlines()[-1] == f"next: fistula report study={run.relative_to(tmp_path)}"


def test_a_run_learns_from_a_fraction_of_the_patients_and_knows_which(fistula_here, cohort, tmp_path):
    for fraction in ("0.5", "1"):
        override = f"split.train_fraction={fraction}"
        code, *_ = fistula_here("train", f"cohort={cohort}", *TINY_RUN, override, f"hydra.run.dir=run{fraction}")
        assert code == 0
    half, whole = (load_run(tmp_path / f"run{fraction}") for fraction in ("0.5", "1"))
    few, all_of_them = (set(run.learned["patient_key"]) for run in (half, whole))
    assert few < all_of_them
    assert (half.record["train_patients"], whole.record["train_patients"]) == (len(few), len(all_of_them))
    assert len(few) == pytest.approx(len(all_of_them) / 2, abs=1)
    assert half.record["split_fingerprint"] == whole.record["split_fingerprint"]  # so that their scores are compared
    assert half.predictions["slice_key"].equals(whole.predictions["slice_key"])


def test_the_same_command_again_trains_nothing(fistula_here, cohort, tmp_path):
    fistula_here("train", f"cohort={cohort}", *TINY_RUN, "hydra.run.dir=run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    code, shown, _ = fistula_here("train", f"cohort={cohort}", *TINY_RUN, "hydra.run.dir=run")
    assert code == 0
    assert "already done" in shown
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_another_configuration_in_the_same_folder_is_refused(fistula_here, cohort):
    fistula_here("train", f"cohort={cohort}", *TINY_RUN, "hydra.run.dir=run")
    code, _, error = fistula_here("train", f"cohort={cohort}", *TINY_RUN, "hydra.run.dir=run", "seed=4")
    assert code == 2
    assert "already holds another run" in error
    assert " seed: 0 there, 4 now" in error


@pytest.mark.slow
def test_a_sweep_has_one_wandb_run_for_each_run_with_all_that_describes_it(fistula_here, cohort, tmp_path):
    code, _, error = fistula_here(
        "train",
        "-m",
        f"cohort={cohort}",
        *TINY_WANDB,
        *HERE,
        "hydra.sweep.dir=study",
        "seed=0,1",
        "augmentation=none,color_jitter",
    )
    assert code == 0, error
    runs = sorted(path.parent for path in (tmp_path / "study").glob("*/run.json"))
    assert len(runs) == 4
    logs = [[read_wandb(path) for path in run.glob("wandb/offline-run-*/*.wandb")] for run in runs]
    assert [len(log) for log in logs] == [1, 1, 1, 1]
    for run, (log,) in zip(runs, logs, strict=True):
        record = json.loads((run / "run.json").read_text())
        assert log["exit"] == 0
        assert log["run"]["name"] == short_name(record["name"])  # fold and seed first: a list cuts names at their end
        assert log["run"]["group"] == "study"
        for key in ("seed", "cohort_fingerprint", "split_fingerprint", "fingerprint", "commit", "leaky_by_design"):
            assert log["config"][key] == record.get(key)
        assert log["config"]["optimizer"]["lr"] == 0.0003
        test = record["metrics"]["test"]["slice"]
        assert log["summary"]["test/slice/auroc"] == test["auroc"]["value"]
        assert log["summary"]["test/slice/sensitivity"] == test["sensitivity"]["value"]
        assert {name.partition(".")[0] for name in log["summary"]} >= {"test/roc", "test/confusion"}
        assert any("train/loss" in row for row in log["history"])
        table = next(run.glob("wandb/offline-run-*/files/media/table/test/confusion*.json"))
        rows = json.loads(table.read_text())["data"]
        assert sum(count for _, _, count in rows) == len(
            pl.read_parquet(run / "predictions.parquet").filter(pl.col("part") == "test")
        )


def test_a_study_lands_under_its_own_name_and_splits_do_not_share_a_folder(fistula_here, cohort, tmp_path):
    splits = "split=patient_holdout,image_holdout"
    code, _, error = fistula_here("train", "-m", f"cohort={cohort}", *TINY, *HERE, "trainer=cpu", "logger=csv", splits)
    assert code == 0, error
    runs = sorted(path.parent.name for path in (tmp_path / "multirun" / "single").glob("*/run.json"))
    assert [name.rpartition("-")[2] for name in runs] == ["split=image_holdout", "split=patient_holdout"]


def test_an_unknown_rule_for_patients_is_refused_before_anything_is_read(fistula_here, tmp_path):
    code, _, error = fistula_here("train", "cohort=nowhere", *TINY_RUN, "aggregation=median")
    assert code == 2
    assert "aggregation: must be one of mean, max, top_k, noisy_or, found median" in error


def test_a_failing_run_does_not_stop_the_others_and_is_recorded(fistula_here, cohort, tmp_path):
    rates = ("optimizer=sgd", "optimizer.lr=1e30,0.01")
    sweep = ("train", "-m", f"cohort={cohort}", *TINY_RUN, *HERE, "hydra.sweep.dir=study")
    code, _, error = fistula_here(*sweep, *rates)
    assert error == (
        "error: study: 1 of 2 runs failed. `fistula status study=study` shows why; "
        "repeating the command trains only these\n"
    )
    assert code == 2
    states = {path.parent.name: json.loads(path.read_text()) for path in (tmp_path / "study").glob("*/run.json")}
    assert sorted(record["state"] for record in states.values()) == ["done", "failed"]
    failed = next(record for record in states.values() if record["state"] == "failed")
    assert "the loss must be finite" in failed["error"]


@pytest.mark.slow
def test_a_failed_wandb_run_ends_with_its_exit_code(fistula_here, cohort, tmp_path):
    code, _, error = fistula_here(
        "train", f"cohort={cohort}", *TINY_WANDB, "hydra.run.dir=run", "optimizer=sgd", "optimizer.lr=1e30"
    )
    assert code == 2
    assert "the loss must be finite" in error
    (log,) = (tmp_path / "run").glob("wandb/offline-run-*/*.wandb")
    assert read_wandb(log)["exit"] == 1


def leaky_cohort(path):
    """A cohort whose table of labels puts one patient on both sides."""
    folder = write_cohort(path)
    manifest = pl.read_parquet(folder / "manifest.parquet")
    first = manifest["patient_key"] == "patient0"
    parts = pl.Series(["test" if n == 0 else part for n, part in enumerate(manifest["split"])])
    assert first[0]
    manifest = manifest.with_columns(split=parts)
    manifest.write_parquet(folder / "manifest.parquet")
    record = json.loads((folder / "ingest.json").read_text()) | {"fingerprint": manifest_fingerprint(manifest)}
    (folder / "ingest.json").write_text(json.dumps(record))
    return folder


def test_a_leak_stops_the_run_with_exit_code_3_unless_it_is_allowed_and_then_it_is_marked(fistula_here, tmp_path):
    command = [
        "train",
        f"cohort={leaky_cohort(tmp_path / 'leaky')}",
        *TINY_RUN,
        "split=predefined",
        "hydra.run.dir=run",
    ]
    code, _, error = fistula_here(*command)
    assert code == 3
    assert "no patient, slice or copy of one may be in two sets" in error
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["audit-predefined.json"]
    assert fistula_here(*command, "audit=warn")[0] == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["audit"]["verdict"] == "leaks allowed by audit=warn"
    assert record["audit"]["is_marked"]


def test_a_split_that_is_leaky_by_design_runs_and_is_marked(fistula_here, cohort, tmp_path):
    code, _, error = fistula_here("train", f"cohort={cohort}", *TINY_RUN, "split=image_holdout", "hydra.run.dir=run")
    assert code == 0, error
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["leaky_by_design"]
    assert record["audit"]["verdict"] == "leaky by design"
    assert record["audit"]["checks"]["patient"]["leaks"] > 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param(
            ["study=paper"], r"study=paper: is a sweep of several runs\. Add -m: fistula train -m", id="no -m"
        ),
        pytest.param(["seed=one"], r"seed: must be a whole number, found one", id="a word for a number"),
        pytest.param(
            ["trainer.max_epochs=x"], r"trainer.max_epochs: must be a whole number, found x", id="one for Lightning"
        ),
        pytest.param(["optimizer.lr=high"], r"optimizer.lr: must be a number, found high", id="a word in a group"),
        pytest.param(["epochs=0"], r"epochs: must be at least 1 and at most 100000, found 0", id="no epochs"),
        pytest.param(["cohort=nowhere"], r"is not a cohort folder: it has no manifest", id="not a cohort"),
        pytest.param(["model.architecture=resnt18"], r"Did you mean .*resnet18", id="an unknown network"),
        pytest.param(["model=resnet18x"], r"model=resnet18x: is not one .*mean resnet18", id="an unknown option"),
        pytest.param(["split=patient_kfold", "split.folds=11"], r"split.folds=11 needs as many patients", id="folds"),
        pytest.param(["split=patient_kfold", "split.fold=5"], r"split.fold: must lie in 0 to 4", id="a fold too far"),
        pytest.param(["pooling=max"], r"pooling: is for unit=patient: .*found Maximum", id="nothing to pool"),
        pytest.param(["slice_weight=1"], r"slice_weight: is for unit=patient", id="no loss beside a slice's"),
        pytest.param(["unit=patient", "aggregation=max"], r"aggregation: is for unit=slice", id="one score a patient"),
        pytest.param(["unit=patient", "split=image_holdout"], r"patients in several sets\. Use", id="a torn patient"),
        pytest.param(["learning=transfer"], r"weights .* not on this machine", id="weights that are not here"),
    ],
)
def test_a_mistake_is_one_line_exit_code_2_and_leaves_nothing(fistula_here, cohort, tmp_path, overrides, message):
    import re

    code, _, error = fistula_here("train", f"cohort={cohort}", *TINY_RUN, *overrides)
    assert code == 2
    assert re.search(message, error), error
    assert len(error.strip().splitlines()) == 1, error
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]
