"""A reader study: its plan, and its pages in a real browser up to the numbers in the report."""

import csv
import json
import re
import shutil
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from fistula.errors import ConfigError
from fistula.labels.readers.reading import AIDED, ALONE, Panel, plan_readings

READERS = ["AB", "CD", "EF", "GH"]


def planned(readers=READERS, patients=10, aided=True, seed=0):
    return plan_readings(Panel(readers, aided, 4, seed), [f"p{number}" for number in range(patients)])


@pytest.mark.parametrize("seed", range(5))
def test_each_reader_reads_every_patient_once_in_each_modality_and_once_in_each_session(seed):
    plan = planned(seed=seed)
    for keys in (["reader", "modality"], ["reader", "session"]):
        for _, part in plan.group_by(keys):
            assert sorted(part["patient_key"]) == sorted(f"p{number}" for number in range(10))
    assert plan.group_by("reader", "patient_key").agg(pl.col("session").n_unique())["session"].to_list() == [2] * 40


def test_modalities_are_balanced_in_each_session_and_over_the_readers_of_a_patient():
    plan = planned()
    assert set(plan.group_by("reader", "session", "modality").len()["len"]) == {5}
    # Of four readers of a patient, two read alone first: what a session changes falls out of the difference.
    assert set(plan.group_by("patient_key", "session", "modality").len()["len"]) == {2}
    begins = plan.filter(pl.col("turn") == 1).group_by("reader").agg(pl.col("modality").sort())
    assert begins["modality"].to_list() == [[ALONE, AIDED]] * 4


def test_a_plan_is_its_seeds_and_no_orders_of_the_patients():
    assert planned().equals(plan_readings(Panel(READERS, True, 4, 0), [f"p{number}" for number in range(9, -1, -1)]))
    assert not planned().equals(planned(seed=1))
    orders = [part["patient_key"].to_list() for _, part in planned(aided=False).group_by("reader")]
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize(
    ("readers", "message"),
    [
        (["AB", "A B", "AB "], "must be different names"),
        (["AB", "??"], "must be different names"),
        (["A,B"], "must have no comma"),
    ],
)
def test_a_panel_that_cannot_be_is_refused(readers, message):
    with pytest.raises(ConfigError, match=message):
        Panel(readers, True, 4, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["readers=[AB]"], "question: must be score where readers= plans a reader study, found class"),
        (["readers=[AB]", "question=score", "repeat=0.5"], "repeat: must be 0"),
        (["readers=[AB]", "question=score", "serve=true"], "serve: must be false"),
        (["aid=study", "question=score"], "aid: needs readers"),
        (["washout=-1"], "washout: must be at least 0 and at most 104, found -1"),
        (["seed=-1"], "seed: must be at least 0"),
        (["serve=true", "port=70000"], "port: must be at least 0 and at most 65535, found 70000"),
        (["beside=[1]"], "beside: must be names of keep rules, found 1"),
    ],
)
def test_settings_that_do_not_go_with_a_reader_study_are_one_line(fistula_here, tmp_path, settings, message):
    code, _, error = fistula_here("label", "source=nowhere", *settings)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1


def wait_until_the_washout_is_over(page):
    """A second session, six weeks after the first, that the same browser saw today: it is closed, and opens in time."""
    today = datetime.now(UTC).date()
    assert page.input_value("#ended") == page.evaluate("today()")  # what this browser knows
    assert page.is_disabled("#begin")
    assert page.evaluate("turn") is None
    for days, opens in ((200, False), (0, False)):  # an earlier date than the known one is put right
        page.fill("#ended", (today - timedelta(days=days)).isoformat())
        assert page.is_enabled("#begin") == opens
    page.evaluate("localStorage.removeItem(sessionKey(facts, 1, facts.reader))")
    for days, opens in ((41, False), (43, True)):
        page.fill("#ended", (today - timedelta(days=days)).isoformat())
        assert page.is_enabled("#begin") == opens
        assert ("Session 2 opens on 20" in page.inner_text("#start .soft")) != opens


DRAG = """(() => {
  const slider = document.querySelector(".dial input"), before = state.history.length;
  for (const value of [10, 20, 30]) { slider.value = value; slider.dispatchEvent(new Event("input")); }
  slider.dispatchEvent(new Event("change"));
  return state.history.length - before;
})()"""


def read(page, path, wanted):
    """Give each patient of a page a score, and every second one a place; export."""
    page.goto(path.as_uri())
    if "session-2" in path.name:
        wait_until_the_washout_is_over(page)
    page.click("#begin")
    for number in range(page.evaluate("state.turns.length")):
        for _ in range(200):
            if page.evaluate("viewer.active && viewer.active.painted === viewer.active.slice && patient === null"):
                break
            if page.evaluate(
                f"state.turns.indexOf(turn) === {number} && viewer.active.painted === viewer.active.slice"
            ):
                break
            page.wait_for_timeout(10)
        key, aid = page.evaluate("[turn.patient.key, turn.patient.aid ?? null]")
        shown = page.inner_text("#aid")
        assert bool(re.search(r"AI: \d+ of 100 \(threshold, \d+\): ", shown)) == (aid is not None)
        assert page.evaluate(DRAG) == 1, "one drag is one answer, which one undo takes back"
        page.keyboard.type(str(wanted(key)))
        if number % 2:
            page.locator(".slice").first.click()
        page.keyboard.press("Enter")
    with page.expect_download() as download:
        page.click("[data-do=export]")
    target = path.with_suffix(".csv")
    download.value.save_as(target)
    return target


@pytest.mark.slow
def test_readers_read_in_two_sessions_and_their_tables_enter_the_report_as_they_are(
    browser, fistula_here, study, phantom, tmp_path
):
    own = tmp_path / "study"
    shutil.copytree(study, own)
    settings = ["question=score", "level=patient", "readers=[AB,CD]", f"aid={own}", "washout=6", "out=reading"]
    code, shown, error = fistula_here("label", f"source={phantom}", *settings, "workers.count=1")
    assert code == 0, error
    assert "for 16 patients of its test sets" in shown
    plan = pl.read_csv(tmp_path / "reading" / "plan.csv")
    assert len(plan) == 2 * 2 * 16
    pages = sorted((tmp_path / "reading").glob("*.html"))
    assert [page.name for page in pages] == [f"{name}-session-{n}.html" for name in ("AB", "CD") for n in (1, 2)]
    for path in pages:  # who reads alone cannot find what the AI says
        facts = json.loads(path.read_text().split('id="facts">')[1].split("</script>")[0])
        assert all(("aid" in one) == (one["modality"] == AIDED) for one in facts["patients"])
        assert facts["washout"] == 6
    cohort = pl.read_parquet(own / "cohort" / "manifest.parquet").group_by("patient_key").agg(pl.col("label").max())
    labels = dict(cohort.iter_rows())
    page = browser.new_context(viewport={"width": 1000, "height": 700}, accept_downloads=True).new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    tables = [read(page, path, lambda key: 20 + 50 * labels[key] + int(key, 16) % 25) for path in pages]
    page.context.close()
    assert wrong == []
    with tables[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    first = plan.filter((pl.col("reader") == "AB") & (pl.col("session") == 1))
    assert {row["patient_key"]: row["modality"] for row in rows} == dict(
        first.select("patient_key", "modality").iter_rows()
    )
    assert all(
        int(row["score"]) == 20 + 50 * labels[row["patient_key"]] + int(row["patient_key"], 16) % 25 for row in rows
    )
    assert sum(row["opening_slice"] != "" for row in rows) == 8
    code, _, error = fistula_here("report", f"study={own}", "readers=reading/*.csv", "resamples=20", "maps=none")
    assert code == 2  # the plan lies there too
    code, _, error = fistula_here(
        "report", f"study={own}", "readers=reading/*session*.csv", "resamples=20", "maps=none", "cutoff=50"
    )
    assert code == 0, error
    numbers = json.loads((own / "report" / "report.json").read_text())["numbers"]
    assert numbers["reader / AB / alone / auroc"]["value"] == 1.0
    assert numbers["readers / alone and with AI / least days between"]["value"] == 0
    assert any("minutes" in name and "fixed" in name for name in numbers)
