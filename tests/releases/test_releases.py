"""What an earlier release wrote is opened by this one."""

import json
import shutil
from pathlib import Path

import pytest

RELEASES = sorted(path for path in Path(__file__).parent.iterdir() if (path / "study").is_dir())

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_a_run_of_an_earlier_release_predicts(release, fistula_here, tmp_path):
    code, _, error = fistula_here(
        "predict", f"run={release / 'study'}", f"source={release / 'slices'}", "out=out", "workers.count=1"
    )
    assert code == 0, error
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["slices"] == 2


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_a_study_of_an_earlier_release_is_reported(release, fistula_here, tmp_path):
    shutil.copytree(release / "study", tmp_path / "study")
    code, shown, error = fistula_here("report", "study=study", "resamples=50")
    assert code == 0, error
    assert (tmp_path / shown.splitlines()[-1]).is_file()


def test_there_is_a_release_to_open():
    assert RELEASES


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_a_study_of_an_earlier_release_is_evaluated_on_a_new_cohort(release, dicom_tree, fistula_here, tmp_path):
    source, labels = dicom_tree
    lines = labels.read_text().replace(",1\n", ",fistula\n").replace(",0\n", ",normal\n")
    labels.write_text(lines)
    settings = ("size=32", "spacing_mm=2.0", "classes=[normal,fistula]", "workers.count=1")
    code, _, error = fistula_here("ingest", f"source={source}", f"labels={labels}", "out=outside", *settings)
    assert code == 0, error
    shutil.copytree(release / "study", tmp_path / "study")
    code, _, error = fistula_here("evaluate", "run=study", "cohort=outside")
    assert code == 0, error
    assert (tmp_path / "study" / "external" / "outside" / "evaluate.json").is_file()
