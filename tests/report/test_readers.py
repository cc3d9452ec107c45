import json
import shutil
from functools import partial

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from fistula.commands.report import read_given
from fistula.errors import ConfigError, DataError
from fistula.evidence.design.compare import clustered_auroc_test
from fistula.evidence.ranking.area import clustered_auroc
from fistula.evidence.ranking.roc import auroc
from fistula.evidence.readers.analysis import compare_modalities, compare_model, study_readers
from fistula.evidence.readers.merit import auroc_figure, located_ratings
from fistula.labels.tables.ratings import match_patients, read_program, read_readings, together
from fistula.report.contents import Settings, compute
from fistula.report.figures.ranking import readers_figure
from fistula.report.planning.pilot import reader_components
from fistula.report.pooling import test_rows as rows_at
from fistula.report.readers.aid import aid_of
from fistula.report.readers.analysis import compare_readers
from fistula.report.readers.given import Given
from fistula.report.readers.program import compare_program, rows_of
from fistula.report.results import results
from fistula.report.study import read_study

from .conftest import RESAMPLES, write_external, write_study


def readings(patients=40, readers=4, modalities=("alone", "with AI"), seed=0, calls=False):
    """Readers of whom each sees the same patients a little otherwise; with AI they see more."""
    random = np.random.default_rng(seed)
    labels = np.arange(patients) % 2
    seen = random.normal(size=patients)
    rows = []
    for number, modality in enumerate(modalities):
        for reader in range(readers):
            scores = 50 + 12 * (labels * (1 + number) + seen + random.normal(size=patients) * 0.7)
            for patient, score in enumerate(np.clip(scores, 0, 100)):
                told = float(score > 60) if calls else float(score)
                rows.append([f"patient{patient}", f"r{reader}", modality, told, 2.0 - number, None, 1])
    columns = ["patient_key", "reader", "modality", "score", "minutes", "experience", "located"]
    table = pl.DataFrame(rows, schema=columns, orient="row").cast({"experience": pl.String})
    table = table.with_columns(date=pl.lit("2026-01-05"))
    model = labels + random.normal(size=patients) * 0.6
    keys = [f"patient{patient}" for patient in range(patients)]
    cases = pl.DataFrame({"patient_key": keys, "label": labels, "score": model, "called": (model > 0.5).astype(int)})
    return table, cases


def arrays(table, cases):
    order = cases.sort("patient_key")
    blocks = []
    for name in table["modality"].unique(maintain_order=True):
        rows = table.filter(pl.col("modality") == name).sort("reader", "patient_key")
        blocks.append(rows["score"].to_numpy().reshape(-1, len(cases)))
    return order["label"].to_numpy(), order["score"].to_numpy(), np.array(blocks)


def compared(table, cases, **settings):
    return compare_readers(table, cases, **{"model": "m", "cohort": "", "margin": 0.05, "cutoff": 60.0} | settings)


def test_the_numbers_are_those_of_the_arrays_whatever_the_order_of_lines():
    table, cases = readings()
    labels, scores, ratings = arrays(table, cases)
    found = compared(table.sample(fraction=1, shuffle=True, seed=3), cases.sample(fraction=1, shuffle=True, seed=4))
    names = sorted((pair.first, pair.second, pair.figure) for pair in found.modalities)
    assert [name[2] for name in names] == ["auroc", "lroc", "minutes", "sensitivity", "specificity"]
    pair = next(pair for pair in found.modalities if pair.figure == "auroc")
    assert (pair.first, pair.second) == ("with AI", "alone")
    study = study_readers(labels, ratings)
    sign = -1
    for kind in ("random", "fixed"):
        expected = compare_modalities(study, 0, 1, readers=kind, margin=0.05)
        assert pair.tests[kind].estimate.value == pytest.approx(sign * expected.estimate.value, rel=1e-12)
        assert pair.tests[kind].p_value == pytest.approx(expected.p_value, rel=1e-9)
    assert pair.values[0] > pair.values[1]
    assert found.means["with AI"].estimate.high == 1  # beyond, as Student's t has it
    versus = next(one for one in found.against if one.second == "alone" and one.figure == "auroc")
    expected = compare_model(labels, scores, ratings[0], margin=0.05)
    assert versus.tests["random"].p_inferior == pytest.approx(expected.p_inferior, rel=1e-9)
    times = next(pair for pair in found.modalities if pair.figure == "minutes")
    assert abs(times.tests["fixed"].estimate.value) == pytest.approx(1.0)


def test_a_model_of_several_folds_is_compared_within_its_networks_and_readers_are_not():
    """Judge: what networks add to the scores of all of their patients changes nothing; values by scikit-learn."""
    table, cases = readings(modalities=("",))
    folds = np.arange(40) // 2 % 4
    one, two = (
        compared(table, cases.with_columns(score=pl.col("score") + shift * pl.Series(folds), networks=folds)).against[0]
        for shift in (0, 9)
    )
    assert one == two
    labels, scores, ratings = arrays(table, cases)
    of_fold = dict(zip(cases["patient_key"], folds, strict=True))
    where = np.array([of_fold[key] for key in cases.sort("patient_key")["patient_key"]])
    areas = [roc_auc_score(labels[where == fold], scores[where == fold]) for fold in range(4)]
    assert one.values[0] == pytest.approx(np.mean(areas))
    assert one.values[1] == pytest.approx(np.mean([roc_auc_score(labels, rating) for rating in ratings[0]]))
    assert one.tests["fixed"].estimate.value == pytest.approx(one.values[0] - one.values[1])
    alone = compared(table, cases.with_columns(networks=pl.Series(range(40)))).against[0]
    assert alone.values == compared(table, cases).against[0].values


@pytest.mark.parametrize("per_fold", [8, 1], ids=["within networks", "where no two can be compared so"])
def test_the_curve_of_the_model_has_the_area_that_the_table_gives(per_fold):
    table, cases = readings(modalities=("",))
    cases = cases.with_columns(networks=pl.int_range(40) // per_fold, score=pl.col("score") * 9)
    cases = cases.with_columns(score=pl.col("score") + 3 * pl.col("networks"))
    found = compared(table, cases)
    line = next(line for line in readers_figure(found).axes[0].lines if line.get_label() == "m")
    assert np.trapezoid(line.get_ydata(), line.get_xdata()) == pytest.approx(found.against[0].values[0])


def test_patients_whom_a_reader_left_out_take_no_part_and_are_counted():
    table, cases = readings(modalities=("",))
    gaps = table.filter(~((pl.col("reader") == "r2") & pl.col("patient_key").is_in(["patient3", "patient8"])))
    found = compared(gaps, cases)
    assert found.left_out == {"": 2}
    assert {one.cases for one in found.against} == {38}
    whole = table.filter(~pl.col("patient_key").is_in(["patient3", "patient8"]))
    expected = compared(whole, cases).against[0].tests["random"].estimate
    assert found.against[0].tests["random"].estimate == expected


def test_readers_who_share_no_modality_or_one_class_have_a_reason():
    table, cases = readings()
    apart = table.filter((pl.col("modality") == "alone") == pl.col("reader").is_in(["r0", "r1"]))
    pair = compared(apart, cases).modalities[0]
    assert pair.tests["random"].estimate.reason == "no reader has read in both"
    healthy = cases.filter(pl.col("label") == 0)["patient_key"]
    negative = table.filter(pl.col("patient_key").is_in(healthy.implode()))
    one = compared(negative, cases).against[0]
    assert one.tests["random"].estimate.reason == "all have read 0 positive and 20 negative"


def test_a_readers_auroc_has_the_interval_of_the_networks_and_no_difference_reaches_beyond_1():
    """Two readers of six patients: Student's t has one degree of freedom or little more."""
    found = compared(*readings(patients=6, readers=2, seed=3))
    ends = [end for pair in [*found.against, *found.modalities] if pair.figure != "minutes"
            for test in pair.tests.values() for end in (test.estimate.low, test.estimate.high)]  # fmt: skip
    assert np.nanmax(np.abs(ends)) == 1
    table, cases = readings(patients=20)
    alone = table.filter(pl.col("modality") == "alone", pl.col("reader") == "r1")
    one = next(one for one in compared(table, cases).single if (one.name, one.modality) == ("r1", "alone"))
    labels = alone.join(cases.select("patient_key", "label"), on="patient_key", maintain_order="left")["label"]
    assert one.auroc == clustered_auroc(labels, alone["score"], alone["patient_key"])


def test_constant_scores_and_one_reader_make_no_interval_for_random_readers():
    table, cases = readings(readers=1, modalities=("",))
    constant = compared(table.with_columns(score=pl.lit(50.0)), cases, cutoff=50.0)
    versus = constant.against[0]
    assert versus.values[1] == 0.5
    assert versus.tests["random"].estimate.reason == "only one reader"
    assert versus.tests["fixed"].estimate.has_interval


def test_scores_without_a_cutoff_are_no_calls_and_calls_need_none():
    table, cases = readings()
    assert {pair.figure for pair in compared(table, cases, cutoff=None).against} == {"auroc"}
    calls, cases = readings(calls=True)
    found = compared(calls, cases, cutoff=None)
    assert {pair.figure for pair in found.against} == {"auroc", "sensitivity", "specificity"}
    fleiss, _ = found.kappas["alone"]
    assert 0 < fleiss.value < 1


def test_a_cutoff_makes_calls_of_scores_on_one_scale_alone():
    table, cases = readings(modalities=("",))
    grades = pl.when(pl.col("reader") == "r2").then((pl.col("score") / 20).ceil()).otherwise(pl.col("score"))
    mixed = table.with_columns(score=grades)
    with pytest.raises(DataError, match="one scale where cutoff=60 dichotomizes them, found none above 5 of r2, and"):
        compared(mixed, cases)
    # An AUROC is of one reader, whatever the scale.
    areas = [{one.name: one.auroc for one in compared(one, cases, cutoff=None).single} for one in (table, mixed)]
    assert [name for name in areas[0] if areas[0][name] != areas[1][name]] == ["r2"]
    with pytest.raises(ConfigError, match="cutoff: must be reached by a score; the highest is 5, found 60"):
        compared(table.with_columns(score=(pl.col("score") / 20).ceil()), cases)
    calls = table.with_columns(score=pl.when(pl.col("reader") == "r2").then(1.0).otherwise(pl.col("score")))
    with pytest.raises(DataError, match="found none above 1 of r2"):
        compared(calls, cases)


def test_a_reader_who_calls_everybody_alike_and_one_who_read_half_are_told_as_they_are():
    table, cases = readings(modalities=("",), calls=True)
    always = table.with_columns(score=pl.when(pl.col("reader") == "r0").then(1.0).otherwise(pl.col("score")))
    found = compared(always, cases, cutoff=None)
    one = found.single[0]
    assert (one.auroc.value, one.sensitivity.value, one.specificity.value) == (0.5, 1, 0)
    assert found.kappas[""][0].is_defined
    alike = compared(table.with_columns(score=pl.lit(1.0)), cases, cutoff=None)
    assert alike.kappas[""][0].reason == "every answer is of one class"
    assert alike.against[0].values[1] == 0.5
    half = table.filter((pl.col("reader") != "r1") | pl.col("patient_key").is_in(cases["patient_key"][:20].implode()))
    part = compared(half, cases, cutoff=None)
    assert part.left_out == {"": 20}
    assert {versus.cases for versus in part.against} == {20}
    assert [one.cases for one in part.single] == [40, 20, 40, 40]


def test_a_place_that_is_wrong_counts_as_a_miss():
    labels, ratings = np.array([True, True, False, False]), np.array([[4.0, 2.0, 1.0, 3.0]])
    right = auroc_figure(labels, located_ratings(labels, ratings, np.ones((1, 4), bool)))[0][0]
    assert right == auroc(labels, ratings[0]) == 0.75
    wrong = auroc_figure(labels, located_ratings(labels, ratings, np.array([[False, True, False, False]])))[0][0]
    assert wrong == 0.25  # of the four pairs, the one of the second positive and the first negative


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_a_patient_is_called_positive_where_the_score_shown_reaches_the_threshold_shown(tmp_path, seeds):
    study = read_study(write_study(tmp_path / "study", patients=40, learnings=("transfer",), seeds=seeds))
    aids = aid_of(study)[1][""]
    assert len(aids) == 40
    assert all((one["answer"] == "fistula") == (one["score"] >= one["threshold"]) for one in aids.values())
    if len(seeds) == 1:  # then it is what the report counts as called
        rows = rows_at(study, study.configurations[0], "fistula", level="patient", scaling="platt")
        called = dict(rows.select("patient_key", "called").iter_rows())
        assert {key: int(one["answer"] == "fistula") for key, one in aids.items()} == called


@pytest.fixture
def table(tmp_path):
    def write(frame, name="readers.csv"):
        frame.write_csv(tmp_path / name)
        return tmp_path / name

    return write


def test_a_table_of_readers_and_one_of_a_program_enter_the_report_and_are_verified(fistula_here, tmp_path, table):
    folder = write_study(tmp_path / "study", patients=40)
    readers, _ = readings()
    levels = pl.when(pl.col("reader") == "r0").then(pl.lit("resident")).otherwise(pl.lit("senior"))
    readers = readers.rename({"patient_key": "patient"}).with_columns(experience=levels)
    labels = np.arange(40) % 2
    vendor = pl.DataFrame({"patient": [f"patient{i}" for i in range(40)], "score": labels + np.linspace(-1, 1, 40)})
    arguments = ["report", f"study={folder}", f"resamples={RESAMPLES}", "maps=none", "cutoff=60"]
    code, _, error = fistula_here(*arguments, f"readers={table(readers)}", f"scores={table(vendor, 'vendor.csv')}")
    assert code == 0, error
    numbers = json.loads((folder / "report" / "report.json").read_text())["numbers"]
    said = next(value for name, value in numbers.items() if name.endswith("less with AI / auroc / random readers"))
    assert said["low"] < said["value"] < said["high"]
    assert any(name.startswith("readers / transfer less alone, resident") for name in numbers)
    assert numbers["program / vendor / auroc"]["value"] == pytest.approx(auroc(labels, vendor["score"]))
    page = (folder / "report" / "index.html").read_text()
    assert 'vendor <span class="mark">another program' in page
    figure = (folder / "report" / "forest0.svg").read_text()
    assert "vendor (another program)" in figure
    results = pl.read_csv(folder / "report" / "results.csv", infer_schema_length=None)
    last = results.row(-1, named=True)
    assert (last["configuration"], last["level"], last["count"]) == ("vendor (another program)", "patient", 40)
    assert "whether these patients were among its training data" in page
    assert "fixed readers may be too narrow" not in page  # 20 of the patients are positive
    assert "in the LROC analysis, a positive patient" in page  # of the readers alone: the networks name no location
    assert fistula_here("report", f"study={folder}", "verify=true")[0] == 0
    few = readers.filter(pl.col("patient").str.slice(len("patient")).cast(pl.Int64) < 16)
    assert fistula_here(*arguments, f"readers={table(few, 'few.csv')}")[0] == 0
    page = (folder / "report" / "index.html").read_text()
    assert "With 8 positive patients, 95% CIs for fixed readers may be too narrow" in page


def test_readers_of_an_external_cohort_stand_beside_the_runs_that_scored_it_and_need_it(tmp_path):
    folder = write_study(tmp_path / "study", patients=40)
    listed = write_external(folder, "end_to_end")  # not the study's best
    table = readings()[0].with_columns(pl.col("patient_key").str.replace("patient", "outside"))
    study, given = read_study(folder), Given(readings=table, readings_of="there")
    found = compute(study, Settings(resamples=20), given).readers
    assert (found.cohort, found.model) == ("there", "end-to-end")
    (folder / "report").mkdir()
    given.write(folder / "report")
    assert reader_components(study)[2] == "alone minus with AI"
    shutil.rmtree(listed)
    for recomputed in (partial(compute, study, Settings(), given), partial(reader_components, study)):
        with pytest.raises(DataError, match=r"there.evaluate.json: cannot be read as an evaluation"):
            recomputed()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patient,reader,score\npatient1,a,50\nx,a,40\n", "must be one tested in the study, found lines 3 (1) of 2"),
        ("patient,reader,score\npatient1,a,5\npatient1,a,4\n", "one score per patient and modality, found lines 2, 3"),
        ("patient,reader,score\npatient1,a,101\n", "line 2: score must be a number from 0 to 100, found '101'"),
        ("patient,reader,score\npatient1,,50\n", "line 2: must name a reader"),
        ("patient,score\npatient1,50\n", "must have one column patient (or patient_id, patient_key), and reader"),
        ("patient,reader,score,experience\npatient1,a,5,x\npatient2,a,5,y\n", "a reader has one experience"),
        ("patient,reader,score\npatient1,a,\n", "every line needs a score, found lines 2"),
        ("patient,reader,score\npatient1,a,nan\n", "line 2: score must be a number from 0 to 100, found 'nan'"),
        ("patient,reader,score\npatient1,a,1_0\n", "line 2: score must be a number from 0 to 100, found '1_0'"),
        ("patient,reader,score,date\npatient1,a,5,2026-02-30\n", "line 2: date must be YEAR-MONTH-DAY, found '2026-"),
        ("patient;reader;score\npatient1;a;50,5\npatient1;a;4\n", "score per patient and modality, found lines 2, 3"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read_is_one_line(fistula_here, study_folder, tmp_path, text, message):
    (tmp_path / "readers.csv").write_text(text)
    code, _, error = fistula_here("report", f"study={study_folder}", "readers=readers.csv", "resamples=20")
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (study_folder / "report").exists()


PATIENTS = 30  # of the study in `study_folder`


def scored(change=lambda number: f"{number}", lines=range(PATIENTS), name=lambda number: f"patient{number}", cell=","):
    """Another program's table, as text."""
    rows = [f"{name(number)}{cell}{change(number)}" for number in lines]
    return "\n".join([f"patient{cell}score", *rows]) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(scored(lines=[*range(30), 7]), "a patient has one score, found lines 9, 32 (2) that", id="twice"),
        pytest.param(scored(lambda number: "nan"), "line 2: score must be a number, found 'nan'", id="NaN"),
        pytest.param(scored(lambda number: "-inf"), "line 2: score must be a number, found '-inf'", id="infinite"),
        pytest.param(scored(lambda number: "high"), "line 2: score must be a number, found 'high'", id="words"),
        pytest.param(scored(lambda number: ""), "every line needs a score, found lines 2, 3, 4, 5", id="none"),
        pytest.param(scored(lambda number: "1,234", cell=";"), "line 2: score may be two numbers", id="a thousand"),
        pytest.param(
            scored(lines=range(31)), "every patient must be one tested in the study, found lines 32 (1) of 31",
            id="a patient more",
        ),
        pytest.param(
            scored(name=lambda number: f"slice{number}-0"), "lines 2, 3, 4, 5, ... (30) of 30 lines that are not",
            id="slices",
        ),
        pytest.param(
            scored().replace("score", "score,label").replace("\n", ",0\n", 99).replace("label,0", "label"),
            "line 1: has the unknown column 'label'. Remove columns other than patient, patient_id", id="a label",
        ),
        pytest.param("patient,call\npatient1,1\n", "must have one column patient (or patient_id, patient_key), and s",
                     id="no score"),
    ],
)  # fmt: skip
def test_another_programs_table_that_cannot_be_read_is_one_line(fistula_here, study_folder, tmp_path, text, message):
    (tmp_path / "vendor.csv").write_text(text)
    code, _, error = fistula_here("report", f"study={study_folder}", "scores=vendor.csv", "resamples=20")
    assert (code, error.count("\n")) == (2, 1), error
    assert message in error
    assert not (study_folder / "report").exists()


def test_a_patient_who_stands_there_by_id_and_by_pseudonym_is_refused(tmp_path):
    path = tmp_path / "vendor.csv"
    path.write_text("patient,score\np1,0.5\nID-7,0.6\n")
    with pytest.raises(DataError, match=r"vendor.csv: a reader has one score .*found lines 2, 3 \(2\) that repeat one"):
        match_patients(read_program(path), {"": {"p1"}}, lambda name: "p1" if name == "ID-7" else "", path=path)


def test_modalities_that_differ_in_case_are_not_compared_with_each_other(tmp_path):
    path = tmp_path / "readings.csv"
    path.write_text("patient,reader,score,modality\np1,A,50,Alone\np1,A,60,alone\n")
    table = match_patients(read_readings(path), {"": {"p1"}}, lambda name: "", path=path)
    with pytest.raises(DataError, match="each modality must be spelt in one way, found Alone and alone"):
        together([(path, *table)])


def test_another_program_may_have_any_scale_any_separator_and_gaps(study_folder, tmp_path):
    study = read_study(study_folder)
    rows = rows_of(results(study, resamples=1, scaling="platt", prevalence=None), study.positives[0])
    labels = rows[0][1].group_by("patient_key").agg(pl.col("label").first())
    truth = dict(labels.iter_rows())
    random = np.random.default_rng(1)
    values = {number: truth[f"patient{number}"] + random.normal() for number in range(PATIENTS)}

    def told(text, encoding="utf-8"):
        (tmp_path / "vendor.csv").write_text(text, encoding=encoding)
        given = read_given(study, readers=None, scores=str(tmp_path / "vendor.csv"))
        return compare_program(given.program, rows, cohort="", positive="fistula")

    plain = told(scored(lambda number: f"{values[number]:.6f}"))
    german = told(scored(lambda number: f"{values[number]:.6f}".replace(".", ","), cell=";"), "utf-8-sig")
    large = told(scored(lambda number: f"{1e6 * values[number] - 7:.3f}"))
    assert str(plain.estimates) == str(german.estimates) == str(large.estimates)  # there are NaNs in them
    assert str(plain.against) == str(german.against)
    constant = told(scored(lambda number: "50"))
    assert constant.estimates["auroc"].value == 0.5
    some = told(scored(lambda number: f"{values[number]:.6f}", lines=range(0, PATIENTS, 3)))
    assert (some.patients[0], some.of) == (10, 30)
    read = [f"patient{number}" for number in range(0, PATIENTS, 3)]
    shared = rows[0][1].filter(pl.col("patient_key").is_in(read))
    scores = [values[int(key[7:])] for key in shared["patient_key"]]
    columns = (shared[name].to_numpy() for name in ("label", "score"))
    expected = clustered_auroc_test(*columns, scores, shared["patient_key"].to_numpy(), shared["run"].to_numpy())
    assert some.against[0][1]["auroc"].difference.value == pytest.approx(expected.difference.value, nan_ok=True)
