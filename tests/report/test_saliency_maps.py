import base64
import hashlib
import json
import shutil

import numpy as np
import polars as pl
import pytest
import torch

from fistula.explain.cam import saliency
from fistula.predict.runs.model import load_run
from fistula.report.contents import Settings
from fistula.report.page import write_report
from fistula.report.reading_room.saliency_maps import CELLS, run_maps, shrink
from fistula.report.reading_room.slices import reading_data
from fistula.report.results import results
from fistula.report.study import read_study


def rows_of(study):
    """Its results per patient, as the page gives them to the reading room."""
    rows = results(study, resamples=20, scaling="platt", prevalence=None)
    return [row for row in rows if row.level == "patient"]


@pytest.fixture
def own_study(study, tmp_path):
    """A study with trained networks, free to be changed; its classes are swapped.

    So small a network sees a positive slice where it sees no negative one: only for the latter are its maps not empty.
    """
    copy = tmp_path / "own"
    shutil.copytree(study, copy)
    for path in copy.glob("*/best.ckpt"):
        checkpoint = torch.load(path, weights_only=True)
        for name, weights in checkpoint["state_dict"].items():
            if ".fc." in name:
                checkpoint["state_dict"][name] = weights.flip(0)
        torch.save(checkpoint, path)
        record = json.loads((path.parent / "run.json").read_text())
        record["checkpoint_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        (path.parent / "run.json").write_text(json.dumps(record))
    return copy


def test_a_map_is_shrunk_to_means_of_areas():
    heat = np.zeros((2 * CELLS, 2 * CELLS), np.float32)
    heat[:2, :2], heat[0, 2] = 1, 1
    small = shrink(heat)
    assert small.shape == (CELLS, CELLS)
    assert (small[0, 0], small[0, 1], small[0, 2], small[1, 0]) == (255, 64, 0, 0)


def test_maps_are_those_of_the_run_that_scored_the_slices_in_the_order_of_its_test_rows(own_study):
    read = read_study(own_study)
    run, positive = read.runs[0], read.positives[0]
    encoded, without = run_maps(read, run, positive)
    assert without == ""
    maps = np.frombuffer(base64.b64decode(encoded), np.uint8).reshape(-1, CELLS, CELLS)
    keys = run.predictions.filter(pl.col("part") == "test")["slice_key"].to_list()
    assert len(maps) == len(keys)
    assert maps.max() > 100
    loaded = load_run(run.folder)
    for place in (0, len(keys) - 1):
        row = read.cohort.manifest["slice_key"].to_list().index(keys[place])
        image = loaded.resize(read.cohort.pixels[row])
        heat = saliency(loaded.classifier, torch.from_numpy(image)[None, None], target=1)[0]
        np.testing.assert_array_equal(maps[place], shrink(heat))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda run: (run / "best.ckpt").unlink(), "best.ckpt: cannot be read"),
        (lambda run: (run / "best.ckpt").write_bytes(b"other"), r"must have the SHA-256 stated in run.json"),
    ],
)
def test_a_run_whose_network_cannot_be_had_says_why_and_the_page_is_made_all_the_same(own_study, damage, reason):
    for run in read_study(own_study).runs:
        damage(run.folder)
    read = read_study(own_study)
    data = reading_data(read, rows_of(read), first=0, maps="all")
    for view in data["views"]:
        assert all(run["maps"] == "" and reason in run["without_maps"] for run in view["runs"])


@pytest.mark.parametrize(("maps", "explained"), [("none", []), ("best", [0])])
def test_only_the_views_asked_for_are_explained(own_study, maps, explained):
    read = read_study(own_study)
    views = reading_data(read, rows_of(read), first=0, maps=maps)["views"]
    assert [number for number, view in enumerate(views) if view["runs"][0]["maps"]] == explained
    if maps == "none":
        assert views[0]["runs"][0]["without_maps"] == "not asked for"


def test_where_the_network_looked_is_laid_over_a_slice_under_the_pointer_and_in_the_large_view(browser, own_study):
    write_report(read_study(own_study), Settings(resamples=50), maps="best")
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    wrong = []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto((own_study / "report" / "reading.html").as_uri())
    card = page.locator(".card").first
    assert card.locator("canvas").count() == 0
    card.hover()
    assert card.locator("canvas.map").is_visible()
    opaque = "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;"
    opaque += " for (let i = 3; i < d.length; i += 4) n = Math.max(n, d[i]); return n; }"
    read = read_study(own_study)
    data = reading_data(read, rows_of(read), first=0, maps="none")
    strongest = [
        page.locator(".card").nth(place).evaluate("b => { b.dispatchEvent(new Event('mouseenter')); }")
        or page.locator(".card").nth(place).locator("canvas").evaluate(opaque)
        for place in range(6)
    ]
    assert max(strongest) > 60
    assert len(data["slices"]["key"]) >= 6
    page.mouse.move(2, 2)
    assert not card.locator("canvas.map").is_visible()
    card.click()
    over = "viewer.hooks.over(viewer.active.series, viewer.active.slice)"
    assert not page.locator("#looked").is_checked()  # a wash that hides the tract, until it is asked for
    assert page.evaluate(over) is None
    page.locator("#looked").check()
    assert page.evaluate("viewer.active.series.slices.some(slice => viewer.hooks.over(viewer.active.series, slice))")
    page.locator("#looked").uncheck()
    assert page.evaluate(over) is None
    page.close()
    assert wrong == []
