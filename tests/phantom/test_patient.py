import numpy as np
import pytest
from scipy import ndimage

from fistula.phantom.patient import opening_centre
from fistula.phantom.tissue import Tissue

from .conftest import STEP_MM

LINE = (np.arange(200) + 0.5) * 0.35 - 35  # 70 x 70 mm around the canal at 0.35 mm


def is_breached(labels):
    """Whether a way leads from the mucosa to the intersphincteric plane that is neither sphincter nor scar."""
    regions, _ = ndimage.label(~np.isin(labels, [Tissue.IAS, Tissue.HEALED]))
    return bool(set(regions[labels == Tissue.MUCOSA]) & set(regions[labels == Tissue.PLANE]))


@pytest.mark.parametrize("number", range(1, 13))
def test_positive_slices_breach_the_internal_sphincter_and_negative_ones_do_not(make_patient, number):
    patient = make_patient(number, has_fistula=True)
    positive, negative = patient.levels(STEP_MM)
    for level in (positive[0] - 0.5, positive[4], positive[-1] + 0.5):
        assert is_breached(patient.plane(level, LINE, LINE).labels)
    for level in negative:
        labels = patient.plane(level, LINE, LINE).labels
        assert not is_breached(labels)
        assert opening_centre(patient.plane(level, LINE, LINE), patient, level) is None
    assert np.isin(patient.plane(min(negative), LINE, LINE).labels, [Tissue.TRACT, Tissue.PUS, Tissue.SETON]).any()


@pytest.mark.parametrize("number", range(1, 13))
def test_no_slice_of_a_control_is_breached(make_patient, number):
    patient = make_patient(number, has_fistula=False)
    _, negative = patient.levels(STEP_MM)
    assert not any(is_breached(patient.plane(level, LINE, LINE).labels) for level in negative[::4])


@pytest.mark.parametrize("number", range(1, 13))
def test_the_opening_is_named_where_the_tract_lies_in_sphincter_and_mucosa(make_patient, number):
    patient = make_patient(number, has_fistula=True)
    level = patient.levels(STEP_MM)[0][4]
    canvas = patient.plane(level, LINE, LINE)
    row, column = opening_centre(canvas, patient, level)
    here = round(row), round(column)
    assert canvas.labels[here] in (Tissue.TRACT, Tissue.TRACT_LUMEN, Tissue.SETON)
    angle = np.arctan2(canvas.x[here], -canvas.y[here])
    _, mucosa, internal, _, _ = patient.canal.radii(angle, level)
    assert mucosa - 1.5 <= np.hypot(canvas.x[here], canvas.y[here]) <= internal + 0.5
    hours = patient.tract.opening.angle(level) / (2 * np.pi) * 12
    assert np.cos(angle - 2 * np.pi * hours / 12) > 0.98


def test_slices_of_both_groups_lie_at_the_same_levels(make_patient):
    zones = [[make_patient(number, has_fistula=has).zone for number in range(30)] for has in (True, False)]
    assert np.mean(zones[0]) == pytest.approx(np.mean(zones[1]), abs=3)


def test_findings_come_in_both_groups(make_patient):
    for has_fistula in (True, False):
        share = np.mean([len(make_patient(number, has_fistula=has_fistula).findings) > 0 for number in range(20)])
        assert 0.5 < share < 1


@pytest.mark.parametrize(
    ("level", "there", "not_there"),
    [
        pytest.param(10, (Tissue.CAVERNOUS, Tissue.IAS, Tissue.MUSCLE), (Tissue.BLADDER,), id="low"),
        pytest.param(30, (Tissue.MARROW, Tissue.CORTEX, Tissue.LIGAMENT, Tissue.IAS), (), id="mid"),
        pytest.param(46, (Tissue.VESSEL, Tissue.MARROW, Tissue.GLAND), (Tissue.CAVERNOUS,), id="high"),
    ],
)
def test_each_level_shows_its_anatomy(make_patient, level, there, not_there):
    line = (np.arange(250) + 0.5) - 125
    for number in (1, 2, 3):
        labels = make_patient(number, has_fistula=False).plane(level, line, line).labels
        assert all((labels == tissue).any() for tissue in there)
        assert not any((labels == tissue).any() for tissue in not_there)
