import numpy as np
import pytest

from fistula.phantom.canal import (
    JUNCTION_MM,
    SPHINCTER_EDGE_MM,
    THINNEST_SPHINCTER_MM,
    clock_angle,
    draw_canal,
    polar_point,
)

ANGLES = np.linspace(0, 2 * np.pi, 180)


@pytest.fixture(params=range(12))
def canal(request):
    return draw_canal(np.random.default_rng(request.param), is_male=request.param % 2 == 0)


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        pytest.param(12, (0, -10), id="anterior is at the top"),
        pytest.param(3, (10, 0), id="the patient's left is at the image's right"),
        pytest.param(6, (0, 10), id="posterior is at the bottom"),
        pytest.param(9, (-10, 0), id="the patient's right is at the image's left"),
    ],
)
def test_the_clock_face(hours, expected):
    assert polar_point(10.0, clock_angle(hours)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("level", [SPHINCTER_EDGE_MM, 12, 20, 28, JUNCTION_MM, 45])
def test_layers_never_cross(canal, level):
    radii = np.array(canal.radii(ANGLES, level))
    assert (np.diff(radii, axis=0) >= -1e-5).all()
    assert (radii[2] - radii[1]).min() >= THINNEST_SPHINCTER_MM - 1e-4


def test_sizes_at_the_dentate_line_are_those_of_the_literature(canal):
    _, mucosa, internal, plane, external = canal.radii(ANGLES, 17.0)
    assert 4 <= mucosa.mean() <= 7.5
    assert 1.6 <= (internal - mucosa).mean() <= 4.3
    assert 0.8 <= (plane - internal).mean() <= 2.2
    lateral = np.abs(np.sin(ANGLES)) > 0.9
    assert 26 <= 2 * external[lateral].mean() <= 38
