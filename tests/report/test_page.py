import csv
import json
import re
import shutil
from html.parser import HTMLParser

import polars as pl
import pytest

from fistula.errors import ConfigError
from fistula.report.contents import Settings, compute
from fistula.report.page import write_report
from fistula.report.sections.cross_checks import CHECKS
from fistula.report.study import read_study

from .conftest import RESAMPLES


class Text(HTMLParser):
    """The words of a page, its tags, and what its tags refer to."""

    def __init__(self, page):
        super().__init__()
        self.words, self.tags, self.links = [], [], []
        self.feed(page)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href", "action")]

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def page(reported):
    return Text((reported / "report" / "index.html").read_text())


def test_the_page_shows_every_number_of_the_results(reported, page):
    contents = compute(read_study(reported), Settings(resamples=RESAMPLES, prevalence=0.2))
    for row in contents.rows:
        for estimate in row.estimates.values():
            assert f"{estimate.value:.3f} {estimate.low:.3f} to {estimate.high:.3f}" in page.text


def test_text_from_data_is_escaped_on_both_pages(reported):
    for name in ("index.html", "reading.html"):
        content = (reported / "report" / name).read_text()
        for hostile in ("<script>alert(1)", "<img src=x", "<i>", "<u>", "<em>", "localizer <b>"):
            assert hostile not in content, (name, hostile)
    page = Text((reported / "report" / "index.html").read_text())
    assert page.tags.count("script") == 1
    assert "<script>alert(1)</script>" in page.text
    assert "localizer <b> (n = 10)" in page.text
    assert "quick & <em>dirty" in page.text


def test_nothing_outside_the_folder_is_referred_to(page):
    outside = [link for link in page.links if not link.startswith("#") and "/" in link]
    assert outside == []


def test_every_link_leads_somewhere(reported, page):
    content = (reported / "report" / "index.html").read_text()
    for link in page.links:
        if link.startswith("#"):
            assert f'id="{link[1:]}"' in content, link
        else:
            assert (reported / "report" / link).is_file(), link


def test_identifiers_are_unique_on_the_page(reported):
    identifiers = re.findall(r'\bid="([^"]+)"', (reported / "report" / "index.html").read_text())
    assert len(identifiers) == len(set(identifiers))


def test_an_unfinished_run_is_listed_with_its_state_and_reason(page):
    assert "1 of 6 runs has not finished and is excluded from every number on this page" in page.text
    assert "resnet18-end_to_end-patient_kfold-fold2-seed0: failed: the loss is not finite at step 7 <i>" in page.text


def test_a_configuration_tested_in_fewer_patients_is_marked(page):
    assert "not all configurations were tested in the same patients (20 to 30 of them)" in page.text
    assert "end-to-end 20 patients " in page.text
    assert "transfer constant prediction (1 of 3 runs) 0." in page.text


def test_a_constant_prediction_is_named(page):
    assert "constant prediction: all <u>positive</u> (1 of 3 runs)" in page.text


def test_every_number_stands_in_the_record_with_its_runs(reported):
    record = json.loads((reported / "report" / "report.json").read_text())
    area = record["numbers"]["results / transfer / <script>alert(1)</script> / slice / auroc"]
    assert area["low"] < area["value"] < area["high"]
    assert area["method"] == "within runs, delete-one-patient jackknife, logit scale, t, 95%"
    assert area["from"] == ["transfer"]
    assert len(record["sources"]["transfer"]) == 3
    assert record["unfinished"] == {"resnet18-end_to_end-patient_kfold-fold2-seed0": "failed"}


def test_tables_and_figures_lie_beside_the_page(reported):
    folder = reported / "report"
    for name in ("losses", "roc0", "forest0", "reliability0", "benefit0"):
        assert (folder / f"{name}.svg").read_text().startswith("<?xml")
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    with (folder / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["configuration"], row["level"], row["count"]) for row in rows] == [
        ("end-to-end", "slice", "60"),
        ("end-to-end", "patient", "20"),
        ("transfer", "slice", "90"),
        ("transfer", "patient", "30"),
    ]
    record = json.loads((folder / "report.json").read_text())["numbers"]
    for check in CHECKS:
        number = record[f"results / transfer / <script>alert(1)</script> / patient / {check}"]
        assert rows[-1][f"{check}_high"] == ("" if number["high"] is None else str(number["high"])), check
    assert r"\textless{}script" in (folder / "results.tex").read_text()


def test_a_second_report_replaces_the_first_whole(reported, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(reported, folder)
    (folder / "report" / "stray.txt").write_text("left over")
    page = write_report(read_study(folder), Settings(resamples=20))
    assert page == folder / "report" / "index.html"
    assert not (folder / "report" / "stray.txt").exists()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_what_is_no_report_is_not_replaced(study_folder):
    (study_folder / "report").mkdir()
    (study_folder / "report" / "thesis.txt").write_text("three years of work")
    with pytest.raises(ConfigError, match=r"already exists and is not a report. Move it away"):
        write_report(read_study(study_folder), Settings(resamples=20))
    assert (study_folder / "report" / "thesis.txt").exists()


def test_a_report_that_cannot_be_made_leaves_the_old_one(reported, tmp_path, monkeypatch):
    folder = tmp_path / "study"
    shutil.copytree(reported, folder)
    before = (folder / "report" / "report.json").read_text()
    monkeypatch.setattr("fistula.report.page.write_tables", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(read_study(folder), Settings(resamples=20))
    assert (folder / "report" / "report.json").read_text() == before
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_the_caption_of_the_decision_curve_says_what_was_moved_to_the_stated_prevalence(page):
    assert (
        "Decision curve of the calibrated scores, per patient, at a prevalence of 0.2: the log odds of the "
        "probabilities were shifted to it from the proportion of positives in the test set."
    ) in page.text


def test_the_sentence_on_power_names_the_correlation_that_it_rests_on(reported, page):
    found = compute(read_study(reported), Settings(resamples=RESAMPLES, prevalence=0.2)).comparisons[0]
    said = page.text.partition("a study of this design has 80% power to detect a difference of ")[2]
    assert said.startswith(f"{found.detectable:.2f} from the highest per-patient AUROC ")
    assert f"of two configurations within a class, {found.correlation:.2f}, the median of the highest with" in said


def test_the_paragraph_on_abstention_reports_no_coverage_that_holds_by_construction(reported, page):
    contents = compute(read_study(reported), Settings(resamples=RESAMPLES, prevalence=0.2))
    assert set(contents.abstention.estimates) == {"answered", "wrong"}
    said = page.text.partition(" abstains. At its error rate of 10%, ")[2]
    assert " Wrong answers: " in said
    assert "calibrated on the other test patients (leave-one-out)" in said
    assert "holds by construction and is not a result" in said
    assert "not among the possible" not in page.text


def test_a_calibration_that_reverses_the_scores_is_named(study_folder):
    path = study_folder / "resnet18-transfer-patient_kfold-fold0-seed0" / "predictions.parquet"
    score = pl.col("score")
    turned = pl.when(pl.col("part") == "val").then(1 - score).otherwise(score)
    pl.read_parquet(path).with_columns(score=turned).write_parquet(path)
    told = write_report(read_study(study_folder), Settings(resamples=10)).read_text(encoding="utf-8")
    assert "In 1 of 3 runs, the slope of Platt scaling is negative" in told
    straight = Settings(resamples=10, scaling="temperature")  # whose slope is positive
    assert "is negative" not in write_report(read_study(study_folder), straight).read_text(encoding="utf-8")
