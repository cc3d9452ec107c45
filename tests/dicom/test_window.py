import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_windowing

from fistula.dicom.pixels.window import Window, apply_window


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(40, 400), (0, 100), (2048, 4096), (10.5, 7)])
def test_windows_are_those_of_pydicom(function, center, width):
    values = np.arange(-300, 3000, 7).astype(np.int16)
    dataset = Dataset()
    dataset.PhotometricInterpretation, dataset.BitsStored, dataset.PixelRepresentation = "MONOCHROME2", 16, 1
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = center, width, function
    expected = (apply_windowing(values, dataset) + 32768) / 65535
    np.testing.assert_allclose(apply_window(values, center=center, width=width, function=function), expected, atol=2e-5)


def test_a_linear_window_of_width_one_is_a_step_at_half_below_the_centre():
    assert apply_window(np.array([9.4, 9.5, 9.6]), center=10, width=1).tolist() == [0, 0, 1]


def test_values_beyond_a_table_take_its_ends():
    window = Window(table=np.array([0.25, 0.75]), first=5.0)
    assert window(np.array([-100.0, 5.0, 6.0, 100.0])).tolist() == [0.25, 0.25, 0.75, 0.75]
