"""A slice is stored in one orientation of the patient, however its file was written, and points go with it and back."""

import numpy as np
import polars as pl
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage

from fistula.cohort.order import in_source, on_grid, with_points
from fistula.dicom.identity import Pseudonyms
from fistula.dicom.look import Look
from fistula.dicom.parse import read_dataset
from fistula.dicom.pixels.geometry import TURNS, turn, turned_point
from fistula.source.grid import Grid, grid_point, source_point
from fistula.source.intensity import FixedWindow, Percentile
from fistula.source.read import volumes_of
from fistula.source.slices import RESULTS, Plan, read_volumes
from fistula.source.survey import survey_source
from fistula.source.volumes import with_volumes
from fistula.source.workers import Workers

LOOK = Look(Pseudonyms(b"0123456789abcdef"))
GRID = Grid(32, 1.0)
OPENING = (5.0, 14.0)  # row and column of the picture in the stored orientation
SHAPE, SPACING = (24, 20), (0.8, 1.1)
TILT = np.radians(25)
ALONG, DOWN = np.array([1.0, 0, 0]), np.array([0, np.cos(TILT), -np.sin(TILT)])


def _picture(slices=3):
    return np.random.default_rng(0).integers(0, 4000, (slices, *SHAPE)).astype(np.uint16)


def _laid(turned, corner):
    """Directions, spacing and corner of the same plane once its picture is turned so."""
    is_transposed, is_row_reversed, is_column_reversed = TURNS[turned]
    along, down = ALONG, DOWN
    steps, size = {"along": SPACING[1], "down": SPACING[0]}, {"along": SHAPE[1], "down": SHAPE[0]}
    order = ["down", "along"] if not is_transposed else ["along", "down"]
    axes = {"along": along, "down": down}
    row_axis, column_axis = order  # which patient direction rows and columns count along
    directions = []
    for axis, is_reversed in ((column_axis, is_column_reversed), (row_axis, is_row_reversed)):
        if is_reversed:
            corner = corner + axes[axis] * steps[axis] * (size[axis] - 1)
        directions.append(-axes[axis] if is_reversed else axes[axis])
    return [*directions[0], *directions[1]], [steps[row_axis], steps[column_axis]], corner


def _read(folder, intensity, *, points=None):
    survey = survey_source(folder, LOOK, Workers(1))
    chosen = with_volumes(survey.facts).with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    records, pixels = read_volumes(volumes_of(survey, chosen), Plan(GRID, intensity, LOOK))
    results = pl.DataFrame(records, schema=RESULTS, orient="row")
    table = chosen.drop("reason", "remedy").join(results, on="row", maintain_order="left")
    order = table["position_mm"].arg_sort()
    return table[order], pixels[table["at"].to_numpy()[order]]


def test_a_frame_that_cannot_be_read_costs_no_other_and_no_second_look_at_the_object(
    write_dicom, tmp_path, monkeypatch
):
    opened = []
    monkeypatch.setattr(
        "fistula.source.slices.read_dataset", lambda *given, **how: opened.append(1) or read_dataset(*given, **how)
    )
    pixels = _picture(4).astype(np.float32)
    pixels[[0, 2]] = np.nan
    write_dicom(tmp_path / "a", pixels, drop=("PixelData",), FloatPixelData=pixels.tobytes())
    survey = survey_source(tmp_path, LOOK, Workers(1))
    chosen = with_volumes(survey.facts).with_columns(row="frame")
    records, _ = read_volumes(volumes_of(survey, chosen), Plan(GRID, Percentile(1, 99), LOOK))
    reasons = [dict(zip(RESULTS, record, strict=True))["reason"] for record in records]
    assert reasons == ["pixel values that are not finite", None] * 2
    assert opened == [1]


@pytest.mark.parametrize("turned", TURNS)
@pytest.mark.parametrize("is_enhanced", [False, True], ids=["classic", "enhanced"])
@pytest.mark.parametrize("intensity", [Percentile(1, 99), FixedWindow(2000, 3000)], ids=["percentile", "window"])
def test_flips_and_turns_of_the_file_are_undone_bit_by_bit(write_dicom, tmp_path, turned, is_enhanced, intensity):
    normal = np.cross(ALONG, DOWN)
    stored = {}
    for name in ("", turned):
        frames = []
        for place, image in enumerate(_picture()):
            cosines, spacing, corner = _laid(name, np.array([-8.0, 3.0, 1.0]) + 3.0 * place * normal)
            geometry = {
                "ImageOrientationPatient": [f"{value:.6f}" for value in cosines],
                "ImagePositionPatient": [f"{value:.6f}" for value in corner],
                "PixelSpacing": [str(value) for value in spacing],
            }
            image = np.ascontiguousarray(turn(image, name))
            frames.append((image, geometry))
            if not is_enhanced:
                uid = f"2.25.7{place}"
                write_dicom(tmp_path / f"as {name}" / f"{place}.dcm", image, SOPInstanceUID=uid, **geometry)
        if is_enhanced:
            write_dicom(
                tmp_path / f"as {name}" / "all.dcm",
                np.stack([image for image, _ in frames]),
                SOPClassUID=EnhancedMRImageStorage,
                PerFrameFunctionalGroupsSequence=[_groups(geometry) for _, geometry in frames],
                drop=("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"),
            )
        stored[name] = _read(tmp_path / f"as {name}", intensity)
    (expected, there), (table, here) = stored[""], stored[turned]
    np.testing.assert_array_equal(here, there)
    assert here.std() > 10
    assert set(table["turned"]) == {{"turn90": "turn270", "turn270": "turn90"}.get(turned, turned)}
    np.testing.assert_allclose(table["position_mm"], expected["position_mm"], atol=1e-3)
    assert table.select("orientation", "tilt_degrees", "volume").equals(
        expected.select("orientation", "tilt_degrees", "volume")
    )


def _groups(geometry):
    item = Dataset()
    for group, keyword in (
        ("PlaneOrientationSequence", "ImageOrientationPatient"),
        ("PlanePositionSequence", "ImagePositionPatient"),
        ("PixelMeasuresSequence", "PixelSpacing"),
    ):
        inner = Dataset()
        setattr(inner, keyword, geometry[keyword])
        setattr(item, group, [inner])
    return item


@pytest.mark.parametrize("turned", TURNS)
def test_the_opening_is_found_at_the_same_place_however_the_file_was_turned(write_dicom, tmp_path, turned):
    image = _picture(1)[0]
    found = {}
    for name in ("", turned):
        cosines, spacing, corner = _laid(name, np.array([-8.0, 3.0, 1.0]))
        geometry = {"ImageOrientationPatient": list(cosines), "ImagePositionPatient": list(corner)}
        path = tmp_path / f"as {name}" / "a.dcm"
        write_dicom(path, np.ascontiguousarray(turn(image, name)), PixelSpacing=spacing, **geometry)
        table, _ = _read(path.parent, Percentile(1, 99))
        row, column = turned_point(OPENING, SHAPE, name)  # where a reader marks it in the file as it is
        marked = table.with_columns(
            source_opening_row=pl.lit(row), source_opening_col=pl.lit(column), label=pl.lit(1),
            source_canal_row=pl.lit(None, pl.Float64), source_canal_col=pl.lit(None, pl.Float64),
        )  # fmt: skip
        moved = with_points(marked, GRID.size)
        found[name] = moved["opening_row"][0], moved["opening_col"][0]
        back = in_source(found[name], table.row(0, named=True))
        np.testing.assert_allclose(back, (row, column), atol=1e-9)
        again = on_grid((row, column), table.row(0, named=True), size=GRID.size)
        np.testing.assert_allclose(again, found[name], atol=1e-9)
    assert found[turned] == pytest.approx(found[""], abs=1e-9)


def test_an_opening_where_there_is_none_or_beyond_the_image_is_no_place_and_counted(write_dicom, tmp_path):
    write_dicom(tmp_path / "a" / "a.dcm", _picture(1)[0], PixelSpacing=[1, 1])
    (slice_,) = _read(tmp_path / "a", Percentile(1, 99))[:1]
    marks = pl.DataFrame(
        {
            "label": [0, 1, 1, None],
            "source_opening_row": [5.0, 5.0, -900.0, 5.0],
            "source_opening_col": 5.0,
            "source_canal_row": [6.0, 6.0, 6.0, 6000.0],
            "source_canal_col": 6.0,
        }
    )
    moved = with_points(pl.concat([pl.concat([slice_.drop("notes")] * 4), marks], how="horizontal").with_columns(
        notes=pl.lit("")
    ), GRID.size)  # fmt: skip
    assert moved["opening_row"].is_null().to_list() == [True, False, True, False]
    assert moved["opening_col"].is_null().to_list() == [True, False, True, False]
    assert moved["canal_row"].is_null().to_list() == [False, False, False, True]
    assert moved["notes"].to_list() == [
        "opening on a slice of the first class: ignored", "", "opening outside the grid", "canal outside the grid",
    ]  # fmt: skip


def test_a_point_of_the_grid_goes_back_to_where_it_came_from():
    placement = {"scale": (1.6, 0.7), "offset": (-3, 5)}
    there = grid_point((9.25, 14.5), size=64, **placement)
    np.testing.assert_allclose(source_point(there, **placement), (9.25, 14.5))


def test_slices_without_a_plane_are_left_as_they_are_and_said(write_dicom, tmp_path):
    image = _picture(1)[0]
    write_dicom(tmp_path / "a" / "a.dcm", image, drop=("ImageOrientationPatient",), PixelSpacing=[1, 1])
    write_dicom(tmp_path / "b" / "b.dcm", image, PixelSpacing=[1, 1])
    (table, without), (_, axial) = (_read(tmp_path / name, Percentile(1, 99)) for name in "ab")
    np.testing.assert_array_equal(without, axial)
    assert (table["orientation"][0], table["turned"][0]) == ("", "")
    assert "no orientation: unchanged" in table["notes"][0]
