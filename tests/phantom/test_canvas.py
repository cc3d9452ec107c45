import numpy as np
import pytest

from fistula.phantom.canvas import Canvas, smooth_step
from fistula.phantom.tissue import Tissue


@pytest.fixture
def canvas():
    """40 x 40 mm at 0.25 mm, not warped."""
    line = (np.arange(160) + 0.5) / 4 - 20
    x, y = np.meshgrid(line, line)
    return Canvas(line, line, x, y, np.zeros_like(x), np.zeros(x.shape, dtype=np.uint8))


def area(canvas, tissue):
    return float((canvas.labels == tissue).sum()) / 16


def test_an_ellipse_has_its_area(canvas):
    canvas.ellipse(Tissue.FAT, (2, -3), (8, 5), angle=0.7)
    assert area(canvas, Tissue.FAT) == pytest.approx(np.pi * 8 * 5, rel=0.01)


def test_a_bone_is_marrow_within_cortex(canvas):
    canvas.bone((0, 0), (10, 8), cortex=2)
    assert canvas.labels[80, 80] == Tissue.MARROW
    assert canvas.labels[80, 80 + 36] == Tissue.CORTEX  # 9 mm out, 1 mm below the surface


def test_what_may_not_be_replaced_stays(canvas):
    canvas.ellipse(Tissue.IAS, (0, 0), (6, 6))
    before = area(canvas, Tissue.IAS)
    canvas.ellipse(Tissue.VESSEL, (6, 0), (3, 3), over=(Tissue.AIR,))
    assert area(canvas, Tissue.IAS) == before
    assert 0 < area(canvas, Tissue.VESSEL) < np.pi * 9


def test_discs_without_a_radius_and_shapes_outside_paint_nothing(canvas):
    canvas.tube(Tissue.TRACT, np.array([[0.0, 0.0], [500.0, 500.0]]), np.array([-1.0, 2.0]))
    canvas.ellipse(Tissue.TRACT, (-400, 0), (3, 3))
    canvas.ellipse(Tissue.TRACT, (0, 0), (0, 3))
    assert area(canvas, Tissue.TRACT) == 0


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        pytest.param(1, 2, 4, 0, id="below"),
        pytest.param(3, 2, 4, 0.5, id="half-way"),
        pytest.param(2.5, 2, 4, 0.15625, id="worked by hand: t=1/4, t*t*(3-2t)=5/32"),
        pytest.param(9, 2, 4, 1, id="above"),
        pytest.param(9, 4, 2, 0, id="falling"),
    ],
)
def test_smooth_step(value, low, high, expected):
    assert smooth_step(value, low, high) == pytest.approx(expected)
