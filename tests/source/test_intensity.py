import numpy as np
import pytest

from fistula.dicom.pixels.window import Window
from fistula.errors import ConfigError
from fistula.source.intensity import FileWindow, FixedWindow, MinMax, Percentile

VOLUME = np.arange(200, dtype=np.float32).reshape(2, 10, 10)
VOLUME.flags.writeable = False
INSIDE = np.ones((2, 10, 10), bool)
NONE = [None, None]


def test_percentiles_are_of_the_whole_volume():
    unit = Percentile(10, 90)(VOLUME.copy(), INSIDE, NONE)
    low, high = np.percentile(np.arange(200), [10, 90])
    np.testing.assert_allclose(unit, np.clip((VOLUME - low) / (high - low), 0, 1), atol=1e-6)


@pytest.mark.parametrize("mapping", [Percentile(1, 99), MinMax()])
def test_scale_and_offset_of_the_scanner_drop_out(mapping):
    np.testing.assert_allclose(
        mapping(VOLUME.copy(), INSIDE, NONE), mapping(VOLUME * 2.36 + 100, INSIDE, NONE), atol=1e-5
    )


@pytest.mark.parametrize("mapping", [Percentile(1, 99), MinMax()])
def test_what_is_outside_takes_no_part(mapping):
    outside = VOLUME.copy()
    outside[0, 0] = 1e6
    inside = INSIDE.copy()
    inside[0, 0] = False
    np.testing.assert_allclose(mapping(outside, inside, NONE)[inside], mapping(VOLUME.copy(), inside, NONE)[inside])


@pytest.mark.parametrize("mapping", [Percentile(1, 99), MinMax()])
def test_a_constant_volume_is_black_and_an_empty_one_too(mapping):
    assert mapping(np.full_like(VOLUME, 7), INSIDE, NONE).max() == 0
    assert mapping(VOLUME.copy(), ~INSIDE, NONE).max() == 0


@pytest.mark.parametrize("mapping", [Percentile(0.5, 99.5), MinMax(), FixedWindow(100, 50), FileWindow()])
def test_brighter_stays_brighter(mapping):
    unit = mapping(VOLUME.copy(), INSIDE, [Window(50, 80), Window(150, 80)])
    assert (np.diff(unit[0].ravel()) >= 0).all()
    assert unit.min() >= 0
    assert unit.max() <= 1
    assert unit.dtype == np.float32


def test_the_files_windows_are_applied_slice_by_slice():
    unit = FileWindow()(VOLUME.copy(), INSIDE, [Window(50, 100, "LINEAR_EXACT"), None])
    np.testing.assert_allclose(unit[0].ravel(), np.arange(100) / 100, atol=1e-6)
    np.testing.assert_allclose(unit[1].ravel(), np.arange(100) / 99, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Percentile(99, 1), "0 <= low < high <= 100, found 99 and 1"),
        (lambda: FixedWindow(40, 0), "intensity.width: must be at least 1, found 0"),
        (lambda: FixedWindow(40, 400, "CUBIC"), "must be LINEAR, LINEAR_EXACT or SIGMOID"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
