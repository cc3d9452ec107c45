"""The label page in a real browser, from disk: keys, points, what is kept, and the table that ingest takes."""

import csv
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest

from ..conftest import CHROMIUM, QUIET, wait_until

SLICES = 10


@pytest.fixture
def archive(tmp_path, write_dicom):
    """Three patients of ten axial slices, each 60 × 40 pixels of 0.5 × 1 mm; file names and numbers run apart."""
    random = np.random.default_rng(1)
    for patient in range(3):
        for place in range(SLICES):
            write_dicom(
                tmp_path / "archive" / f"Kanarie^{patient}" / f"{9 - place}.dcm",
                random.integers(0, 4000, (60, 40)).astype(np.uint16),
                SOPInstanceUID=f"2.25.77{patient}{place}", SeriesInstanceUID=f"2.25.88{patient}",
                StudyInstanceUID=f"2.25.99{patient}", PatientID=f"PID-{patient}",
                PatientName=f"Kanarie^{patient}",
                PatientBirthDate=f"19{60 + patient}0101",
                ImagePositionPatient=[0, 0, 3.0 * place], InstanceNumber=place + 1, PixelSpacing=[0.5, 1.0],
                SeriesDescription="Kanarie had a scan", ProtocolName="protocol of Kanarie",
            )  # fmt: skip
    return tmp_path / "archive"


@pytest.fixture
def opened(browser, archive, tmp_path, fistula_here):
    """Write the page, open it as a reader, and at the end see that nothing went wrong and nothing was asked for."""
    contexts, wrong, asked = [], [], []

    def call(*settings, reader="AB", context=None):
        out = tmp_path / "labels"
        if not out.exists():
            code, _, error = fistula_here("label", f"source={archive}", f"out={out}", "workers.count=1", *settings)
            assert code == 0, error
        context = context or browser.new_context(viewport={"width": 1200, "height": 800}, accept_downloads=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((out / "label-1.html").as_uri())
        page.fill("#name", reader)
        page.click("#begin")
        shown(page)
        return page

    yield call
    for context in contexts:
        context.close()
    assert wrong == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def shown(page):
    wait_until(page, "viewer.active && viewer.active.painted === viewer.active.slice")


def press(page, keys):
    for key in keys.split():
        page.keyboard.press(key)


def answers(page):
    """Labels of the patient on the screen, in the order of its slices."""
    return page.evaluate("viewer.active.series.slices.map(slice => state.answer(turn, slice.key).label)")


def exported(page, path):
    with page.expect_download() as download:
        page.click("[data-do=export]")
    download.value.save_as(path)
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def click(page, row, col, **keys):
    """Click the centre of a pixel, by where the viewer says that it is."""
    x, y = page.evaluate(
        """([row, col]) => { const pane = viewer.active, box = pane.box(), area = pane.canvas.getBoundingClientRect();
        return [area.left + box.x + (col + 0.5) / pane.series.cols * box.width,
                area.top + box.y + (row + 0.5) / pane.series.rows * box.height]; }""",
        [row, col],
    )
    page.locator(".slice").first.click(
        position={"x": x, "y": y - page.locator(".slice").first.bounding_box()["y"]}, **keys
    )


def test_thirty_slices_labelled_by_keys_and_two_points_become_a_cohort(opened, archive, tmp_path, fistula_here):
    page = opened()
    press(page, "0 0 1 ArrowDown ArrowDown Shift+1")  # 0 0 1 1 1 1: a range from the last answered slice
    assert answers(page) == [0, 0, 1, 1, 1, 1, None, None, None, None]
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    key = page.evaluate("viewer.active.slice.key")
    click(page, 20, 30)
    click(page, 20, 10, modifiers=["Alt"])
    press(page, "n")  # the rest is normal, and the next patient comes
    shown(page)
    assert answers(page) == [None] * SLICES
    press(page, "ArrowDown Shift+1")  # nothing is answered here: no range begins in the patient before
    assert answers(page) == [None, 1] + [None] * 8
    press(page, "Backspace Home f ArrowDown ArrowDown 1 n Enter")
    assert "opening" in page.text_content("#toast") or page.evaluate("state.turns.indexOf(turn)") == 2
    page.evaluate("go(state.turns[2])")
    shown(page)
    press(page, "u n")
    wait_until(page, "state.turns.every(one => state.isDone(one))")

    page.reload()  # what was answered is there again
    page.fill("#name", "AB")
    page.click("#begin")
    shown(page)
    assert page.evaluate("state.turns.map(one => state.done(one))") == [SLICES] * 3

    rows = exported(page, tmp_path / "answers.csv")
    assert len(rows) == 30
    assert {row["reader"] for row in rows} == {"AB"}
    marked = next(row for row in rows if row["slice_key"] == key)
    assert [float(marked[name]) for name in ("opening_row", "opening_col", "canal_row", "canal_col")] == pytest.approx(
        [20, 30, 20, 10], abs=0.1
    )
    assert marked["clock"] == "3.0"  # straight to the patient's left
    assert marked["pixel_mm"] == "0.5x1"
    assert sum(row["unsure"] == "1" for row in rows) == 1

    code, _, error = fistula_here(
        "ingest", f"source={archive}", f"labels={tmp_path / 'answers.csv'}", f"out={tmp_path / 'cohort'}",
        "classes=[normal,fistula]", "size=64", "spacing_mm=0.5", "workers.count=1",
    )  # fmt: skip
    assert code == 0, error
    manifest = pl.read_parquet(tmp_path / "cohort" / "manifest.parquet")
    given = {row["slice_key"]: row["label"] for row in rows if row["label"]}
    stored = manifest.filter(pl.col("label").is_not_null())
    assert {key: ("normal", "fistula")[label] for key, label in stored.select("slice_key", "label").rows()} == given
    openings = manifest.filter(pl.col("opening_row").is_not_null())
    assert openings["slice_key"].to_list() == [key]


def test_the_order_of_the_patients_is_drawn_by_reader(opened):
    page = opened()
    order = "name => turnsOf(facts, name).map(one => one.patient.key).join()"
    assert page.evaluate(order, "AB") == page.evaluate("state.turns.map(one => one.patient.key).join()")
    assert len({page.evaluate(order, f"reader {number}") for number in range(100)}) == 6  # every order of three


@pytest.mark.slow
def test_another_reader_in_the_same_browser_sees_no_answers(opened):
    page = opened()
    press(page, "1 1")
    other = opened(reader="CD", context=page.context)
    assert other.evaluate("state.turns.map(one => state.done(one))") == [0, 0, 0]


def test_undo_takes_back_what_one_key_did(opened):
    page = opened()
    press(page, "0 1 n")  # all answered, an opening is asked for
    assert answers(page) == [0, 1] + [0] * 8
    page.keyboard.press("Backspace")
    assert answers(page) == [0, 1] + [None] * 8
    page.keyboard.press("Control+z")
    assert answers(page) == [0] + [None] * 9
    assert page.evaluate("viewer.active.index") == 1  # the slice whose answer was taken back
    press(page, "Home ArrowDown ArrowDown ArrowDown Shift+1")  # the last answered slice is none of another class
    assert answers(page) == [0, 1, 1, 1] + [None] * 6


@pytest.mark.slow
def test_a_normal_slice_takes_no_opening_and_a_slice_that_becomes_normal_loses_it(opened):
    page = opened()
    click(page, 20, 30)
    assert answers(page)[0] == 1  # with two classes an opening says which
    press(page, "0 ArrowUp")
    assert page.evaluate("state.answer(turn, viewer.active.slice.key).opening") is None
    click(page, 20, 30)
    assert page.evaluate("state.answer(turn, viewer.active.slice.key).opening") is None
    assert "no internal opening" in page.text_content("#toast")


@pytest.mark.slow
def test_an_exported_table_comes_back_and_another_readers_does_not(opened, browser, tmp_path):
    page = opened("repeat=0.5")
    page.evaluate("go(state.turns[0])")
    press(page, "1 ArrowUp t")
    page.keyboard.type('he said "no", twice')
    page.keyboard.press("Escape")
    rows = exported(page, tmp_path / "mine.csv")
    assert [row["note"] for row in rows] == ['he said "no", twice']
    fresh = opened()
    # A spreadsheet of a country with decimal commas has saved it.
    (tmp_path / "mine.csv").write_bytes(
        b"\xef\xbb\xbf" + (tmp_path / "mine.csv").read_bytes().replace(b",", b";").replace(b'"no"";', b'"no"",')
    )
    fresh.set_input_files("#file", tmp_path / "mine.csv")
    wait_until(fresh, "state.turns.some(one => state.done(one) === 1)")
    assert exported(fresh, tmp_path / "again.csv") == rows
    other = opened(reader="CD")
    other.set_input_files("#file", tmp_path / "mine.csv")
    wait_until(other, "document.querySelector('#toast').textContent.includes('another reader (AB)')")


@pytest.mark.slow
def test_a_share_of_the_patients_is_shown_twice(opened):
    page = opened("repeat=0.4")
    turns = page.evaluate("state.turns.map(one => [one.patient.key, one.repeat])")
    assert [again for _, again in turns] == [0, 0, 0, 1]
    assert turns[3][0] in [key for key, _ in turns[:3]]


@pytest.mark.slow
def test_patients_are_answered_as_wholes(opened, tmp_path):
    page = opened("level=patient", "classes=[none,low,high]")
    assert page.evaluate("$('#asks').textContent") == "What does this patient show?"
    press(page, "2")
    wait_until(page, "state.turns.indexOf(turn) === 1")
    press(page, "u")
    wait_until(page, "state.turns.indexOf(turn) === 2")
    rows = exported(page, tmp_path / "answers.csv")
    assert [(row["label"], row["unsure"]) for row in rows] == [("high", "0"), ("", "1")]


def test_nothing_on_a_page_names_a_patient(opened, tmp_path):
    opened()
    written = (tmp_path / "labels" / "label-1.html").read_text().lower()
    for mark in ("kanarie", "pid-", "2.25.", "19600101", "19610101", "20200101", ".dcm", "protocol of"):
        assert mark not in written, mark


@pytest.mark.parametrize(
    ("directions", "edges", "hours"),
    [
        pytest.param([-1, 0, 0, 0, -1, 0], "LRPA", "9.0", id="prone, as the scanner writes it"),
        pytest.param([0, 1, 0, -1, 0, 0], "APLR", "6.0", id="on the side"),
        pytest.param([-1, 0, 0, 0, 1, 0], "LRAP", "9.0", id="seen from the head"),
    ],
)
def test_sides_and_clock_are_those_of_the_file_as_it_is_shown(
    directions, edges, hours, archive, opened, tmp_path, write_dicom
):
    shutil.rmtree(archive)
    pixels = np.random.default_rng(0).integers(0, 4000, (60, 60)).astype(np.uint16)
    write_dicom(archive / "1.dcm", pixels, ImageOrientationPatient=directions, PixelSpacing=[1.0, 1.0])
    page = opened()
    assert "".join(page.evaluate("viewer.active.series.edges")) == edges  # left, right, top, bottom
    page.keyboard.press("1")
    click(page, 20, 40)  # to the right of the canal
    click(page, 20, 10, modifiers=["Alt"])
    assert exported(page, tmp_path / "answers.csv")[0]["clock"] == hours


def test_slices_of_a_stack_that_lie_otherwise_in_their_files_are_shown_with_their_own_sides(archive, opened):
    for path in archive.glob("*/5.dcm"):  # whichever patient comes first
        image = pydicom.dcmread(path)
        image.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
        image.save_as(path)
    page = opened()
    shown_sides = page.evaluate("viewer.panes[0].list.map(one => [one.edges.slice(0, 2).join(''), one.slices.length])")
    assert sorted(shown_sides) == [["LR", 1], ["RL", 9]]


@pytest.mark.slow
def test_the_window_maps_grey_levels_as_the_standard_says(opened):
    """The middle of the window is mid-grey, its ends black and white (DICOM PS3.3 C.11.2.1.3)."""
    page = opened("bits=12")
    greys = page.evaluate(
        """() => { const pane = viewer.active; pane.windows.set(pane.series, [1000, 500]);
        const map = pane.lookup(), at = value => map[Math.round(value - pane.series.low)] & 255;
        return [740, 750, 1000, 1250, 1260].map(at); }"""
    )
    assert greys == pytest.approx([0, 0, 128, 255, 255], abs=1)
    assert page.evaluate("viewer.active.series.high - viewer.active.series.low") == 4095


@pytest.mark.slow
def test_twelve_bits_reach_the_browser_without_loss(opened, archive):
    import pydicom

    page = opened("bits=12")
    levels = page.evaluate(
        "viewer.pixels.load(viewer.active.series, viewer.active.slice).then(levels => "
        "[...levels].map(level => level + viewer.active.series.low))"
    )
    stored = [pydicom.dcmread(path).pixel_array.ravel().tolist() for path in archive.rglob("*.dcm")]
    assert levels in stored


@pytest.fixture
def two_sequences(archive, write_dicom):
    """Beside the water stack of one patient an in-phase one, of every second position."""
    for place in range(0, SLICES, 2):
        write_dicom(
            archive / "second" / f"{place}.dcm", np.full((60, 40), 100 + place, np.uint16),
            SOPInstanceUID=f"2.25.66{place}", SeriesInstanceUID="2.25.660", StudyInstanceUID="2.25.990",
            PatientID="PID-0", ImageType=["DERIVED", "PRIMARY", "IP", "IP"], PixelSpacing=[0.5, 1.0],
            ImagePositionPatient=[0, 0, 3.0 * place], InstanceNumber=SLICES - place, PatientBirthDate="19600101",
            PatientName="Kanarie^0",
        )  # fmt: skip


@pytest.mark.slow
def test_another_sequence_stands_beside_and_follows_by_position(two_sequences, opened):
    page = opened("beside=[mr]")
    for index in range(3):  # whichever of the three it is in this reader's order
        page.evaluate(f"go(state.turns[{index}])")
        shown(page)
        if page.evaluate("viewer.panes.length") == 2:
            break
    assert page.evaluate("viewer.panes.map(pane => pane.series.slices.length)") == [10, 5]
    # Its images are numbered the other way round, and yet it runs in the direction of the first.
    assert page.evaluate("viewer.panes.map(({ series: { slices } }) => slices[0].position)") == [0, 0]
    page.keyboard.press("Home")
    places = []
    for _ in range(6):
        page.keyboard.press("ArrowDown")
        places.append(page.evaluate("viewer.panes.map(pane => pane.slice.position)"))
    assert all(abs(first - second) <= 3 for first, second in places)
    assert places[-1] == [18, 18]
    page.evaluate("viewer.activate(viewer.panes[1])")
    press(page, "1")
    assert "needs no answer" in page.text_content("#toast")


@pytest.mark.slow
def test_a_table_of_slices_asks_about_these_alone(opened, tmp_path):
    page = opened()
    keys = page.evaluate("patient.series[0].slices.slice(2, 4).map(slice => slice.key)")
    (tmp_path / "asked.csv").write_text("slice_key\n" + "\n".join(keys) + "\n")
    shutil.rmtree(tmp_path / "labels")
    page = opened(f"asked={tmp_path / 'asked.csv'}")
    assert page.evaluate("[state.turns.length, state.wanted(turn), viewer.active.series.slices.length]") == [
        1,
        2,
        SLICES,
    ]
    press(page, "1 0")  # it begins with the first of them, and goes from one to the next
    assert answers(page)[2:4] == [1, 0]


def test_a_page_asks_for_the_points_that_it_names(opened):
    page = opened("points=['<nodule>']", "classes=[plain,contrast]")
    assert "Click the <nodule>." in page.text_content("#start")
    click(page, 20, 10, modifiers=["Alt"])
    assert answers(page)[0] is None
    click(page, 20, 30)
    assert "<nodule>row 20, col 30" in page.text_content("#place")
    assert page.text_content("#place").count("col") == 1


@pytest.fixture
def served(archive, tmp_path):
    """`fistula label serve=true` in a process; gives its address."""
    arguments = [f"source={archive}", "serve=true", "out=labels", "workers.count=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fistula.cli", "label", *arguments], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.startswith("open "):
            break
    yield line.split()[1]
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0


@pytest.mark.slow
def test_a_served_page_saves_into_the_table_as_it_is_answered_and_goes_on_from_it(served, browser, tmp_path):
    def visit():
        page = browser.new_context().new_page()
        page.goto(served)
        page.fill("#name", "AB")
        page.click("#begin")
        shown(page)
        return page

    page = visit()
    press(page, "1 0")
    wait_until(page, "document.querySelector('#saved').textContent === 'saved in labels.csv'")
    page.wait_for_timeout(1500)  # the first answer may have been saved, and the second be on its way
    with (tmp_path / "labels" / "labels.csv").open(newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["fistula", "normal"]
    again = visit()  # another browser: what it knows comes from the table
    assert again.evaluate("state.turns.map(one => state.done(one)).sort()") == [0, 0, 2]


@pytest.mark.slow
def test_a_key_that_comes_before_the_next_patient_answers_nothing(served, browser):
    page = browser.new_page()
    page.goto(served)
    page.fill("#name", "AB")
    page.click("#begin")
    shown(page)
    page.evaluate(
        "loaded.clear(); const own = fetch;"
        "fetch = (...all) => own(...all).then(answer => new Promise(after => setTimeout(after, 1000, answer)))"
    )
    press(page, "n 1")
    assert set(answers(page)) == {0}
    wait_until(page, "turn === state.turns[1]")
    assert set(answers(page)) == {None}
    page.close(run_before_unload=False)


@pytest.mark.slow
def test_a_page_that_cannot_show_its_first_patient_asks_again_and_passes_over_patients_whose_files_are_gone(
    served, browser, archive
):
    page, wrong = browser.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(served)
    page.fill("#name", "AB")
    for path in ("**/answers*", "**/patient/*"):  # what the table has would be lost, or nothing could be shown
        page.route(path, lambda route: route.abort())
        page.click("#begin")
        wait_until(page, "document.querySelector('#start').open && !state")
        assert "server is not responding" in page.text_content("#start .soft")
        page.unroute(path)
    shutil.rmtree(archive / "Kanarie^0")
    answers = page.evaluate("Promise.all([0, 1, 2].map(at => fetch('patient/' + at).then(answer => answer.json())))")
    lost = next(number for number, patient in enumerate(answers) if not patient["series"])
    order = page.evaluate("turnsOf(facts, 'AB').map(turn => turn.index)")  # by pseudonym: not the same in each run
    kept = 2 if order[1] == lost else 1
    for number in {*order} - {order[kept], lost}:
        page.route(f"**/patient/{number}", lambda route: route.fulfill(json=answers[lost]))
    page.click("#begin")
    shown(page)
    press(page, "1 n Enter")
    wait_until(page, "document.querySelector('#toast').textContent.includes('no image of this patient')")
    assert page.evaluate(f"turn === state.turns[{kept}]")
    assert page.evaluate("rowsOf(state).length") == SLICES
    page.close(run_before_unload=False)
    assert wrong == []


@pytest.mark.slow
def test_however_many_answers_could_not_be_saved_they_are_sent_again_together(served, browser):
    page, tried = browser.new_page(), []
    page.route("**/save", lambda route: (tried.append(1), route.abort()))
    page.goto(served)
    page.fill("#name", "AB")
    page.click("#begin")
    shown(page)
    press(page, "1 ArrowDown 1 ArrowDown 1")
    page.wait_for_timeout(3000)
    before = len(tried)
    page.wait_for_timeout(4000)
    assert len(tried) == before + 1
    page.close(run_before_unload=False)


@pytest.mark.slow
def test_two_tabs_of_one_page_do_not_write_over_one_another(opened):
    page = opened()
    other = opened(context=page.context)
    press(page, "1 0")
    wait_until(other, "state.done(turn) === 2")
    assert "another tab" in other.text_content("#toast")
    press(other, "ArrowDown ArrowDown 1")
    wait_until(page, "state.done(turn) === 3")
    press(page, "Enter 1 0")  # a patient who is not on view in the other tab
    wait_until(other, "state.done(state.turns[1]) === 2")
    press(other, "Enter ArrowDown ArrowDown 1")
    wait_until(page, "state.done(turn) === 3")


def test_points_that_nobody_named_are_said_before_they_are_asked_for(archive, tmp_path, fistula_here):
    said = [
        fistula_here("label", f"source={archive}", f"out={tmp_path / name}", "workers.count=1", *more)[1]
        for name, more in {"a": [], "b": ["points=[]"], "c": ["level=patient"]}.items()
    ]
    words = "points to mark: internal opening, center of the canal (points=[] asks for none"
    assert [words in text for text in said] == [True, False, False]


def test_what_goes_on_to_the_next_patient_is_seen_however_many_answers_there_are(opened):
    page = opened("classes=[a,b,c,d,e,f,g,h,i,j]")
    for width, height in ((1200, 700), (800, 700)):
        page.set_viewport_size({"width": width, "height": height})
        box, low = page.locator("[data-do=next]").bounding_box(), page.locator("footer").bounding_box()["y"]
        assert box["y"] + box["height"] <= low


@pytest.mark.slow
def test_a_browser_that_is_killed_loses_no_answer(opened, browser, tmp_path):
    opened("points=[]").close()  # writes the page
    where, seen = tmp_path / "labels" / "label-1.html", []
    for again in (False, True):  # the second time with what the first one left on the disk
        context = browser.browser_type.launch_persistent_context(
            tmp_path / "profile", executable_path=CHROMIUM, args=list(QUIET)
        )
        page = context.new_page()
        page.goto(where.as_uri())
        assert again is False or "AB 14" in page.text_content("#start .soft")
        page.fill("#name", "AB")
        page.click("#begin")
        shown(page)
        if again:
            seen.append(page.evaluate("state.turns.map(one => state.done(one))"))
            context.close()
            continue
        for key in "01" * (SLICES // 2) + "0101":
            page.keyboard.press(key)
            page.wait_for_timeout(60)  # a person's keys, the last of which is on the disk before the browser is gone
            shown(page)
        page.wait_for_timeout(500)
        seen.append(page.evaluate("state.turns.map(one => state.done(one))"))
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"--user-data-dir={tmp_path / 'profile'}".encode() in (folder / "cmdline").read_bytes():
                    os.kill(int(folder.name), signal.SIGKILL)
        with suppress(Exception):  # Playwright's own: the browser is gone
            context.close()
        for lock in (tmp_path / "profile").glob("Singleton*"):
            lock.unlink()
    assert seen == [[SLICES, 4, 0]] * 2


@pytest.mark.slow
def test_answers_given_while_the_server_was_down_reach_the_table(archive, browser, tmp_path):
    arguments = [f"source={archive}", "serve=true", "out=labels", "workers.count=1"]
    context, rows = browser.new_context(), []

    def serve():
        command = [sys.executable, "-m", "fistula.cli", "label", *arguments]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        return process, next(line.split()[1] for line in process.stdout if line.startswith("open "))

    def visit(address):
        page = context.new_page()
        page.goto(address)
        page.fill("#name", "AB")
        page.click("#begin")
        shown(page)
        return page

    def table():
        with (tmp_path / "labels" / "labels.csv").open(newline="") as file:
            rows[:] = [row["label"] for row in csv.DictReader(file)]
        return rows

    process, address = serve()
    page = visit(address)
    page.keyboard.press("1")
    wait_until(page, "document.querySelector('#saved').textContent === 'saved in labels.csv'")
    for reopened in (False, True):
        process.kill()
        process.wait()
        page.keyboard.press("0")
        wait_until(page, "document.querySelector('#saved.failed')?.textContent.includes('Kept in this browser')")
        if reopened:  # the page is closed before the server is back: the next one finds what was not sent
            page.close(run_before_unload=False)
        process, again = serve()
        assert again == address
        page = visit(address) if reopened else page
        wait_until(page, "document.querySelector('#saved').textContent === 'saved in labels.csv'")
        assert table() == ["fistula", "normal", *(["normal"] if reopened else [])]
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0


@pytest.fixture
def large(tmp_path, write_dicom):
    """Two patients of six slices of noise, each of whom is a little too much for a page of 1 MB."""
    random = np.random.default_rng(1)
    for patient in range(2):
        for place in range(6):
            write_dicom(
                tmp_path / "large" / f"{patient}-{place}.dcm", random.integers(0, 4000, (400, 400)).astype(np.uint16),
                SOPInstanceUID=f"2.25.7{patient}{place}", SeriesInstanceUID=f"2.25.8{patient}",
                StudyInstanceUID=f"2.25.9{patient}", PatientID=f"PID-{patient}", InstanceNumber=place + 1,
                PatientBirthDate=f"19{60 + patient}0101", ImagePositionPatient=[0, 0, 3.0 * place],
            )  # fmt: skip
    return tmp_path / "large"


@pytest.mark.slow
def test_pages_keep_their_size_and_the_tables_of_several_become_one_cohort(large, browser, tmp_path, fistula_here):
    words = (f"source={large}", "keep=all", "out=labels", "page_mb=1", "workers.count=1")
    code, said, error = fistula_here("label", *words)
    assert code == 0, error
    assert "too large for page_mb=1, shown at JPEG quality 85 instead of 92: patients: 2" in said
    assert '"labels=labels-READER-*.csv" "classes=[normal,fistula]" keep=all out=data/cohort' in said
    for number in (1, 2):
        path = tmp_path / "labels" / f"label-{number}.html"
        assert 0.5e6 < path.stat().st_size < 1e6
        page = browser.new_context(viewport={"width": 1200, "height": 800}, accept_downloads=True).new_page()
        page.goto(path.as_uri())
        assert f"Page {number} of 2" in page.text_content("#start")
        page.fill("#name", "AB")
        page.click("#begin")
        shown(page)
        assert "JPEG 85" in page.text_content(".corner.nw")
        press(page, "1 n Enter")
        assert ("then open page 2" in page.text_content("#toast")) == (number == 1)
        with page.expect_download() as download:
            page.click("[data-do=export]")
        assert download.value.suggested_filename.startswith(f"labels-AB-page-{number}-")
        download.value.save_as(tmp_path / download.value.suggested_filename)
    code, said, error = fistula_here(
        "ingest", f"source={large}", "keep=all", "labels=labels-AB-page-*.csv", "out=cohort", "size=64"
    )
    assert code == 0, error
    assert "12 slices of 2 patients (normal: 10, fistula: 2)" in said


@pytest.mark.slow
def test_an_adjudicator_and_a_second_reading_begin_without_the_answers_of_the_first(
    opened, archive, tmp_path, fistula_here
):
    page = opened()
    press(page, "1 n")
    rows = exported(page, tmp_path / "first.csv")
    assert len(rows) == SLICES
    (tmp_path / "asked.csv").write_text(f"slice_key\n{rows[2]['slice_key']}\n")
    for out, setting in (("adjudication", f"asked={tmp_path / 'asked.csv'}"), ("again", "seed=1"), ("same", "seed=0")):
        code, _, error = fistula_here("label", f"source={archive}", f"out={out}", "workers.count=1", setting)
        assert code == 0, error
        page.goto((tmp_path / out / "label-1.html").as_uri())
        kept = "AB 10" in page.text_content("#start .soft")
        assert kept == (out == "same")
        assert page.input_value("#name") == ("AB" if kept else "")
        assert ("to answer" in page.text_content("#start .what")) == (out == "adjudication")
        page.fill("#name", "AB")
        page.click("#begin")
        shown(page)
        assert page.evaluate("rowsOf(state).length") == (SLICES if kept else 0)


@pytest.mark.slow
def test_an_opening_that_an_answer_takes_away_is_said(opened):
    page = opened()
    press(page, "b")
    assert page.text_content("#toast") == "this patient has only one stack"
    press(page, "1 ArrowUp")
    click(page, 20, 30)
    press(page, "0")
    assert page.text_content("#toast") == "1 internal opening removed"


@pytest.mark.slow
def test_the_page_is_used_by_the_keyboard_alone(opened):
    page = opened()
    page.reload()
    press(page, "Escape Escape Escape")  # the second is past what a page can prevent
    page.wait_for_timeout(200)
    assert page.evaluate("document.querySelector('#start').open")
    page.keyboard.press("Control+a")
    page.keyboard.type("AB")
    page.keyboard.press("Enter")
    shown(page)
    press(page, "1 F6")
    reached = []
    while (action := page.evaluate("document.activeElement.dataset.do ?? ''")) != "export":
        reached.append(action)
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", action
        assert len(reached) < 12
        page.keyboard.press("Tab")
    with page.expect_download():
        page.keyboard.press("Enter")
    assert page.evaluate("turn === state.turns[0] && document.activeElement.dataset.do === 'export'")
    press(page, "Escape 0")
    assert answers(page)[:3] == [1, 0, None]
