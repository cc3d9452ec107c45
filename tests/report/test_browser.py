"""The pages in a real browser, from disk: what a reader clicks works, and nothing leaves the page."""

import json
import shutil

import polars as pl
import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score

from fistula.report.contents import Settings
from fistula.report.page import write_report
from fistula.report.study import read_study
from tests.two_sequences import write_two_sequences

from ..conftest import wait_until
from .conftest import write_study
from .test_where import write_places


@pytest.fixture
def visit(browser, reported):
    """Open a page of the report from disk; at the end, nothing was asked of any network and nothing went wrong."""
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    wrong, asked = [], []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))

    def go(name):
        page.goto((reported / "report" / name).as_uri())
        return page

    yield go
    page.close()
    assert wrong == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == 1, "a page needs no other file"


def stored(reported):
    """Test rows of the configuration that the reading room opens with, from its files."""
    tables = []
    for path in sorted(reported.glob("resnet18-transfer-*")):
        threshold = json.loads((path / "run.json").read_text())["operating_point"]["threshold"]
        table = pl.read_parquet(path / "predictions.parquet").filter(pl.col("part") == "test")
        tables.append(table.with_columns(called=pl.col("score") >= threshold))
    return pl.concat(tables)


def counts(page):
    return [int(page.locator(f"#{cell}").inner_text()) for cell in ("TN", "FP", "FN", "TP")]


def choose(page, selector, label):
    page.select_option(selector, label=label)


@pytest.mark.parametrize("width", [1440, 800, 400])
@pytest.mark.parametrize("name", ["index.html", "reading.html"])
def test_no_page_is_wider_than_its_window(visit, name, width):
    page = visit(name)
    page.set_viewport_size({"width": width, "height": 1000})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1440, 400])
def test_the_forest_plot_is_as_readable_in_a_narrow_window(visit, width):
    page = visit("index.html")
    page.set_viewport_size({"width": width, "height": 1000})
    bars = page.locator("#results-table tbody .bar")
    assert bars.count() == page.locator("#results-table tbody tr").count() == 2
    ticks = page.locator("#results-table tbody .bar span" if width == 400 else "#results-table thead .bar span")
    assert ticks.all_text_contents()[:3] == ["0.5", "0.75", "1"]
    assert ticks.first.evaluate("tick => parseFloat(getComputedStyle(tick).fontSize)") >= 12
    for bar in bars.all():
        box, dot = bar.bounding_box(), bar.locator("b").bounding_box()
        ends, chance = bar.locator(".ends").bounding_box(), bar.locator(".chance").bounding_box()
        assert box["width"] > 100
        # The square stands between the ends of its interval, and these inside the plot.
        assert box["x"] - 1 <= ends["x"] <= dot["x"] + 4 <= ends["x"] + ends["width"] <= box["x"] + box["width"] + 1
        assert box["x"] <= chance["x"] <= box["x"] + box["width"]


def test_a_click_sorts_the_results_and_another_turns_them_round(visit):
    page = visit("index.html")
    head = page.locator("#results-table th", has_text="AUROC")
    column = page.locator("#results-table tbody tr td:nth-child(2)")

    def values():
        return [float(cell) for cell in column.evaluate_all("cells => cells.map(cell => cell.dataset.value)")]

    head.locator("button").click()
    assert values() == sorted(values(), reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    head.locator("button").click()
    assert values() == sorted(values())
    assert head.get_attribute("aria-sort") == "ascending"


def test_an_undefined_value_sorts_last_either_way(visit):
    page = visit("index.html")
    page.evaluate("document.querySelector('#results-table tbody tr td:nth-child(2)').dataset.value = ''")
    button = page.locator("#results-table th", has_text="AUROC").locator("button")
    for _ in range(2):
        button.click()
        assert page.locator("#results-table tbody tr td:nth-child(2)").last.get_attribute("data-value") == ""


def test_the_room_opens_with_the_counts_of_the_runs_own_operating_points(visit, reported):
    page, rows = visit("reading.html"), stored(reported)
    assert counts(page) == confusion_matrix(rows["label"], rows["called"]).ravel().tolist()
    # As in the report: of pairs within a run. Every fold has as many pairs, so that it is the mean of the folds.
    areas = [roc_auc_score(part["label"], part["score"]) for part in rows.partition_by("fold")]
    assert f"Per-slice AUROC {sum(areas) / 3:.3f}, 45 " in page.locator("#area").inner_text()
    assert page.locator("#shown").inner_text() == "90 of 90 slices"


def test_the_slider_moves_the_operating_point_and_the_counts(visit, reported):
    page, rows = visit("reading.html"), stored(reported)
    scores = rows["score"].unique().sort()
    for place in (0, len(scores) // 3, len(scores)):
        page.locator("#threshold").fill(str(place))
        called = rows["score"] >= scores[place] if place < len(scores) else pl.repeat(False, len(rows), eager=True)
        assert counts(page) == confusion_matrix(rows["label"], called).ravel().tolist()
        negatives, positives, point = rows["label"] == 0, rows["label"] == 1, page.locator("#point")
        assert float(point.get_attribute("cx")) == pytest.approx(220 * called.filter(negatives).mean(), abs=0.01)
        assert float(point.get_attribute("cy")) == pytest.approx(220 - 220 * called.filter(positives).mean(), abs=0.01)
    page.locator("#own").click()
    assert counts(page) == confusion_matrix(rows["label"], rows["called"]).ravel().tolist()


def test_filters_show_what_they_name(visit, reported):
    page, rows = visit("reading.html"), stored(reported)
    missed = rows.filter((pl.col("label") == 1) & ~pl.col("called"))
    choose(page, "#show", "false negatives")
    assert page.locator("#slices li").count() == len(missed) > 0
    assert set(page.locator(".outcome").all_text_contents()) == {"▲ false negative"}
    choose(page, "#show", "all")
    assert page.locator(".outcome").first.text_content() == "▲ false negative"
    patient = rows["patient_key"][0]
    choose(page, "#patient", patient)
    assert set(page.locator("#slices .key").all_text_contents()) == {patient}
    choose(page, "#patient", "all 30")
    choose(page, "#run", "fold 1")
    assert page.locator("#slices li").count() == len(rows.filter(pl.col("fold") == 1))


def test_another_configuration_brings_its_own_slices(visit):
    page = visit("reading.html")
    choose(page, "#view", "end-to-end")
    assert page.locator("#shown").inner_text() == "60 of 60 slices"
    choose(page, "#order", "highest score first")
    scores = [float(text.split()[1]) for text in page.locator(".text span:nth-child(2)").all_text_contents()]
    assert scores == sorted(scores, reverse=True)


def test_keys_go_through_the_slices_and_enter_enlarges(visit):
    page = visit("reading.html")
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    large = page.locator("#large")
    assert large.is_visible()
    assert "2 of 90" in large.inner_text()
    page.keyboard.press("ArrowRight")
    assert "3 of 90" in large.inner_text()
    wait_until(page, "viewer.active.painted === viewer.active.slice")
    assert page.evaluate("viewer.pixels.get(viewer.active.slice).length") == 32 * 32
    page.keyboard.press("Escape")
    assert not large.is_visible()
    assert page.locator(".card").nth(2).get_attribute("aria-current") == "true"


def test_the_large_view_says_the_image_the_patients_score_and_where_the_finding_is(visit, reported):
    page, rows = visit("reading.html"), stored(reported)
    choose(page, "#order", "highest score first")
    choose(page, "#show", "true positives")
    page.locator(".card").first.click()
    shown = page.locator("#large-facts").inner_text().split("\n")
    facts = dict(zip(shown[::2], shown[1::2], strict=True))
    row = rows.filter(pl.col("called") & (pl.col("label") == 1)).sort("score", descending=True).row(0, named=True)
    assert facts["image"] == str(int(row["slice_key"].partition("-")[2]) + 1)
    scores = rows.filter((pl.col("patient_key") == row["patient_key"]) & (pl.col("fold") == row["fold"]))["score"]
    assert facts["patient's score"] == f"{scores.mean():.4f}"
    # As the table of labels gives it, in pixels of a picture that was not shrunk.
    marks = "viewer.hooks.marks(viewer.active.series, viewer.active.slice)"
    assert page.evaluate(marks) == [{"kind": "opening", "row": 7.5, "col": 23.5}]
    page.locator("#marked").uncheck()
    assert page.evaluate(marks) == []


def test_the_large_view_scrolls_through_the_stack_and_tells_of_the_slice_that_it_shows(visit, reported):
    page, rows = visit("reading.html"), stored(reported)
    page.locator(".card").first.click()
    wait_until(page, "viewer.active.painted === viewer.active.slice")
    patient = page.evaluate("data.slices.patient[viewer.active.slice.at]")
    for key, place in (("Home", 0), ("ArrowDown", 1), ("End", -1)):
        page.keyboard.press(key)
        expected = rows.filter(pl.col("patient_key") == patient).sort("slice_key").row(place, named=True)
        text = page.locator("#large-facts").inner_text()
        assert expected["slice_key"] in text
        assert f"{expected['score']:.4f}" in text
    page.locator("#doubt").check()
    page.keyboard.press("Escape")
    assert page.evaluate("[...doubted.keys()].map(at => data.slices.key[at])") == [expected["slice_key"]]
    page.evaluate("saved = true")  # or leaving would ask


def test_a_run_may_bring_marks_of_its_own(visit):
    page = visit("reading.html")
    page.evaluate(
        "view().runs.forEach(run => { run.marks = run.slices.map(() => [{kind: 'finding', row: 3, col: 4}]); })"
    )
    page.locator(".card").first.click()
    found = page.evaluate("viewer.hooks.marks(viewer.active.series, viewer.active.slice)")
    assert {"kind": "finding", "row": 3, "col": 4} in found
    assert page.locator("#marked").is_visible()


def test_the_window_maps_its_lower_edge_to_black_and_its_upper_to_white(visit):
    page = visit("reading.html")
    page.locator("#centre").fill("100")
    page.locator("#width").fill("50")
    slope, shift = page.locator("#window feFuncR").evaluate(
        "part => [part.getAttribute('slope'), part.getAttribute('intercept')].map(Number)"
    )
    assert 75 / 255 * slope + shift == pytest.approx(0)
    assert 125 / 255 * slope + shift == pytest.approx(1)


def test_doubted_labels_are_saved_as_a_table_of_slices(visit, tmp_path):
    page = visit("reading.html")
    assert not page.locator("#save").is_visible()
    choose(page, "#show", "true positives")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.locator("#doubt").check()
        page.keyboard.press("Escape")
    with page.expect_download() as download:
        page.locator("#save", has_text="save 2 flagged labels").click()
    assert download.value.suggested_filename == "doubted_labels.csv"
    download.value.save_as(tmp_path / "doubted_labels.csv")
    table = pl.read_csv(tmp_path / "doubted_labels.csv")
    assert table.columns == ["slice_key", "patient_key", "image_number", "label", "score"]
    assert len(table) == table["slice_key"].n_unique() == 2
    assert table["label"].to_list() == ["<script>alert(1)</script>"] * 2


@pytest.mark.slow
def test_each_sequence_has_a_pane_and_they_scroll_together(browser, tmp_path):
    write_two_sequences(tmp_path / "study" / "cohort", patients=30, slices=3, size=32, lacking=("slice0-2",))
    folder = write_study(tmp_path / "study", learnings=("transfer",))
    page_of_report = write_report(read_study(folder), Settings(resamples=20))
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.goto(page_of_report.with_name("reading.html").as_uri())
    choose(page, "#patient", "patient0")
    page.locator(".card").first.click()
    shown = "viewer.panes.length === 2 && viewer.panes.every(pane => pane.painted === pane.slice)"
    wait_until(page, shown)
    assert page.evaluate("viewer.panes.map(pane => pane.series.title)") == ["t1c", "t2"]
    assert page.evaluate("viewer.panes.map(pane => pane.series.slices.map(slice => slice.position))") == [
        [0, 1, 2],
        [0, 1],
    ]
    for key, positions in (("Home", [0, 0]), ("ArrowDown", [1, 1]), ("ArrowDown", [2, 1])):
        page.keyboard.press(key)
        assert page.evaluate("viewer.panes.map(pane => pane.slice.position)") == positions
    wait_until(page, shown)
    levels = "viewer.panes.map(pane => Array.from(viewer.pixels.get(pane.slice)))"
    first, second = page.evaluate(levels)
    assert first != second
    page.close()


def test_pictures_are_decoded_as_they_come_near(visit):
    page = visit("reading.html")
    wait_until(page, "document.querySelector('.card img').naturalWidth === 32")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    wait_until(page, "[...document.querySelectorAll('.card img')].at(-1).naturalWidth === 32")
    assert page.locator(".card img").last.evaluate("picture => picture.complete && picture.naturalHeight") == 32


def test_every_control_has_a_name(visit):
    page = visit("reading.html")
    nameless = page.evaluate(
        "[...document.querySelectorAll('select, input, button')].filter(control =>"
        " !(control.labels?.length || control.ariaLabel || control.textContent.trim())).map(control => control.id)"
    )
    assert nameless == []


def test_the_page_prints_whole(visit):
    page = visit("index.html")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_on_paper_a_table_stays_a_table(visit):
    page = visit("index.html")
    page.set_viewport_size({"width": 695, "height": 1000})  # of A4's text; on a screen as narrow, rows are cards
    shown = "[...document.querySelectorAll('table.stacked tr')].map(row => getComputedStyle(row).display)"
    assert "grid" in page.evaluate(shown)
    page.emulate_media(media="print")
    assert set(page.evaluate(shown)) == {"table-row"}
    assert page.locator("table.stacked thead").first.evaluate("head => getComputedStyle(head).display") != "none"


@pytest.mark.slow
def test_a_thousand_slices_open(browser, tmp_path):
    folder = write_study(tmp_path / "study", patients=132, slices=8, size=224)
    page_of_report = write_report(read_study(folder), Settings(resamples=2000))
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.goto(page_of_report.with_name("reading.html").as_uri())
    wait_until(page, "document.querySelector('.card img').naturalWidth === 224")
    assert page.locator(".card").count() == 1056
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("configurations", "folds", "classes", "height"),
    [
        pytest.param(4, 3, ("normal", "fistula"), 6000, id="12 runs of 4 configurations, two with places"),
        pytest.param(12, 1, ("none", "simple", "complex"), 6000, id="12 runs of 12 configurations, three classes"),
        pytest.param(20, 5, ("normal", "fistula"), 8000, id="100 runs"),
    ],
)
def test_a_page_stays_short_and_nothing_is_cut_off_in_a_narrow_window(
    browser, tmp_path, configurations, folds, classes, height
):
    learnings = ["transfer for 50 epochs " + "i" * number for number in range(1, configurations + 1)]
    folder = write_study(tmp_path / "study", learnings=learnings, folds=max(2, folds), patients=60, classes=classes)
    for path in [] if folds > 1 else folder.glob("*-fold1-*"):
        shutil.rmtree(path)
    for learning in learnings[:2] if configurations == 4 else []:
        write_places(folder, learning=learning)
    page_of_report = write_report(read_study(folder), Settings(resamples=20))
    for width in (1440, 800, 400):
        page = browser.new_page(viewport={"width": width, "height": 1000})
        page.goto(page_of_report.as_uri())
        if width == 1440:
            assert page.evaluate("document.documentElement.scrollHeight") <= height
        cut = page.evaluate(
            # Figures of several panels keep their size in a narrow window, and are scrolled in their place.
            "[...document.querySelectorAll('.scroll, section:not(#where) figure, .flow, p')]"
            ".filter(part => part.clientWidth && part.scrollWidth > part.clientWidth + 1).map(part => part.textContent)"
        )
        assert cut == []
        page.close()


@pytest.mark.slow
def test_many_classes_with_long_names_fit_into_a_narrow_window(browser, tmp_path):
    names = ["no fistula", "intersphincteric", "transsphincteric, low", "suprasphincteric", "extrasphincteric", "sinus"]
    folder = write_study(tmp_path / "study", classes=names, patients=36, slices=1, learnings=("transfer",))
    report = write_report(read_study(folder), Settings(resamples=20))
    for width in (1440, 800, 400):
        page = browser.new_page(viewport={"width": width, "height": 1000})
        page.goto(report.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        heads = page.locator("#all-classes thead th").all_inner_texts()
        assert heads == ["1", "2", "3", "4", "5", "6", "all"]  # the names stand before the rows
        assert page.locator("#all-classes tbody th").first.inner_text() == "1 no fistula"
        shown = page.evaluate("[...document.querySelectorAll('#all-classes, .flow')].map(one => one.scrollWidth)")
        assert max(shown) <= max(width, 480), shown
        page.close()
    answer = report.read_text().partition('class="answer"')[2].partition("</div>")[0]
    assert "6 no fistula; 6 intersphincteric; 6 transsphincteric, low; " in answer
    assert answer.count("specificity, ") == 2  # of the worst and the best


@pytest.mark.slow
def test_three_classes_have_a_table_of_all(browser, tmp_path):
    folder = write_study(tmp_path / "study", learnings=("transfer",), classes=("none", "simple", "complex"))
    page_of_report = write_report(read_study(folder), Settings(resamples=20))
    tests = pl.concat([pl.read_parquet(path) for path in folder.glob("*/predictions.parquet")])
    scores = [pl.col(f"score_{name}").mean() for name in ("none", "simple", "complex")]
    tests = tests.filter(pl.col("part") == "test").group_by("patient_key").agg(pl.col("label").max(), *scores)
    called = tests.select("score_none", "score_simple", "score_complex").to_numpy().argmax(axis=1)
    page = browser.new_page()
    page.goto(page_of_report.as_uri())
    shown = page.locator("#all-classes td b").all_text_contents()
    assert [int(text) for text in shown] == confusion_matrix(tests["label"], called).ravel().tolist()
    page.close()
