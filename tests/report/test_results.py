import json
import re
import shutil
from itertools import combinations
from math import isnan

import numpy as np
import polars as pl
import pytest
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    recall_score,
    roc_auc_score,
)

from fistula.evidence.design.compare import Comparison
from fistula.evidence.design.verdict import judge_equivalence
from fistula.evidence.estimate import Estimate
from fistula.evidence.operating_point import youden
from fistula.learning.training.results import summarize
from fistula.report.contents import Settings, compute
from fistula.report.numbers import numbers_of
from fistula.report.page import write_report
from fistula.report.sections.comparisons import correct
from fistula.report.study import read_study

from .conftest import STRENGTH, write_study

SETTINGS = Settings(resamples=50)


def stored(folder, learning, seed=0):
    """The test rows of a configuration, straight from its files."""
    tables = []
    for path in sorted(folder.glob(f"resnet18-{learning}-*-seed{seed}")):
        record = json.loads((path / "run.json").read_text())
        threshold, of_patients = (record[key]["threshold"] for key in ("operating_point", "patient_operating_point"))
        test = pl.read_parquet(path / "predictions.parquet").filter(pl.col("part") == "test")
        tables.append(test.with_columns(called=pl.col("score") >= threshold, threshold=pl.lit(of_patients)))
    return pl.concat(tables)


def within_runs(rows, judge, by="fold"):
    """The mean of a number over runs, each weighing its pairs of a positive and a negative row."""
    parts = [part for _, part in rows.group_by(by) if part["label"].n_unique() == 2]
    pairs = [part["label"].sum() * (len(part) - part["label"].sum()) for part in parts]
    return np.average([judge(part["label"], part["score"]) for part in parts], weights=pairs)


def row_of(contents, name, level, positive=None):
    return next(
        row
        for row in contents.rows
        if row.configuration.name == name and row.level == level and positive in (None, row.positive)
    )


def test_slice_numbers_are_those_of_scikit_learn(study_folder):
    contents = compute(read_study(study_folder), SETTINGS)
    for learning, name in (("transfer", "transfer"), ("end_to_end", "end-to-end")):
        rows, row = stored(study_folder, learning), row_of(contents, name, "slice")
        values = {metric: estimate.value for metric, estimate in (row.estimates | row.more).items()}
        assert values["auroc"] == pytest.approx(within_runs(rows, roc_auc_score))
        assert values["sensitivity"] == pytest.approx(recall_score(rows["label"], rows["called"]))
        assert values["specificity"] == pytest.approx(recall_score(rows["label"], rows["called"], pos_label=0))
        assert values["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(rows["label"], rows["called"]))
        assert values["average_precision"] == pytest.approx(within_runs(rows, average_precision_score))
        assert values["f1"] == pytest.approx(f1_score(rows["label"], rows["called"]))
        assert row.calibration["raw"]["brier"] == pytest.approx(brier_score_loss(rows["label"], rows["score"]))
        assert row.num == (90, 45)


def test_patient_numbers_are_of_mean_scores_at_the_threshold_of_the_runs_patients(study_folder):
    row = row_of(compute(read_study(study_folder), SETTINGS), "transfer", "patient")
    patients = (
        stored(study_folder, "transfer")
        .group_by("patient_key")
        .agg(pl.col("label").max(), pl.col("score").mean(), pl.col("threshold").first(), pl.col("fold").first())
    )
    called = patients["score"] >= patients["threshold"]
    assert row.estimates["auroc"].value == pytest.approx(within_runs(patients, roc_auc_score))
    assert row.estimates["sensitivity"].value == pytest.approx(recall_score(patients["label"], called))
    assert row.num == (30, 15)


@pytest.mark.parametrize("rule", ["max", "noisy_or", "top_k"])
def test_patients_are_scored_by_the_rule_of_their_run(tmp_path, rule):
    row = row_of(
        compute(read_study(write_study(tmp_path / "study", aggregation=rule)), SETTINGS), "transfer", "patient"
    )
    score = pl.col("score")
    by_hand = {
        "max": score.max(),
        "noisy_or": (1 - (1 - score).product()).alias("score"),
        "top_k": score.top_k(3).mean(),
    }[rule]
    patients = (
        stored(tmp_path / "study", "transfer")
        .group_by("patient_key")
        .agg(pl.col("label").max(), by_hand, pl.col("threshold").first(), pl.col("fold").first())
    )
    rounded = patients.with_columns(pl.col("score").round(12))
    called = patients["score"] >= patients["threshold"] - 1e-12
    assert row.estimates["auroc"].value == pytest.approx(within_runs(rounded, roc_auc_score))
    assert row.estimates["sensitivity"].value == pytest.approx(recall_score(patients["label"], called))
    assert row.estimates["specificity"].value == pytest.approx(recall_score(patients["label"], called, pos_label=0))


def test_the_rules_that_runs_chose_are_counted(tmp_path):
    other = {"resnet18-transfer-patient_kfold-fold1-seed0": {"aggregation": "noisy_or"}}
    contents = compute(read_study(write_study(tmp_path / "study", changes=other)), SETTINGS)
    assert row_of(contents, "transfer", "patient").aggregation == "mean in 2, noisy-or in 1 of 3 runs"
    assert row_of(contents, "end-to-end", "patient").aggregation == "mean"
    assert row_of(contents, "transfer", "slice").aggregation == ""


def test_one_run_has_the_numbers_of_its_own_record(tmp_path):
    folder = write_study(tmp_path / "study", learnings=("transfer",), folds=3)
    for other in ("fold1", "fold2"):
        path = folder / f"resnet18-transfer-patient_kfold-{other}-seed0" / "run.json"
        path.write_text(path.read_text().replace('"done"', '"failed"'))
    run = folder / "resnet18-transfer-patient_kfold-fold0-seed0"
    predictions = pl.read_parquet(run / "predictions.parquet")

    summary = summarize(predictions, classes=["normal", "fistula"], choose_threshold=youden, aggregation="mean")
    metrics = summary["metrics"]["test"]
    contents = compute(read_study(folder), Settings())
    for level in ("slice", "patient"):
        for metric, estimate in contents.rows_of("fistula", level)[0].estimates.items():
            of_run = metrics[level][metric]
            ours = [None if isnan(x) else pytest.approx(x) for x in (estimate.value, estimate.low, estimate.high)]
            assert [of_run["value"], of_run["low"], of_run["high"]] == ours, (level, metric)


@pytest.mark.parametrize(("scaling", "is_proportional"), [("temperature", True), ("platt", False)])
def test_temperature_scales_logits_by_one_factor_a_run_and_platt_shifts_them_too(
    study_folder, scaling, is_proportional
):
    settings = Settings(resamples=50, scaling=scaling)
    rows = row_of(compute(read_study(study_folder), settings), "transfer", "slice").rows
    for _, run in rows.group_by("run"):
        factor = logit(run["calibrated"].to_numpy()) / logit(run["score"].to_numpy())
        assert np.allclose(factor, factor[0], rtol=1e-6) == is_proportional


def test_several_classes_are_each_held_against_the_rest(tmp_path):
    folder = write_study(tmp_path / "study", patients=36, classes=("a", "b", "c"))
    contents = compute(read_study(folder), SETTINGS)
    assert {(row.positive, row.level) for row in contents.rows} == {
        (c, level) for c in "abc" for level in ("slice", "patient")
    }
    tables = [
        pl.read_parquet(path)
        .filter(pl.col("part") == "test")
        .with_columns(score=pl.col("score_b"), label=(pl.col("label") == 1).cast(pl.Int64))
        for path in sorted(folder.glob("resnet18-transfer-*/predictions.parquet"))
    ]
    rows = pl.concat(tables)
    expected = within_runs(rows, roc_auc_score)
    assert row_of(contents, "transfer", "slice", "b").estimates["auroc"].value == pytest.approx(expected)


def test_seeds_repeat_patients_and_do_not_add_any(tmp_path):
    folder = write_study(tmp_path / "study", seeds=(0, 1, 2))
    contents = compute(read_study(folder), SETTINGS)
    row = row_of(contents, "transfer", "patient")
    assert row.num == (30, 15)
    assert len(row.rows) == 90
    spread = contents.comparisons[0].spreads["transfer"]
    areas = [within_runs(part, roc_auc_score) for _, part in row.rows.group_by("seed", maintain_order=True)]
    assert spread.seed.value == pytest.approx(np.std(areas, ddof=1))


def test_a_missing_class_on_test_is_undefined_with_its_reason(study_folder):
    for path in study_folder.glob("resnet18-transfer-*/predictions.parquet"):
        table = pl.read_parquet(path)
        table.filter((pl.col("part") == "val") | (pl.col("label") == 1)).write_parquet(path)
    contents = compute(read_study(study_folder), SETTINGS)
    row = row_of(contents, "transfer", "slice")
    assert f"{row.estimates['auroc']}" == "n/a: no negatives"
    assert f"{row.estimates['specificity']}" == "n/a: no negatives"


def test_a_pair_is_tested_at_the_primary_level(study_folder):
    for level in ("patient", "slice"):
        contents = compute(read_study(study_folder), Settings(resamples=50, primary=level))
        pair = contents.comparisons[0].pairs[0]
        first, second = (row_of(contents, name, level) for name in (pair.first, pair.second))
        for measure in ("auroc", "sensitivity", "specificity"):
            expected = first.estimates[measure].value - second.estimates[measure].value
            assert pair.tests[measure].difference.value == pytest.approx(expected)


def test_a_network_of_patients_is_paired_with_the_mean_of_slices_on_the_same_folds(study_folder):
    """One score per patient that is the mean of a slice network's is that network: the pair stays as it was."""
    (before,) = compute(read_study(study_folder), SETTINGS).comparisons[0].pairs
    for path in study_folder.glob("*-end_to_end-*/predictions.parquet"):
        pl.read_parquet(path).with_columns(weight=pl.lit(0.5)).write_parquet(path.with_name("slices.parquet"))
        rows = pl.read_parquet(path).group_by("patient_key", maintain_order=True)
        whole = rows.agg(pl.all().exclude("score").first(), pl.col("score").mean())
        whole.with_columns(slice_key=pl.lit(None, pl.String)).write_parquet(path)
        record = json.loads(path.with_name("run.json").read_text())
        threshold = record["patient_operating_point"]
        path.with_name("run.json").write_text(json.dumps(record | {"operating_point": threshold}))
    (after,) = compute(read_study(study_folder), SETTINGS).comparisons[0].pairs
    for measure in ("auroc", "sensitivity", "specificity"):
        one, other = before.tests[measure], after.tests[measure]
        np.testing.assert_allclose(
            [one.p_value, one.difference.value, one.difference.low, one.difference.high],
            [other.p_value, other.difference.value, other.difference.low, other.difference.high],
        )
    assert after.tests["auroc"].difference.low < after.tests["auroc"].difference.value != 0


def test_patients_are_primary_where_both_classes_have_some_and_slices_otherwise(tmp_path):
    assert compute(read_study(write_study(tmp_path / "study")), SETTINGS).primary == "patient"
    folder = write_study(tmp_path / "paper")
    for path in folder.glob("*/predictions.parquet"):
        table = pl.read_parquet(path)
        # As in the paper: every patient has slices with a finding and slices without.
        label = (pl.int_range(pl.len()) % 2).cast(pl.Int64)
        table.with_columns(label=label.over("patient_key")).write_parquet(path)
    contents = compute(read_study(folder), SETTINGS)
    assert contents.primary == "slice"
    assert "the highest per-slice AUROC" in contents.answer[0]
    assert compute(read_study(folder), Settings(resamples=50, primary="patient")).primary == "patient"


def test_main_effects_are_given_where_two_factors_vary_and_hold_at_once(tmp_path):
    """Of one factor the pairs say it all; of two, each effect of a balanced design is the mean of its pairs."""
    folder = write_study(tmp_path / "study", learnings=("transfer", "end_to_end"))
    assert compute(read_study(folder), SETTINGS).comparisons[0].effects == []
    write_study(folder, learnings=("twin", "worst"))
    for path in folder.glob("*/run.json"):
        record = json.loads(path.read_text())
        learning = record["factors"]["learning"]
        model = "resnet18" if learning in STRENGTH else "resnet34"
        mode = "transfer" if learning in ("transfer", "twin") else "end_to_end"
        record["factors"] |= {"learning": mode, "model": model}
        record["identity"] |= {"learning": mode, "model.architecture": model}
        path.write_text(json.dumps(record))
    contents = compute(read_study(folder), SETTINGS)
    found = contents.comparisons[0].effects
    assert [(effect.factor, effect.level) for effect in found] == [("model", "resnet34"), ("learning", "transfer")]
    values = {row.configuration.name: row.estimates["auroc"].value for row in contents.rows if row.level == "patient"}
    means = [np.mean([value for name, value in values.items() if word in name]) for word in ("34", "18")]
    assert found[0].difference.value == pytest.approx(means[0] - means[1])
    assert {effect.difference.method.rpartition(", ")[2] for effect in found} == {"97.5%"}


def test_a_leaky_split_is_set_beside_the_honest_one_and_never_tested_against_it(study_folder):
    write_study(study_folder, split="image_holdout", leaky=True, folds=3)
    contents = compute(read_study(study_folder), SETTINGS)
    assert [found.name for found in contents.inflations] == [
        "resnet18 · end-to-end · 50 epochs · no augmentation",
        "resnet18 · transfer · 50 epochs · no augmentation",
    ]
    # Here both splits hold the same scores: a leaky name alone adds nothing.
    assert [found.points for found in contents.inflations] == pytest.approx([0, 0])
    assert len(contents.comparisons[0].uncompared) == 4
    assert "tested under a split that leaks by design, not in new patients" in contents.answer[-1]
    assert contents.comparisons[0].effects == []


def test_a_leaky_split_is_set_beside_the_honest_one_of_the_same_settings_alone(tmp_path):
    folder = tmp_path / "study"
    for split, leaky in (("patient_kfold", False), ("image_holdout", True)):
        write_study(folder, learnings=("transfer",), split=split, leaky=leaky)
    for path in list(folder.glob("*/run.json")):
        copied = path.parent.with_name(f"{path.parent.name}-fast")
        shutil.copytree(path.parent, copied)
        record = json.loads(path.read_text())
        record["identity"] |= {"optimizer.lr": 0.1}
        (copied / "run.json").write_text(json.dumps(record | {"name": copied.name}))
    contents = compute(read_study(folder), SETTINGS)
    same = "resnet18 · transfer · 50 epochs · no augmentation · optimizer.lr"
    assert [found.name for found in contents.inflations] == [f"{same} 0.1", f"{same} None"]


def test_configurations_that_differ_in_no_factor_are_named_by_their_settings(tmp_path):
    names = [f"resnet18-transfer-patient_kfold-fold{fold}-seed0" for fold in range(3)]
    others = {"split": "patient_kfold", "aggregation": "mean", "labelling": "given"}
    changes = {names[1]: {"identity": {"learning": "transfer", "optimizer.lr": 1.0, **others}}}
    study = read_study(write_study(tmp_path / "study", learnings=("transfer",), changes=changes))
    found = {configuration.name: len(configuration.runs) for configuration in study.configurations}
    assert found == {"optimizer.lr None": 2, "optimizer.lr 1.0": 1}


def test_configurations_of_several_sequences_are_named_by_these(tmp_path):
    names = [f"resnet18-transfer-patient_kfold-fold{fold}-seed0" for fold in range(3)]
    others = {"learning": "transfer", "split": "patient_kfold", "aggregation": "mean", "labelling": "given"}
    given = [
        {"model.sequences": None},
        {"model.sequences.0": "t1c"},
        {"model.sequences.0": "t1c", "model.sequences.1": "t2"},
    ]
    changes = {name: {"identity": others | one} for name, one in zip(names, given, strict=True)}
    study = read_study(write_study(tmp_path / "study", learnings=("transfer",), changes=changes))
    found = {configuration.name for configuration in study.configurations}
    assert found == {"all sequences", "t1c alone", "t1c, t2"}


def test_a_canary_is_no_result_and_is_set_beside_the_labels_as_given(tmp_path):
    folder = tmp_path / "study"
    for split, leaky in (("patient_kfold", False), ("image_holdout", True)):
        for labels in ("given", "permuted_by_patient"):
            write_study(folder, learnings=("transfer",), split=split, leaky=leaky, labels=labels)
    contents = compute(read_study(folder), SETTINGS)
    assert contents.question.startswith("By how much is a network's ability to distinguish fistula")
    names = {row.configuration.name: row.configuration.mark for row in contents.rows}
    assert names == {
        "split by image": "leaky by design",
        "split by image · labels permuted by patient": "labels permuted by patient, leaky by design",
        "split by patient": "",
        "split by patient · labels permuted by patient": "labels permuted by patient",
    }
    assert [(found.name, found.labels) for found in contents.inflations] == [
        ("resnet18 · transfer · 50 epochs · no augmentation", labels) for labels in ("given", "permuted_by_patient")
    ]
    assert not any("permuted" in pair.first + pair.second for pair in contents.comparisons[0].pairs)
    verdicts = {(canary.name, canary.level): canary for canary in contents.canaries}
    assert set(verdicts) == {(name, level) for name in names if "permuted" in name for level in ("slice", "patient")}
    # The scores of this study know the true labels; against permuted ones they are chance.
    for level in ("slice", "patient"):
        honest = verdicts["split by patient · labels permuted by patient", level]
        assert honest.verdict == "compatible with 0.5, as expected"
        assert honest.auroc == row_of(contents, honest.name, level).estimates["auroc"]
    assert "the per-patient AUROC of split by patient was" in contents.answer[0]
    of_slices, of_patients = (verdicts[honest.name, level].auroc for level in ("slice", "patient"))
    assert (
        f"the negative control split by patient · labels permuted by patient has a per-slice AUROC of {of_slices} and "
        f"a per-patient AUROC of {of_patients}, compatible with 0.5, as expected"
    ) in contents.answer[-2]
    assert contents.answer[-2].startswith("A split by image adds ")


@pytest.mark.parametrize(
    ("leaky", "verdict"),
    [
        (True, "under this split the network recognizes patients"),
        (False, "information leaks, and no result of this split"),
    ],
)
def test_a_canary_that_sings_is_heard(tmp_path, leaky, verdict):
    """Scores that know the labels they are tested on, though those are marked as permuted."""
    folder = write_study(tmp_path / "study", learnings=("transfer",), leaky=leaky)
    for path in folder.glob("*/run.json"):
        record = json.loads(path.read_text())
        record["factors"]["labelling"] = "permuted_by_patient"
        path.write_text(json.dumps(record))
    contents = compute(read_study(folder), SETTINGS)
    assert contents.comparisons == []
    assert {canary.level for canary in contents.canaries if verdict in canary.verdict} == {"slice", "patient"}
    assert len(contents.answer) == 1
    assert verdict in contents.answer[0]


def test_a_scale_of_each_network_of_its_own_changes_nothing_but_its_probabilities(tmp_path):
    """A power of all scores of a network and of its thresholds: of one slice per patient, ranks and calls stay."""
    folder = write_study(tmp_path / "study", patients=40, slices=1)
    before = compute(read_study(folder), SETTINGS)

    def thresholds(told, power):
        if isinstance(told, dict):
            powered = {"threshold": told["threshold"] ** power} if "threshold" in told else {}
            return {key: thresholds(value, power) for key, value in told.items()} | powered
        return told

    for path in folder.glob("*/run.json"):
        record = json.loads(path.read_text())
        power = 1 + 2 * record["fold"]
        path.write_text(json.dumps(thresholds(record, power)))
        table = pl.read_parquet(path.with_name("predictions.parquet"))
        table.with_columns(score=pl.col("score") ** power).write_parquet(path.with_name("predictions.parquet"))
    after = compute(read_study(folder), SETTINGS)
    was, became = numbers_of(before), numbers_of(after)
    changed = {name for name in was if was[name] != became[name]}
    assert changed
    assert all(re.search("brier|calibration|reliability|resolution|abstention", name) for name in changed)
    assert after.answer == before.answer


def test_scores_are_scaled_by_validation_alone(study_folder):
    """Whatever the test part holds, a score is mended to the same probability."""

    def mended(folder):
        rows = row_of(compute(read_study(folder), SETTINGS), "transfer", "slice").rows.sort("fold", "unit")
        return rows["score"].to_numpy(), rows["calibrated"].to_numpy(), rows["fold"].to_numpy()

    before, mended_before, folds = mended(study_folder)
    for path in study_folder.glob("resnet18-transfer-*/predictions.parquet"):
        table = pl.read_parquet(path)
        is_test = pl.col("part") == "test"
        other = pl.when(is_test).then(1 - pl.col("score")).otherwise(pl.col("score"))
        flipped = pl.when(is_test).then(1 - pl.col("label")).otherwise(pl.col("label"))
        table.with_columns(score=other, label=flipped).write_parquet(path)
    after, mended_after, _ = mended(study_folder)
    assert after == pytest.approx(1 - before)
    for fold in range(3):
        of_fold = folds == fold
        slope, intercept = np.polyfit(np.log(before / (1 - before))[of_fold], logit(mended_before[of_fold]), 1)
        expected = expit(slope * np.log(after / (1 - after))[of_fold] + intercept)
        assert mended_after[of_fold] == pytest.approx(expected)


def test_at_most_a_twentieth_of_studies_call_any_pair_equivalent_that_is_not():
    """Eight AUROCs spaced by exactly the margin; at Holm's levels, which rest on no difference, three times as many."""
    random, margin, error = np.random.default_rng(0), 0.05, 0.01 * np.sqrt(2)
    false = {"verdict": 0, "at Holm's level": 0}
    for _ in range(300):
        areas = margin * np.arange(8)[::-1] + 0.01 * random.standard_normal(8)
        found = []
        for one, two in combinations(range(8), 2):
            value = areas[one] - areas[two]
            difference = Estimate(value, value - 2 * error, value + 2 * error, "m, 95%")
            p_value = 2 * norm.sf(abs(value) / error)
            test = Comparison(difference, value / error, p_value, error, degrees=1e6)
            found.append((str(one), str(two), {"auroc": test}, {}))
        pairs = correct(found, "x", margin=margin)
        false["verdict"] += any(pair.equivalence == "equivalent" for pair in pairs)
        shown = [judge_equivalence(pair.tests["auroc"].difference, margin=margin) for pair in pairs]
        false["at Holm's level"] += "equivalent" in shown
    assert false["verdict"] <= 0.05 * 300
    assert false["at Holm's level"] > 0.1 * 300


def test_a_difference_that_only_an_auroc_below_chance_would_reach_is_not_stated(tmp_path):
    page = write_report(read_study(write_study(tmp_path / "study", patients=12, folds=2)), Settings(resamples=5))
    # Six patients of each class: even a network that guesses could not be shown to be worse.
    numbers = json.loads(page.with_name("report.json").read_text())["numbers"]
    assert numbers["detectable difference / fistula"]["value"] is None
    correlation = numbers["correlation of two configurations' scores / fistula"]["value"]
    said = re.sub(r"\s+", " ", page.read_text())
    assert "with this many patients no per-patient AUROC above chance (0.5) could be shown with 80% power" in said
    assert f"within a class, {correlation:.2f}, the median of the highest with the others)" in said
    assert "has 80% power to detect" not in said


def test_the_correlation_behind_the_detectable_difference_is_that_of_the_scores_or_assumed(tmp_path):
    folder = write_study(tmp_path / "study", patients=90, slices=1, folds=2)
    for path in folder.glob("*-transfer-*/predictions.parquet"):
        pl.read_parquet(path).write_parquet(str(path).replace("-transfer-", "-end_to_end-"))
    found = compute(read_study(folder), SETTINGS).comparisons[0]
    assert (found.correlation, found.is_assumed) == (0.99, False)  # of a network with itself, short of 1
    assert 0 < found.detectable < 0.1
    for path in folder.glob("*-end_to_end-*/predictions.parquet"):
        pl.read_parquet(path).with_columns(score=pl.lit(0.5)).write_parquet(path)
    found = compute(read_study(folder), SETTINGS).comparisons[0]
    assert (found.correlation, found.is_assumed) == (0.5, True)
    assert found.detectable > 0.1


def test_below_chance_nothing_is_said_of_power(tmp_path):
    folder = write_study(tmp_path / "study", patients=30)
    for path in folder.glob("*/predictions.parquet"):
        pl.read_parquet(path).with_columns(score=0.8 - 0.5 * pl.col("label") + 0.2 * pl.col("score")).write_parquet(
            path
        )
    found = compute(read_study(folder), SETTINGS).comparisons[0]
    assert isnan(found.detectable)
    assert isnan(found.correlation)
