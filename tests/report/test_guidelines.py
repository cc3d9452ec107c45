import json
import re
from pathlib import Path

import pytest

import fistula.report
from fistula.report.contents import Settings
from fistula.report.page import write_report
from fistula.report.sections.guidelines import SOMETIMES, metrics_score, read_guidelines
from fistula.report.study import read_study

from .conftest import RESAMPLES, write_study


def test_every_item_is_answered_by_a_section_of_the_page_or_by_nobody():
    templates = (Path(fistula.report.__file__).parent / "templates").glob("*.html")
    sections = {found for path in templates for found in re.findall(r'id="([a-z]+)"', path.read_text())} | {"reading"}
    for guideline in read_guidelines(set(SOMETIMES)):
        assert {item.section for item in guideline.items} - {""} <= sections
        assert all(item.topic for item in guideline.items)


def test_the_lists_are_whole():
    stard, claim, tripod = read_guidelines(set())
    assert len({re.match(r"\d+", item.number).group() for item in stard.items}) == 40
    assert len(stard.items) == 48
    assert [item.number for item in claim.items] == [str(number) for number in range(1, 45)]
    assert len({re.match(r"\d+", item.number).group() for item in tripod.items}) == 27


def test_external_cohorts_shifts_and_readers_answer_items_only_where_the_page_has_them(tmp_path):
    without, whole = (
        {(one.name, item.number): item.section for one in read_guidelines(present) for item in one.items}
        for present in ({"comparisons"}, set(SOMETIMES))
    )
    changed = {key: (without[key], section) for key, section in whole.items() if section != without[key]}
    assert changed == {
        ("STARD-AI 2025", "29"): ("", "outside"),
        ("CLAIM 2024", "27"): ("methods", "outside"),
        ("CLAIM 2024", "30"): ("comparisons", "robustness"),
        ("CLAIM 2024", "33"): ("", "outside"),
        ("TRIPOD+AI", "16"): ("cohort", "outside"),
        ("TRIPOD+AI", "23b"): ("comparisons", "outside"),
    }
    study = read_study(write_study(tmp_path / "study", learnings=("transfer",)))  # all of site A
    before, after = (
        {item.number: item.answer for item in metrics_score(study, present, sites=sites).items}
        for present, sites in ((set(), set()), (set(SOMETIMES), {"B"}))
    )
    changed = {number: (before[number], answer) for number, answer in after.items() if answer != before[number]}
    assert changed == {
        "4": ("no", "yes"), "17": ("authors", "yes"), "24": ("authors", "yes"), "27": ("no", "yes"),
    }  # fmt: skip
    clinical = write_study(tmp_path / "clinical", learnings=("transfer", "end_to_end"))
    for path in clinical.glob("*end_to_end*/run.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"factors": record["factors"] | {"model": "clinical"}}))
    answers = {item.number: item.answer for item in metrics_score(read_study(clinical), set(), sites=set()).items}
    assert (answers["24"], answers["25"]) == ("yes", "yes")


def test_no_link_of_a_page_leads_nowhere(tmp_path, reported):
    alone = write_study(tmp_path / "study", learnings=("transfer",))  # nothing to compare
    pages = write_report(read_study(alone), Settings(resamples=RESAMPLES)), reported / "report" / "index.html"
    for page in pages:
        text = page.read_text()
        assert set(re.findall(r'href="#([^"]+)"', text)) <= set(re.findall(r'id="([^"]+)"', text))


def test_the_metrics_score_lies_between_what_the_record_answers_and_what_the_authors_may(tmp_path):
    study = read_study(write_study(tmp_path / "study"))
    score = metrics_score(study, set(), sites=set())
    assert len(score.items) == 30
    assert sum(item.weight for item in score.items) == pytest.approx(1)
    # Yes without an audit: 11, 13, 20, 21, 22, and 23 (one sequence); of 0.8315 that apply without 8-10, 12, 14-16.
    assert score.least == pytest.approx(100 * (0.0622 + 0.0415 + 0.0352 + 0.0234 + 0.0176 + 0.0117) / 0.8315)
    # No: 4 (one site), 18, 19, 26 (no audit), 27.
    assert score.most == pytest.approx(100 * (0.8315 - 0.0438 - 0.0599 - 0.0300 - 0.0375 - 0.0749) / 0.8315)
    assert score.open == 12


def test_an_audit_that_found_nothing_answers_that_patients_stand_apart(tmp_path):
    names = [f"resnet18-transfer-patient_kfold-fold{fold}-seed0" for fold in range(3)]
    audit = {"split": "patient_kfold", "verdict": "no leak", "is_marked": False, "confounding": []}
    folder = write_study(tmp_path / "study", learnings=("transfer",), changes={n: {"audit": audit} for n in names})
    answers = {item.number: item.answer for item in metrics_score(read_study(folder), set(), sites=set()).items}
    assert (answers["18"], answers["19"], answers["26"], answers["27"]) == ("yes", "yes", "yes", "no")
