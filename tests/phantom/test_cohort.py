import hashlib
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest

from fistula.errors import ConfigError
from fistula.phantom.cohort import LABELS, Size, draw_people, write_cohort
from fistula.phantom.patient import draw_patient

SIZE = Size(patients=2, controls=2, positive=3, negative=1, control=3, step_mm=1.0, supersampling=1)
PAPER = replace(SIZE, patients=58, controls=45, positive=9.07, negative=2, control=9.02)


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def written(tmp_path_factory, make_design):
    """A cohort of four patients, and its table."""
    out = tmp_path_factory.mktemp("phantom") / "cohort"
    return out, write_cohort(out, SIZE, make_design(), seed=0, workers=1)


def test_the_default_cohort_counts_as_the_study_it_imitates(make_design):
    people = draw_people(PAPER, make_design(), seed=0)
    assert Counter(person.has_fistula for person in people) == {True: 58, False: 45}
    assert sum(person.num_core for person in people if person.has_fistula) == 526
    assert sum(person.num_beyond + person.num_core * (not person.has_fistula) for person in people) == 522
    assert sum(person.is_male for person in people if person.has_fistula) == 39
    assert sum(person.is_male for person in people if not person.has_fistula) == 32


def test_neither_the_number_of_slices_nor_the_height_of_the_stack_tells_the_group(make_design, monkeypatch):
    # Drawn last, seen in pixels alone, and nearly all of the time.
    monkeypatch.setattr("fistula.phantom.patient.draw_field", lambda rng, **_: None)
    size = replace(PAPER, control=None)
    facts = {True: [], False: []}
    for person in draw_people(size, make_design(), seed=0):
        patient = draw_patient(np.random.default_rng(person.number), person, make_design(), step=1.0)
        positive, negative = patient.levels(1.0)
        levels = sorted(positive + negative)
        facts[person.has_fistula].append((len(levels), levels[-1] - levels[0]))
        assert person.has_fistula or not positive
    for with_one, without in zip(zip(*facts[True], strict=True), zip(*facts[False], strict=True), strict=True):
        above = [a > b for a in with_one for b in without] + [a >= b for a in with_one for b in without]
        assert 0.4 < np.mean(above) < 0.6


@pytest.mark.parametrize("seed", range(3))
def test_neither_site_nor_number_tells_the_group(make_design, seed):
    people = draw_people(PAPER, make_design(), seed=seed)
    for site, share in enumerate((0.5, 0.3, 0.2)):
        for has_fistula, count in ((True, 58), (False, 45)):
            here = sum(person.site == site for person in people if person.has_fistula is has_fistula)
            assert abs(here - share * count) < 1
    first = [person.has_fistula for person in sorted(people, key=lambda person: person.number)][:51]
    assert 18 < sum(first) < 40


def test_the_same_seed_gives_the_same_bytes_for_any_number_of_workers(written, tmp_path, make_design):
    write_cohort(tmp_path / "again", SIZE, make_design(), seed=0, workers=2)
    assert digest(tmp_path / "again") == digest(written[0])
    more = replace(SIZE, patients=4, controls=4, positive=1)  # fewer are written by one process whatever is asked for
    for workers in (1, 2):
        write_cohort(tmp_path / f"more-{workers}", more, make_design(), seed=0, workers=workers)
    assert digest(tmp_path / "more-1") == digest(tmp_path / "more-2")
    write_cohort(tmp_path / "other", SIZE, make_design(), seed=1, workers=1)
    assert not set(digest(tmp_path / "other").values()) & set(digest(written[0]).values())


def test_every_file_has_one_label_and_every_label_a_file(written):
    out, labels = written
    assert pl.read_csv(out / "labels.csv").columns == list(LABELS)
    objects = [pydicom.dcmread(path) for path in out.glob("*/*.dcm")]
    assert sorted(image.SOPInstanceUID for image in objects) == sorted(labels["sop_instance_uid"])
    assert len(labels) == 2 * 4 + 2 * 3
    positive = labels.filter(pl.col("label") == 1)
    assert len(positive) == 6
    assert positive["opening_row"].is_not_null().all()
    assert labels.filter(pl.col("label") == 0)["opening_row"].is_null().all()


def test_a_folder_holds_one_patient_whose_numbers_are_in_no_order(written):
    orders = []
    for folder in (path for path in written[0].iterdir() if path.is_dir()):
        images = [pydicom.dcmread(path) for path in folder.iterdir()]
        assert {image.PatientID for image in images} == {folder.name}
        assert len({image.SeriesInstanceUID for image in images}) == 1
        assert len({float(image.RescaleSlope) for image in images}) == 1
        by_position = sorted(images, key=lambda image: image.ImagePositionPatient[2])
        orders.append([int(image.InstanceNumber) for image in by_position])
        assert sorted(orders[-1]) == list(range(1, len(images) + 1))
    assert any(order != sorted(order) for order in orders)


def test_the_opening_has_its_place_in_the_patient(written):
    """Image right is the patient's left, and image bottom posterior: coordinates grow along rows and columns."""
    out, labels = written
    place = {row["sop_instance_uid"]: row for row in labels.drop_nulls("opening_row").iter_rows(named=True)}
    for image in (pydicom.dcmread(path) for path in out.glob("*/*.dcm")):
        if image.SOPInstanceUID in place:
            row, column = (place[image.SOPInstanceUID][name] for name in ("opening_row", "opening_col"))
            spacing = float(image.PixelSpacing[0])
            x = float(image.ImagePositionPatient[0]) + column * spacing
            y = float(image.ImagePositionPatient[1]) + row * spacing
            assert 1.5 < np.hypot(x, y) < 14  # mm from the canal's axis, which stands at (0, 0)


def test_every_slice_says_where_the_middle_of_the_canal_is(written):
    out, labels = written
    place = {row["sop_instance_uid"]: row for row in labels.iter_rows(named=True)}
    assert labels["canal_row"].null_count() == 0
    for image in (pydicom.dcmread(path) for path in out.glob("*/*.dcm")):
        spacing = float(image.PixelSpacing[0])
        x = float(image.ImagePositionPatient[0]) + place[image.SOPInstanceUID]["canal_col"] * spacing
        y = float(image.ImagePositionPatient[1]) + place[image.SOPInstanceUID]["canal_row"] * spacing
        assert np.hypot(x, y) < 4  # mm: the pelvis bends a little, so that its axis is not quite at (0, 0)


def test_lots_are_one_a_patient_and_balanced_between_the_groups(tmp_path, make_design):
    size = replace(SIZE, patients=6, controls=6, positive=1, negative=0, control=1)
    labels = write_cohort(tmp_path / "lots", size, make_design("random"), seed=3, workers=1)
    truth = write_cohort(tmp_path / "truth", size, make_design(), seed=3, workers=1)
    both = labels.join(truth, on="sop_instance_uid", suffix="_true")
    assert labels["label"].sum() == 6
    assert both.filter(pl.col("label_true") == 1)["label"].mean() == 0.5
    assert labels["opening_row"].is_null().all()


KILLED = """
import os, signal, sys, threading, time
from pathlib import Path
from fistula import cli

def kill():
    while not list(Path().glob(".cohort.*.partial/*/*.dcm")):
        time.sleep(0.02)
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    Path("children").write_text(children)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    threading.Thread(target=kill, daemon=True).start()
    sys.argv = ["fistula", "phantom", "out=cohort", "patients=20", "controls=20", "workers=2"]
    cli.main()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only there does a process learn of the end of another")
def test_no_process_goes_on_after_the_command_was_killed_and_the_same_command_writes_the_cohort(tmp_path, fistula):
    (tmp_path / "program.py").write_text(KILLED)
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert (done.returncode, "%" in done.stdout + done.stderr) == (-9, False)  # no bar where there is no terminal
    processes = [Path("/proc", number) for number in (tmp_path / "children").read_text().split()]
    assert processes
    deadline = time.monotonic() + 30
    while any("Z" not in one.joinpath("stat").read_text() for one in processes if one.exists()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert fistula("phantom", "out=cohort", "patients=4", "controls=4").returncode == 0
    assert not list(tmp_path.glob(".cohort.*"))


def test_nothing_is_left_when_writing_fails(tmp_path, make_design):
    design = make_design()
    broken = replace(design, sites=[replace(site, model=3) for site in design.sites])
    with pytest.raises(TypeError):
        write_cohort(tmp_path / "cohort", SIZE, broken, seed=0, workers=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patients": 0}, r"patients: must be at least 1 and at most 100000, found 0"),
        ({"controls": -3}, r"controls: must be at least 1 and .*, found -3"),
        ({"positive": 0.2}, r"slices\.positive: must be at least 1 and at most 200, found 0\.2"),
        ({"negative": -1}, r"slices\.negative: must be at least 0 and .*, found -1"),
        ({"supersampling": 0}, r"supersampling: must be at least 1 and at most 8, found 0"),
        ({"step_mm": 0.0}, r"slices\.step_mm: must be at least 0\.1 and at most 6, found 0"),
    ],
)
def test_a_size_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(SIZE, **changes)


def in_the_patient(row, image):
    """Patient coordinates of the canal's center in an image, mm."""
    right, down = np.reshape(image.ImageOrientationPatient, (2, 3)).astype(float)
    place = np.array(image.ImagePositionPatient, float) + row["canal_col"] * image.PixelSpacing[1] * right
    return place + row["canal_row"] * image.PixelSpacing[0] * down


def test_tilted_slices_lie_along_their_normal_and_show_the_canal_where_it_is(written, make_design, tmp_path):
    design = make_design()
    tilted = replace(design, sites=[replace(site, tilt_degrees=12.0) for site in design.sites])
    table = write_cohort(tmp_path / "tilted", SIZE, tilted, seed=0, workers=1)
    folders = {uid: number for number, uid in enumerate(written[1]["sop_instance_uid"])}
    canals, corners = {}, []
    for out, rows in ((written[0], written[1]), (tmp_path / "tilted", table)):
        for path in sorted(out.glob("SYN0-0001/*.dcm")):
            image = pydicom.dcmread(path)
            row = rows.row(folders[image.SOPInstanceUID], named=True)
            canals.setdefault(path.name, []).append(in_the_patient(row, image))
            if out != written[0]:
                corners.append(np.array(image.ImagePositionPatient, float))
    normal = np.array([0.0, -np.sin(np.radians(12)), np.cos(np.radians(12))])
    steps = np.diff(sorted(corners, key=lambda corner: corner @ normal), axis=0)
    assert np.abs(steps - (steps @ normal)[:, None] * normal).max() < 1e-3
    assert (steps @ normal).min() == pytest.approx(np.cos(np.radians(12)), abs=1e-3)
    for plain, slanted in canals.values():
        assert np.abs(plain - slanted)[:2].max() < 1.0  # mm: the canal bends a little with the height
