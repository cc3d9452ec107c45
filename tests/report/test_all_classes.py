import json

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import cohen_kappa_score, confusion_matrix, roc_auc_score

from fistula.report.contents import Settings, compute
from fistula.report.study import read_study
from fistula.report.wording import say_p

from .conftest import write_study

GRADES = ("none", "simple", "complex")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return read_study(write_study(tmp_path_factory.mktemp("grades") / "study", classes=GRADES, patients=27))


@pytest.fixture(scope="module")
def contents(study):
    return compute(study, Settings(resamples=10))


def pooled(configuration, *, by_patient):
    """Test rows of all runs, per slice or, with the mean of the slices' scores, per patient."""
    tables = [run.predictions.filter(pl.col("part") == "test") for run in configuration.runs]
    table = pl.concat([table.with_columns(run=pl.lit(number)) for number, table in enumerate(tables)])
    scores = [pl.col(f"score_{name}").mean() for name in GRADES]
    return table.group_by("run", "patient_key").agg(pl.col("label").max(), *scores) if by_patient else table


def test_the_highest_macro_auroc_comes_first_and_is_that_of_scikit_learn_within_runs(contents):
    assert contents.primary == "patient"
    assert [one.configuration.name for one in contents.all_classes] == ["transfer", "end-to-end"]
    for one in contents.all_classes:
        rows = pooled(one.configuration, by_patient=True)
        shares = [f"score_{name}" for name in GRADES]
        # Every run tests as many patients of each class, so that pairs weigh alike.
        areas = [
            roc_auc_score(part["label"], part.select(shares).to_numpy(), multi_class="ovr", average="macro")
            for part in rows.partition_by("run")
        ]
        assert one.auroc.value == pytest.approx(np.mean(areas), abs=1e-9)
        assert one.auroc.low < one.auroc.value < one.auroc.high


def test_what_is_told_of_each_class_is_of_the_configuration_of_the_headline(tmp_path):
    """Though another has the higher AUROC for a class: to show that one would be to select once more."""
    folder = write_study(tmp_path / "study", classes=GRADES, patients=27)
    for path in folder.glob("*end_to_end*/predictions.parquet"):
        known = pl.when(pl.col("label") == 1).then(0.9).otherwise(0.1)
        pl.read_parquet(path).with_columns(score_simple=known).write_parquet(path)
    contents = compute(read_study(folder), Settings(resamples=10))
    assert contents.ranked("simple")[0].configuration is not contents.best
    assert {found.row.configuration.name for found in contents.further.values()} == {contents.best.name}
    assert {contents.shown(positive).configuration.name for positive in GRADES} == {contents.best.name}


@pytest.mark.parametrize("level", ["patient", "slice"])
def test_the_table_counts_units_of_the_primary_level(study, level):
    found = compute(study, Settings(resamples=10, primary=level)).all_classes[0]
    rows = pooled(found.configuration, by_patient=level == "patient")
    called = rows.select(f"score_{name}" for name in GRADES).to_numpy().argmax(axis=1)
    assert found.counts.tolist() == confusion_matrix(rows["label"], called).tolist()
    assert found.accuracy.value == pytest.approx((rows["label"].to_numpy() == called).mean())
    assert found.kappa is None


def test_grades_have_a_quadratic_kappa_and_the_answer_says_it(tmp_path):
    folder = write_study(tmp_path / "study", classes=GRADES, learnings=("transfer",), seeds=(0, 1))
    loss = {"loss._target_": "fistula.learning.losses.Ordinal"}
    for path in folder.glob("*/run.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"identity": record["identity"] | loss}))
    contents = compute(read_study(folder), Settings(resamples=10))
    found = contents.all_classes[0]
    rows = pooled(found.configuration, by_patient=True)
    called = rows.select(f"score_{name}" for name in GRADES).to_numpy().argmax(axis=1)
    expected = cohen_kappa_score(rows["label"], called, weights="quadratic")
    assert found.kappa.value == pytest.approx(expected, abs=1e-9)
    assert found.kappa.low < expected < found.kappa.high
    apart = float(np.abs(rows["label"].to_numpy() - np.asarray(called)).mean())
    assert found.error.value == pytest.approx(apart, abs=1e-9)
    assert 0 <= found.error.low < apart < found.error.high
    assert contents.answer[0] == (
        "In 30 test patients (10 none, 10 simple and 10 complex), "
        f"resnet18 had a per-patient macro AUROC of {found.auroc.value:.2f} "
        f"(95% CI {found.auroc.low:.2f} to {found.auroc.high:.2f}); it correctly classified "
        f"{found.counts.trace()} of 60 (30 patients, 2 seeds each), with a quadratically weighted kappa of "
        f"{expected:.2f} and a mean absolute error of {apart:.2f} grades; "
        "calling every patient none would be correct in 20."
    )


def test_a_class_that_nobody_in_the_test_set_has_is_named_and_the_others_are_judged(tmp_path):
    folder = write_study(tmp_path / "study", classes=GRADES, patients=27)
    for path in folder.glob("*/predictions.parquet"):
        table = pl.read_parquet(path)
        table.filter((pl.col("part") != "test") | (pl.col("label") != 2)).write_parquet(path)
    contents = compute(read_study(folder), Settings(resamples=10))
    assert contents.primary == "patient"
    best = contents.all_classes[0]
    assert contents.answer[0] == "The per-patient macro AUROC is undefined: no test patient is complex."
    right = [one.accuracy.value for one in contents.all_classes]
    assert right == sorted(right, reverse=True)
    assert contents.answer[1] == (
        f"Of 2 configurations, {best.configuration.name} was correct most often: it correctly classified"
        f" {best.counts.trace()} of 18 patients; calling every patient none would be correct in 9."
    )
    assert " for none (95% CI" in contents.answer[2]
    assert " for simple (95% CI" in contents.answer[2]
    assert "complex" not in contents.answer[2]
    assert not any("highest" in sentence for sentence in contents.answer)


def test_the_weight_of_one_patient_is_that_of_the_rarest_class(tmp_path):
    """Of 30 patients 10 are of each class, and of these two patients of the last one are tested."""
    folder = write_study(tmp_path / "study", classes=GRADES, learnings=("transfer",))
    rare = pl.col("patient_key").is_in(["patient2", "patient5"])
    for path in folder.glob("*/predictions.parquet"):
        table = pl.read_parquet(path)
        table.filter((pl.col("part") != "test") | (pl.col("label") != 2) | rare).write_parquet(path)
    said = compute(read_study(folder), Settings(resamples=10)).answer[-1]
    assert "a single patient accounts for 50 percentage points of sensitivity for complex;" in said


def test_two_classes_have_no_macro_auroc(study_folder):
    assert compute(read_study(study_folder), Settings(resamples=10)).all_classes == []


def test_configurations_are_compared_by_their_macro_auroc_and_the_answer_says_so(study, contents):
    found = contents.comparisons[0]
    (pair,) = found.pairs
    assert (found.positive, pair.first, pair.second) == ("all classes", "transfer", "end-to-end")
    first, second = contents.all_classes
    assert pair.tests["auroc"].difference.value == pytest.approx(first.auroc.value - second.auroc.value, abs=1e-12)
    assert pair.tests["accuracy"].difference.value == pytest.approx(first.accuracy.value - second.accuracy.value)
    tables = [pooled(one.configuration, by_patient=True).sort("run", "patient_key") for one in (first, second)]
    shares = [f"score_{name}" for name in GRADES]
    keys = tables[0]["patient_key"].unique().sort()

    def difference(left_out):
        areas = []
        for table in tables:
            parts = table.filter(pl.col("patient_key") != left_out).partition_by("run")
            each = np.array(
                [
                    [roc_auc_score(part["label"] == number, part[share]) for number, share in enumerate(shares)]
                    for part in parts
                ]
            )
            sick = np.array([[(part["label"] == number).sum() for number in range(3)] for part in parts])
            pairs = sick * (sick.sum(axis=1, keepdims=True) - sick)
            areas.append((each * pairs).sum(axis=0) / pairs.sum(axis=0))
        return float(np.mean(areas[0] - areas[1]))

    left_out = np.array([difference(key) for key in keys])
    error = np.sqrt(26 / 27 * np.sum((left_out - left_out.mean()) ** 2))
    assert pair.tests["auroc"].standard_error == pytest.approx(error, rel=1e-9)
    assert pair.holm["auroc"] == pair.tests["auroc"].p_value  # of one pair
    assert pair.equivalence in ("different", "inconclusive")
    assert found.effects == []  # of one factor, the pairs say it all
    verdict = "is significantly higher than" if pair.holm["auroc"] < 0.05 else "does not differ significantly from"
    told = say_p(pair.holm["auroc"])
    told = told if told.startswith("<") else f"= {told}"
    assert contents.answer[1] == f"Its macro AUROC {verdict} that of end-to-end (paired test, P {told})."


def test_macro_comparisons_of_several_are_adjusted_and_equal_configurations_are_equivalent(tmp_path):
    # Two that score nearly alike, and one that is worse.
    folder = write_study(tmp_path / "study", classes=GRADES, patients=27, learnings=("transfer", "twin", "worst"))
    random = np.random.default_rng(0)
    for path in folder.glob("*-transfer-*/predictions.parquet"):
        table = pl.read_parquet(path)
        other = path.parent.with_name(path.parent.name.replace("transfer", "twin")) / path.name
        moved = [
            (pl.col(f"score_{name}") + pl.Series(random.normal(0, 0.01, len(table)))).clip(0, 1) for name in GRADES
        ]
        table.with_columns(moved).write_parquet(other)
    contents = compute(read_study(folder), Settings(resamples=10, margin=0.05))
    found = {frozenset((pair.first, pair.second)): pair for pair in contents.comparisons[0].pairs}
    assert len(found) == 3
    assert found[frozenset(("transfer", "twin"))].equivalence == "equivalent"
    p_values = sorted(pair.tests["auroc"].p_value for pair in found.values())
    holm = sorted(pair.holm["auroc"] for pair in found.values())
    assert holm[0] == pytest.approx(min(1, 3 * p_values[0]))
    assert contents.comparisons[0].alpha == pytest.approx(0.05 / 3)
