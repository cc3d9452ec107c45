import numpy as np
import pytest
from PIL import Image

from fistula.learning.data.preview import rows_to_show
from tests.two_sequences import write_two_sequences


@pytest.mark.parametrize(
    "name", ["mr", pytest.param("strong", marks=pytest.mark.slow), "none", "color_jitter_expanded"]
)
def test_a_sheet_shows_each_slice_and_its_draws(fistula_here, cohort_folder, tmp_path, name):
    code, out, error = fistula_here(
        "preview", f"augmentation={name}", f"cohort={cohort_folder}", "slices=2", "draws=2", "image_size=32"
    )
    assert code == 0, error
    assert "look at preview.png" in out
    with Image.open(tmp_path / "preview.png") as sheet:
        assert sheet.size == pytest.approx((1.8 * 3 * 110, 2.35 * 2 * 110), abs=1)
        assert np.ptp(np.asarray(sheet.convert("L"))) > 200


def test_the_slices_shown_are_of_every_class_and_spread():
    rows = rows_to_show(np.array([0] * 90 + [1] * 10), 6)
    assert rows == [0, 44, 89, 90, 94, 99]


def test_a_sheet_needs_a_folder_that_is_there(fistula_here, cohort_folder):
    code, _, error = fistula_here("preview", f"cohort={cohort_folder}", "out=nowhere/a.png")
    assert (code, error) == (2, "error: out: must be in an existing folder, found nowhere/a.png\n")


def test_a_sheet_is_not_written_over_another_file(fistula_here, cohort_folder, tmp_path):
    (tmp_path / "preview.png").write_text("mine")
    code, _, error = fistula_here("preview", f"cohort={cohort_folder}")
    assert (code, "already exists" in error) == (2, True)
    code, _, error = fistula_here("preview", f"cohort={cohort_folder}", "out=b.png", "draws=0")
    assert (code, "draws: must be at least 1 and at most 1000, found 0" in error) == (2, True)


def test_the_sequences_of_a_slice_are_drawn_below_each_other(fistula_here, tmp_path):
    write_two_sequences(tmp_path / "two", patients=6)
    code, _, error = fistula_here("preview", f"cohort={tmp_path / 'two'}", "slices=2", "draws=1", "image_size=32")
    assert code == 0, error
    with Image.open(tmp_path / "preview.png") as sheet:
        assert sheet.size == pytest.approx((1.8 * 2 * 110, 2.35 * 4 * 110), abs=1)
