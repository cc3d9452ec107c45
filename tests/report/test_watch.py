import json
import threading
import time

import pytest

from fistula.report.contents import Settings
from fistula.report.watch import watch

from .conftest import write_study

LAST = "resnet18-transfer-patient_kfold-fold2-seed0"


def test_the_page_is_drawn_as_runs_end_and_reloads_until_all_have(tmp_path):
    queued = {LAST: {"state": "queued"}}
    folder = write_study(tmp_path / "study", learnings=("transfer",), changes=queued)
    watching = threading.Thread(target=watch, args=(folder, Settings(resamples=20)), kwargs={"every": 0.1}, daemon=True)
    watching.start()
    page, deadline = folder / "report" / "index.html", time.monotonic() + 30
    while not page.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    drawn = page.read_text()
    assert '<meta http-equiv="refresh" content="0.1">' in drawn
    assert "1 of 3 runs has not finished" in drawn
    assert f"{LAST}: queued" in drawn
    assert watching.is_alive()
    path = folder / LAST / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "done"}))
    watching.join(timeout=30)
    assert not watching.is_alive()


def test_watching_ends_with_the_ordinary_page(fistula_here, tmp_path):
    folder = write_study(tmp_path / "study", learnings=("transfer",))
    code, shown, error = fistula_here("report", f"study={folder}", "resamples=20", "watch=true", "every=0.1")
    assert (code, error) == (0, "")
    assert shown.splitlines()[-1] == str(folder / "report" / "index.html")
    assert "refresh" not in (folder / "report" / "index.html").read_text()


@pytest.mark.parametrize("every", ["0", "-1"])
def test_looking_without_a_pause_is_refused(fistula_here, tmp_path, every):
    folder = write_study(tmp_path / "study", learnings=("transfer",))
    code, _, error = fistula_here("report", f"study={folder}", "watch=true", f"every={every}")
    assert (code, "every: must be at least 0.1 and at most 86400" in error) == (2, True)


@pytest.mark.parametrize("key", ["readers", "scores"])
def test_a_table_that_is_not_there_is_refused_before_anything_is_watched(fistula_here, tmp_path, key):
    code, _, error = fistula_here("report", f"study={tmp_path / 'none'}", "watch=true", f"{key}=none.csv")
    assert (code, f"{key}: must name files, found none.csv. Check the path" in error) == (2, True)
