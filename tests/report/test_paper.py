import json

import pytest

from fistula.evidence.rates.counts import wilson
from fistula.report.sections.paper import beside_the_paper, paper_rows
from fistula.report.study import read_study

from .conftest import write_study


@pytest.mark.parametrize("row", paper_rows(), ids=lambda row: str(row.row))
def test_the_papers_auc_is_balanced_accuracy_in_every_row(row):
    # 0.86355 and 0.42425 are printed as 0.864 and 0.424, 0.82325 as 0.823: half a unit of the last digit.
    assert row.auc == pytest.approx(row.balanced_accuracy, abs=0.00051)


def test_the_best_rows_interval_is_wilsons_of_96_and_94_in_99():
    best = next(row for row in paper_rows() if row.row == 5)
    assert best.sensitivity == wilson(96, 99)
    assert f"{best.sensitivity:.1%}" == "97.0% (91.5% to 99.0%)"
    assert f"{best.specificity:.1%}" == "94.9% (88.7% to 97.8%)"


@pytest.fixture
def repeated(tmp_path):
    """A study of the paper's eight configurations."""
    rows = paper_rows()
    folder = write_study(tmp_path / "study", learnings=[f"row {row.row}" for row in rows], folds=2)
    for row in rows:
        for path in folder.glob(f"resnet18-row {row.row}-*/run.json"):
            record = json.loads(path.read_text())
            path.write_text(json.dumps(record | {"factors": record["factors"] | row.factors}))
    return folder


def test_configurations_of_the_same_factors_stand_beside_the_papers_rows(repeated):
    pairs = beside_the_paper(read_study(repeated))
    assert [theirs.row for theirs, _ in pairs] == list(range(1, 9))
    assert all(ours.runs[0].folder.name.startswith(f"resnet18-row {theirs.row}-") for theirs, ours in pairs)


def test_a_study_with_any_other_configuration_is_not_the_papers(repeated):
    path = next(repeated.glob("resnet18-row 3-*/run.json"))
    record = json.loads(path.read_text())
    record["factors"]["epochs"] = 7
    path.write_text(json.dumps(record))
    assert beside_the_paper(read_study(repeated)) == []


def test_a_study_that_happens_to_hold_one_of_its_configurations_is_not_the_papers(study_folder):
    assert read_study(study_folder).configurations[0].factors["model"] == "resnet18"
    assert beside_the_paper(read_study(study_folder)) == []
