import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm
from statsmodels.stats.proportion import proportion_confint

from fistula.evidence.independent import independent_difference
from fistula.evidence.ranking.area import clustered_auroc
from fistula.report.answer import say_question, say_thresholds
from fistula.report.choice import best_configuration
from fistula.report.contents import Settings, compute, rank
from fistula.report.page import write_report
from fistula.report.pooling import ranking
from fistula.report.results import results
from fistula.report.sections.headline import say_best, selected_auroc
from fistula.report.sections.inflation import canaries
from fistula.report.sections.participants import patient_flow
from fistula.report.study import read_study
from fistula.report.tables import write_tables

from .conftest import STRENGTH, write_external, write_study

SETTINGS = Settings(resamples=20)


def test_a_clear_winner_is_said_to_be_better(tmp_path):
    contents = compute(read_study(write_study(tmp_path / "study", patients=60)), SETTINGS)
    pair = contents.comparisons[0].pairs[0]
    assert pair.holm["auroc"] < 0.05
    assert contents.question == (
        "How well can a network distinguish fistula from normal, and which of 2 configurations (differing in learning) "
        "performs best?"
    )
    area = contents.ranked("fistula")[0].estimates["auroc"]
    assert contents.answer[0] == (
        "In 60 test patients (30 fistula, 30 normal), transfer had the highest per-patient AUROC, "
        f"{area.value:.2f} (95% CI {area.low:.2f} to {area.high:.2f}; adjusted for selection among 2 configurations, "
        f"{contents.selected.low:.2f} to {contents.selected.high:.2f})."
    )
    said = "Its AUROC is significantly higher than that of end-to-end (paired test, P = 0.001)."
    assert contents.answer[2] == said


def test_the_operating_point_is_said_in_patients(tmp_path):
    contents = compute(read_study(write_study(tmp_path / "study", learnings=("transfer",))), SETTINGS)
    rows = contents.ranked("fistula")[0].rows
    hits = ((rows["label"] == 1) & (rows["called"] == 1)).sum()
    right = ((rows["label"] == 0) & (rows["called"] == 0)).sum()
    # Each patient is one trial: Wilson's intervals, by statsmodels.
    (low, high), (least, most) = (proportion_confint(number, 15, method="wilson") for number in (hits, right))
    assert contents.answer[1] == (
        f"At the threshold chosen on validation data, it correctly classified {hits} of 15 patients as fistula "
        f"(sensitivity, {hits / 15:.0%}; 95% CI {low:.0%} to {high:.0%}) and {right} of 15 as normal "
        f"(specificity, {right / 15:.0%}; 95% CI {least:.0%} to {most:.0%})."
    )


def test_patients_whom_several_runs_tested_are_not_counted_as_so_many(tmp_path):
    folder = write_study(tmp_path / "study", learnings=("transfer",))
    first, other = (folder / f"resnet18-transfer-patient_kfold-fold{fold}-seed0" for fold in (0, 1))
    tables = [pl.read_parquet(path / "predictions.parquet") for path in (first, other)]
    again = tables[0].filter(pl.col("part") == "test")
    pl.concat([tables[1].filter(~pl.col("slice_key").is_in(again["slice_key"].implode())), again]).write_parquet(
        other / "predictions.parquet"
    )
    contents = compute(read_study(folder), SETTINGS)
    said = contents.answer[:2]
    assert said[0].startswith("In 30 test patients (15 fistula, 15 normal), ")
    assert said[1].count(" of 20 (15 patients, some of them in several runs) as ") == 2
    # Positive likelihood ratio: as of 15 patients with these rates, not of 20; by MOVER-R (Donner & Zou 2012), since no
    # patient with a fistula was missed.
    (row,) = (row for row in contents.rows if row.level == "patient")
    hits, wrong = row.estimates["sensitivity"].value, 1 - row.estimates["specificity"].value
    (low, high), (least, most) = (proportion_confint(rate * 15, 15, method="wilson") for rate in (hits, wrong))
    ends = [
        (hits * wrong + sign * np.sqrt((hits * wrong) ** 2 - above * below * (2 * hits - above) * (2 * wrong - below)))
        / (below * (2 * wrong - below))
        for sign, above, below in ((-1, low, most), (1, high, least))
    ]
    ratio = row.more["likelihood_ratio_positive"]
    assert hits == 1
    assert (ratio.low, ratio.high) == pytest.approx(ends)


def test_a_second_seed_of_one_fold_is_not_counted_as_one_of_all(tmp_path):
    folder = write_study(tmp_path / "study", learnings=("transfer",), seeds=(0, 1))
    for fold in (1, 2):
        shutil.rmtree(folder / f"resnet18-transfer-patient_kfold-fold{fold}-seed1")
    contents = compute(read_study(folder), SETTINGS)
    assert contents.answer[1].count(" of 20 (15 patients, some of them in several runs) as ") == 2
    boxes = patient_flow(contents.study, contents.ranked("fistula")[0])
    assert boxes[2].says == "classifications as fistula (30 patients, some of them in several runs)"


def test_like_configurations_do_not_differ_significantly(tmp_path, monkeypatch):
    monkeypatch.setitem(STRENGTH, "end_to_end", STRENGTH["transfer"])
    contents = compute(read_study(write_study(tmp_path / "study")), SETTINGS)
    assert contents.comparisons[0].pairs[0].holm["auroc"] > 0.05
    assert contents.answer[2].startswith("Its AUROC does not differ significantly from that of ")


def test_an_equal_perfect_auroc_counts_among_those_that_do_not_differ(tmp_path, monkeypatch):
    """Of three configurations two are perfect: no patient moves their difference, which has no test."""
    for learning, strength in (("transfer", 60.0), ("end_to_end", 60.0), ("linear_probe", 2.0)):
        monkeypatch.setitem(STRENGTH, learning, strength)
    learnings = ("transfer", "end_to_end", "linear_probe")
    contents = compute(read_study(write_study(tmp_path / "study", learnings=learnings)), SETTINGS)
    said = contents.answer[2]
    best = contents.ranked("fistula")[0].configuration.name
    other = "end-to-end" if best == "transfer" else "transfer"
    assert said.startswith("Its AUROC does not differ significantly from those of ")
    assert other in said
    assert contents.answer[0].endswith(f" to 1.00), tied with {other}.")
    assert "adjusted for selection among 3 configurations" in contents.answer[0]


def test_chance_is_not_excluded_where_nothing_is_learned(tmp_path, monkeypatch):
    monkeypatch.setitem(STRENGTH, "transfer", 0.0)
    contents = compute(read_study(write_study(tmp_path / "study", learnings=("transfer",))), SETTINGS)
    assert contents.answer[0].startswith("In 30 test patients (15 fistula, 15 normal), the per-patient AUROC was ")
    assert contents.answer[0].endswith("; chance (0.5) is not excluded.")
    assert not any("higher" in sentence for sentence in contents.answer)


def test_the_highest_of_many_that_are_noise_is_never_above_chance(tmp_path):
    """Of 30 AUROCs of noise the highest is far from 0.5; its own interval does not know of the others."""
    learnings = [f"noise{number}" for number in range(30)]
    folder = write_study(tmp_path / "study", patients=40, slices=1, folds=2, learnings=learnings)
    for path in folder.glob("*/predictions.parquet"):
        drawn = np.random.default_rng([1, learnings.index(path.parent.name.split("-")[1])]).random(40)
        table = pl.read_parquet(path)
        patients = table["patient_key"].str.slice(7).cast(pl.Int64).to_numpy()
        table.with_columns(score=pl.Series(drawn[patients])).write_parquet(path)
    study = read_study(folder)
    rows = results(study, resamples=20, scaling="platt", prevalence=None)
    ranked = {"fistula": rank(rows, "fistula", "patient")}
    best, selected = ranked["fistula"][0], selected_auroc(study, ranked, [])
    area = best.estimates["auroc"]
    assert area.low > 0.5
    assert selected.low < 0.5 < selected.high
    columns = (best.rows[name].to_numpy() for name in ("label", "score", "patient_key", "run"))
    assert selected == clustered_auroc(*columns, level=1 - 0.05 / 30)
    assert say_best(best, "normal", among=ranked["fistula"], selected=selected) == (
        f"In 40 test patients (20 fistula, 20 normal), {best.configuration.name} had the highest per-patient AUROC, "
        f"{area.value:.2f} (95% CI {area.low:.2f} to {area.high:.2f}; adjusted for selection among 30 configurations, "
        f"{selected.low:.2f} to {selected.high:.2f}); adjusted for selection, chance (0.5) is not excluded."
    )


def test_constant_scores_are_chance(tmp_path):
    folder = write_study(tmp_path / "study", learnings=("transfer",))
    for path in folder.glob("*/predictions.parquet"):
        pl.read_parquet(path).with_columns(score=pl.lit(0.5)).write_parquet(path)
    said = compute(read_study(folder), SETTINGS).answer[0]
    assert said.endswith("AUROC was 0.50 (no CI: no variability between patients); this is chance (0.5).")


def test_a_split_that_was_allowed_to_leak_is_a_limitation_and_stands_below_one_that_does_not_leak(tmp_path):
    audit = {"split": "predefined", "verdict": "leaks allowed by audit=warn", "is_marked": True}
    names = [f"resnet18-transfer-predefined-fold{fold}-seed0" for fold in range(3)]
    folder = write_study(tmp_path / "study", learnings=("end_to_end",))
    changes = {name: {"audit": audit} for name in names}
    write_study(folder, learnings=("transfer",), split="predefined", changes=changes)
    contents = compute(read_study(folder), SETTINGS)
    best, other = contents.ranked("fistula")
    assert other.estimates["auroc"].value > best.estimates["auroc"].value
    assert contents.answer[0].startswith(
        "In 30 test patients (15 fistula, 15 normal), the per-patient AUROC of end-to-end · split by patient was "
    )
    assert best_configuration(contents.study) is best.configuration
    assert (
        f"{other.configuration.name} was tested under a split in which the audit found leaks "
        "(leaks allowed by audit=warn)"
    ) in contents.answer[-1]


def test_negative_controls_take_no_part_in_what_performs_best(tmp_path):
    folder = write_study(tmp_path / "study")
    write_study(folder, labels="permuted_by_patient")
    asked = say_question(read_study(folder))
    assert asked.endswith("and which of 2 configurations (differing in learning) performs best?")


def test_many_negative_controls_are_told_together_and_their_number_is_allowed_for(tmp_path):
    learnings = ("transfer", "end_to_end", "linear_probe")
    folder = write_study(tmp_path / "study", learnings=learnings, labels="permuted_by_patient")
    contents = compute(read_study(folder), SETTINGS)
    assert contents.question.endswith(
        "network appear to distinguish fistula from normal where labels are permuted among patients?"
    )
    areas = [one.auroc for one in contents.canaries]
    assert len(areas) == 6
    values = [area.value for area in areas]
    assert contents.answer == [
        f"6 AUROCs of negative controls, {min(values):.2f} to {max(values):.2f}, compatible with 0.5, as expected."
    ]
    # Alone it would be an alarm, and of twenty that are chance one is.
    row = next(row for row in contents.rows if row.level == "patient")
    scores = row.rows["label"] * 0.6 + pl.Series(np.random.default_rng(1).random(len(row.rows)))
    told = replace(row, rows=row.rows.with_columns(score=scores))
    # Its 95% CI excludes 0.5, but the folds are not independent.
    weak = replace(row, rows=row.rows.with_columns(score=scores - row.rows["label"] * 0.2))
    assert clustered_auroc(*ranking(weak.rows)).low > 0.5
    assert canaries([weak])[0].verdict == "compatible with 0.5, as expected"
    assert canaries([told])[0].verdict.startswith("above 0.5")
    assert {one.verdict for one in canaries([told] * 20)} == {"compatible with 0.5, as expected"}
    reversed_ = replace(row, rows=row.rows.with_columns(score=-scores))
    assert canaries([reversed_])[0].verdict == "below 0.5, no sign of a leak, which would raise it"


def test_the_best_of_several_and_the_weight_of_one_patient_are_what_it_is_worth(study_folder):
    assert compute(read_study(study_folder), SETTINGS).answer[-1] == (
        "Limitations: the highest of 2 AUROCs is optimistically biased; "
        "a single patient accounts for 7 percentage points of sensitivity; "
        "thresholds were chosen on validation sets of as few as 10 patients, 5 of the smallest class; "
        "end-to-end: constant prediction: all test slices are classified as positive (1 of 3 runs); "
        "no external cohort was tested."
    )


def test_a_leaky_study_says_that_it_is_no_evidence(tmp_path):
    contents = compute(read_study(write_study(tmp_path / "study", leaky=True)), SETTINGS)
    assert "every configuration was tested under a split that leaks by design" in contents.answer[-1]


def test_a_site_that_was_held_out_is_no_external_cohort_and_is_said_to_be_held_out(tmp_path):
    folder = write_study(tmp_path / "study", learnings=("transfer",), split="site_holdout")
    said = compute(read_study(folder), SETTINGS).answer[-1]
    assert said.endswith("; one site was held out, but no external cohort was tested.")


def test_an_external_cohort_is_said_with_its_class_and_as_what_it_was_scored(tmp_path):
    folder = write_study(tmp_path / "study", learnings=("transfer",))
    write_external(folder, "transfer")
    said = compute(read_study(folder), SETTINGS).answer[2]
    assert said.startswith(
        "In 40 patients of the external cohort there (20 fistula), the AUROC of the ensemble of resnet18"
    )


def test_the_internal_result_that_was_selected_is_compared_with_an_external_one_at_its_adjusted_level(tmp_path):
    folder = write_study(tmp_path / "study")
    write_external(folder, "transfer")
    contents = compute(read_study(folder), SETTINGS)
    (found,) = (one for one in contents.outside if one.level == contents.primary)
    less = independent_difference(contents.selected, found.single["auroc"])
    assert less.low < found.differences["auroc"].low
    verdict = "does not differ significantly from" if less.low <= 0 <= less.high else "is significantly lower than"
    sentence = next(said for said in contents.answer if "external cohort" in said)
    assert sentence.endswith(f"that of single networks {verdict} the internal one, adjusted for its selection.")


def test_a_constant_prediction_is_that_of_so_many_runs(tmp_path):
    changes = {"resnet18-transfer-patient_kfold-fold0-seed0": {"warnings": ["constant prediction: all positive"]}}
    contents = compute(read_study(write_study(tmp_path / "study", changes=changes)), SETTINGS)
    assert "transfer: constant prediction: all positive (1 of 3 runs)" in contents.answer[-1]


def test_a_fact_that_tells_the_classes_apart_as_well_as_the_network_is_a_limitation(tmp_path, monkeypatch):
    """An AUROC of 0.75 may be all of a site's 0.79, or of a scanner's with a V of 0.59; a perfect one is not."""
    scanner = {"between": ["label", "scanner"], "cramers_v": 0.59, "patients": 30, "is_warning": False}
    audit = {"verdict": "no leak", "confounding": [scanner], "alone": {"site": 0.79, "age": 0.55}}
    for strength, is_limitation in ((0.6, True), (60.0, False)):
        monkeypatch.setitem(STRENGTH, "transfer", strength)
        folder = write_study(tmp_path / str(strength), patients=60, learnings=("transfer",))
        for path in folder.glob("*/run.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"audit": audit}))
        said = compute(read_study(folder), SETTINGS).answer[-1]
        assert ("site alone has a per-patient AUROC of 0.79, no lower than that of resnet18;" in said) == is_limitation
        assert ("the class is associated with scanner (Cramér's V 0.59)" in said) == is_limitation
        assert "age" not in said


@pytest.mark.parametrize(
    ("alone", "said"),
    [
        pytest.param(
            {"slices": 1.0, "age": 0.52}, "the number of slices alone has a per-patient AUROC of 1.00", id="1"
        ),
        pytest.param({"lacks t2": 0.9}, "whether t2 is missing alone has a per-patient AUROC of 0.90", id="a sequence"),
        pytest.param(
            {"sex": None, "age": 0.0},
            "age alone has a per-patient AUROC of 0.00 (1.00 in reverse order)",
            id="0 is as far as 1",
        ),
        pytest.param({"slices": 0.6, "site": None}, "", id="near 0.5"),
    ],
)
def test_what_tells_the_classes_apart_without_an_image_is_a_limitation(tmp_path, alone, said):
    names = [f"resnet18-transfer-patient_kfold-fold{fold}-seed0" for fold in range(3)]
    audit = {"split": "patient_kfold", "verdict": "no leak", "is_marked": False, "confounding": [], "alone": alone}
    changes = {name: {"audit": audit} for name in names}
    study = read_study(write_study(tmp_path / "study", learnings=("transfer",), changes=changes))
    found = compute(study, SETTINGS).answer[-1]
    assert said in found
    assert ("alone" in found) == bool(said)


@pytest.mark.parametrize(
    ("position", "told"), [(0.93, "0.93"), (0.07, "0.07 (0.93 in reverse order)"), (0.6, ""), (None, "")]
)
def test_a_position_in_the_stack_that_tells_the_class_is_a_limitation_where_slices_are_judged(position, told, tmp_path):
    audit = {"split": "patient_kfold", "verdict": "no leak", "is_marked": False, "confounding": [], "alone": {}}
    names = [f"resnet18-transfer-patient_kfold-fold{fold}-seed0" for fold in range(3)]
    changes = {name: {"audit": audit | {"position": position}} for name in names}
    study = read_study(write_study(tmp_path / "study", learnings=("transfer",), changes=changes))
    said = "the position of a slice in its stack alone has a per-slice AUROC of "
    sentence = compute(study, Settings(resamples=20, primary="slice")).answer[-1]
    assert (said + told in sentence) if told else (said not in sentence)
    assert "position" not in compute(study, Settings(resamples=20, primary="patient")).answer[-1]


def test_a_class_that_goes_with_the_scanner_is_a_limitation(tmp_path):
    pairs = [("label", "scanner", 0.81, True), ("label", "image_type", 0.4, True), ("label", "matrix", 0.1, False)]
    pairs.append(("site", "scanner", 0.95, True))
    keys = ("cramers_v", "is_warning")
    found = [
        {"between": [one, two], "patients": 30, "reason": "", **dict(zip(keys, v, strict=True))}
        for one, two, *v in pairs
    ]
    audit = {"split": "patient_kfold", "verdict": "no leak", "is_marked": False, "confounding": found, "alone": {}}
    names = [f"resnet18-transfer-patient_kfold-fold{fold}-seed0" for fold in range(3)]
    changes = {name: {"audit": audit} for name in names}
    study = read_study(write_study(tmp_path / "study", learnings=("transfer",), changes=changes))
    said = "the class is associated with scanner and image type (Cramér's V of up to 0.81)"
    assert said in compute(study, SETTINGS).answer[-1]


@pytest.mark.parametrize(("covariates", "is_limitation"), [("images, age", False), ("images", True)])
def test_what_every_configuration_is_given_as_a_covariate_is_no_hidden_confounder(tmp_path, covariates, is_limitation):
    names = [f"resnet18-transfer-patient_kfold-fold{fold}-seed0" for fold in range(3)]
    audit = {"split": "patient_kfold", "verdict": "no leak", "is_marked": False, "confounding": [], "alone": {"age": 1}}
    changes = {name: {"audit": audit} for name in names}
    folder = write_study(tmp_path / "study", learnings=("transfer",), changes=changes)
    for path in folder.glob("*/run.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"factors": record["factors"] | {"covariates": covariates}}))
    study = read_study(folder)
    assert ("age alone has" in compute(study, SETTINGS).answer[-1]) == is_limitation


@pytest.mark.parametrize(
    ("thresholds", "said"),
    [
        pytest.param([0.5], "0.500", id="one run"),
        pytest.param([0.2931, 0.2934], "0.293", id="printed alike"),
        pytest.param([0.4, 0.5], "0.400 to 0.500 over 2 runs", id="near"),
        pytest.param([0.045, 0.3, 0.578], "0.045 to 0.578 over 3 runs, unstable", id="far apart"),
    ],
)
def test_thresholds_far_apart_are_called_unstable(thresholds, said):
    assert say_thresholds(thresholds) == said


def edit(folder, change):
    for path in folder.glob("*/run.json"):
        path.write_text(json.dumps(change(json.loads(path.read_text()))))


def test_a_threshold_that_nobody_chose_is_not_said_to_be_chosen(tmp_path):
    folder = write_study(tmp_path / "study", learnings=("transfer",))
    fixed = {"threshold": 0.5, "rule": "argmax"}
    edit(folder, lambda record: record | {"operating_point": fixed, "patient_operating_point": fixed})
    page = write_report(read_study(folder), SETTINGS).read_text()
    assert "At a threshold of 0.5, it correctly classified " in page
    assert "The threshold was 0.5 in every run; none was chosen on data." in page
    assert "hosen on its validation set" not in page
    assert "threshold chosen on validation data" not in page


@pytest.mark.parametrize(
    ("watched", "said"),
    [("epoch", "; the last epoch was scored"), ("val/auroc", "; the best epoch on validation data was scored")],
)
def test_the_epoch_that_was_scored_is_the_one_that_is_named(tmp_path, watched, said):
    folder = write_study(tmp_path / "study", learnings=("transfer",))
    edit(folder, lambda record: record | {"identity": record["identity"] | {"checkpoint.monitor": watched}})
    assert said in write_report(read_study(folder), SETTINGS).read_text()


def test_a_leaky_run_is_not_asked_about_patients_that_it_was_not_trained_on(tmp_path):
    folder = write_study(tmp_path / "study", learnings=("transfer",), leaky=True)
    assert compute(read_study(folder), SETTINGS).question == "How well can a network distinguish fistula from normal?"


def test_a_badge_stands_once_and_says_of_how_many_runs(tmp_path):
    names = [f"resnet18-transfer-patient_kfold-fold{fold}-seed0" for fold in range(2)]
    texts = [f"constant prediction: all test slices are classified as {called}" for called in ("positive", "negative")]
    changes = {name: {"warnings": [text]} for name, text in zip(names, texts, strict=True)}
    study = read_study(write_study(tmp_path / "study", learnings=("transfer",), changes=changes))
    assert study.configurations[0].badges == {"constant prediction (2 of 3 runs)": "; ".join(sorted(texts))}


def test_the_likelihood_ratio_of_a_perfect_network_has_a_lower_end_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(STRENGTH, "transfer", 60.0)
    page = write_report(read_study(write_study(tmp_path / "study", learnings=("transfer",))), SETTINGS)
    least, most = (proportion_confint(number, 15, method="wilson")[side] for number, side in ((15, 0), (0, 1)))
    low = np.sqrt(least * (2 - least)) / most
    assert f"<dd>infinite (95% CI {low:.3f} to infinity)</dd>" in page.read_text()
    table = pl.read_csv(page.with_name("results.csv"))
    row = table.row(by_predicate=pl.col("level") == "patient", named=True)
    assert row["likelihood_ratio_positive"] is row["likelihood_ratio_positive_high"] is None
    assert row["likelihood_ratio_positive_low"] == pytest.approx(low)
    assert row["likelihood_ratio_positive_reason"] == "no false positives"


def test_a_patient_who_brings_most_of_the_slices_of_a_class_is_a_limitation(tmp_path):
    folder = write_study(tmp_path / "study", learnings=("transfer",))
    for path in folder.glob("*/predictions.parquet"):
        table = pl.read_parquet(path)
        heavy = table.filter(pl.col("patient_key") == "patient1")
        copies = [heavy.with_columns(slice_key=pl.format("{}-copy{}", "slice_key", pl.lit(n))) for n in range(10)]
        pl.concat([table, *copies]).write_parquet(path)
    said = compute(read_study(folder), Settings(resamples=20, primary="slice")).answer[-1]
    # Fifteen patients of three slices, and ten times three more of one of them.
    assert "a single patient contributes 33 of the 75 fistula slices" in said
    assert "normal slices" not in said


def test_patients_whose_network_tested_no_other_class_are_said_to_be_missing_from_the_auroc(tmp_path):
    folder = write_study(tmp_path / "study", learnings=("transfer",))
    assert "not counted in the AUROC" not in compute(read_study(folder), SETTINGS).answer[-1]
    for path in folder.glob("*fold0*/predictions.parquet"):
        table = pl.read_parquet(path)
        table.filter((pl.col("part") != "test") | (pl.col("label") == 1)).write_parquet(path)
    said = (
        "5 of 25 patients are not counted in the AUROC for fistula, since the networks that scored them tested no other"
    )
    assert said in compute(read_study(folder), SETTINGS).answer[-1]


@pytest.mark.parametrize("are_hard", [True, False])
def test_patients_with_more_slices_who_are_harder_to_classify_are_a_limitation(are_hard, tmp_path):
    folder = write_study(tmp_path / "study", learnings=("transfer",))
    for path in folder.glob("*/predictions.parquet"):
        table = pl.read_parquet(path)
        many = pl.col("patient_key").str.slice(7).cast(pl.Int64) % 5 == 0
        wrong = pl.when(pl.col("label") == 1).then(0.1).otherwise(0.9)
        table = table.with_columns(score=pl.when(many & pl.lit(are_hard)).then(wrong).otherwise(1 - wrong))
        copies = [
            table.filter(many).with_columns(slice_key=pl.format("{}-copy{}", "slice_key", pl.lit(n))) for n in range(4)
        ]
        pl.concat([table, *copies]).write_parquet(path)
    contents = compute(read_study(folder), Settings(resamples=20, primary="slice"))
    said = "patients with more slices were harder to classify (with every patient given the same weight, the per-slice"
    assert (said in contents.answer[-1]) == are_hard
    assert "harder" not in compute(read_study(folder), Settings(resamples=20, primary="patient")).answer[-1]


def flat_scores(folder, scores):
    """Give configurations scores that follow from the label, or from nothing."""
    for path in folder.glob("*/predictions.parquet"):
        score = scores[path.parent.name.split("-")[1]]
        pl.read_parquet(path).with_columns(score=score).write_parquet(path)


PERFECT, CONSTANT, REVERSED = 0.1 + 0.8 * pl.col("label"), pl.lit(0.5), 0.9 - 0.8 * pl.col("label")


@pytest.mark.parametrize(
    ("patients", "verdict"),
    [
        # 3 of each class: z is the square root of 3, P = 0.083.
        (6, "does not differ significantly from"),
        # 4 of each: 2, P = 0.046.
        (8, "is significantly higher than"),
    ],
)
def test_a_collapsed_network_is_tested_against_a_perfect_one(tmp_path, patients, verdict):
    folder = write_study(tmp_path / "study", patients=patients, slices=1, folds=2)
    flat_scores(folder, {"transfer": PERFECT, "end_to_end": CONSTANT})
    contents = compute(read_study(folder), SETTINGS)
    test = contents.comparisons[0].pairs[0].tests["auroc"]
    assert contents.answer[2] == f"Its AUROC {verdict} that of end-to-end (paired test, P = {test.p_value:.3f})."
    assert test.p_value == pytest.approx(2 * norm.sf(np.sqrt(patients / 2)))


def test_every_other_configuration_is_accounted_for_in_the_answer(tmp_path):
    learnings = ("transfer", "end_to_end", "linear_probe", "twin")
    folder = write_study(tmp_path / "study", patients=60, learnings=learnings)
    flat_scores(folder, {"transfer": PERFECT, "end_to_end": CONSTANT, "linear_probe": REVERSED, "twin": PERFECT})
    best = compute(read_study(folder), SETTINGS)
    write_tables(tmp_path, best)
    table = (tmp_path / "comparisons.tex").read_text()
    assert "& +0.500 (+0.319 to +0.500) &" in table
    assert r"& \textless{} 0.001 & \textless{} 0.001 \\" in table
    assert " 0.000 &" not in table
    assert best.answer[2] == (
        "Its AUROC is significantly higher than those of end-to-end and linear probe, but does not differ "
        f"significantly from that of {'twin' if 'transfer' in best.answer[0].split(' had ')[0] else 'transfer'} "
        "(paired tests, Holm-adjusted)."
    )
    write_study(folder, learnings=("transfer",), seeds=(5,), split="site_holdout")
    for path in folder.glob("*-twin-*/predictions.parquet"):  # a configuration without a negative has no AUROC
        pl.read_parquet(path).filter((pl.col("part") != "test") | (pl.col("label") == 1)).write_parquet(path)
    said = compute(read_study(folder), SETTINGS).answer[2]
    assert "split by patient" in said or "site" in said
    assert said.count("significantly higher than that of ") + said.count("significantly higher than those of ") == 1
    assert " could not be tested against that of " in said
    assert "(tested under different splits)" in said
    assert "(no negatives)" in said
