import json

import pytest

from fistula.evidence.rates import wilson
from fistula.report.contents import Settings, compute
from fistula.report.paper import paper_rows
from fistula.report.study import read_study


@pytest.mark.parametrize("row", paper_rows(), ids=lambda row: str(row.row))
def test_the_papers_auc_is_balanced_accuracy_in_every_row(row):
    # 0.86355 and 0.42425 are printed as 0.864 and 0.424, 0.82325 as 0.823: half a unit of the last digit.
    assert row.auc == pytest.approx(row.balanced_accuracy, abs=0.00051)


def test_the_best_rows_interval_is_wilsons_of_96_and_94_in_99():
    best = next(row for row in paper_rows() if row.row == 5)
    assert best.sensitivity == wilson(96, 99)
    assert f"{best.sensitivity:.1%}" == "97.0% (91.5% to 99.0%)"
    assert f"{best.specificity:.1%}" == "94.9% (88.7% to 97.8%)"


def test_configurations_of_the_same_factors_stand_beside_the_papers_rows(study_folder):
    pairs = compute(read_study(study_folder), Settings(resamples=20)).beside_the_paper
    assert [(theirs.row, ours.name) for theirs, ours in pairs] == [(1, "transfer"), (4, "end-to-end")]


def test_a_study_with_any_other_configuration_is_not_the_papers(study_folder):
    path = study_folder / "resnet18-end_to_end-patient_kfold-fold0-seed0" / "run.json"
    record = json.loads(path.read_text())
    record["factors"]["epochs"] = 7
    path.write_text(json.dumps(record))
    assert compute(read_study(study_folder), Settings(resamples=20)).beside_the_paper == []


def test_another_network_has_no_row_in_the_paper(study_folder):
    for path in study_folder.glob("*/run.json"):
        record = json.loads(path.read_text())
        record["factors"]["model"] = "tf_efficientnet_lite0"
        path.write_text(json.dumps(record))
    assert compute(read_study(study_folder), Settings(resamples=20)).beside_the_paper == []
