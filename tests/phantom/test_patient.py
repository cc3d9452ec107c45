from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from fistula.phantom.patient import Person, draw_patient, opening_centre
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
    ("group", "tissues"),
    [
        ("companions", {Tissue.RIM, Tissue.PUS, Tissue.SETON}),
        (
            "findings",
            {Tissue.PLEXUS, Tissue.FISSURE, Tissue.HEALED, Tissue.TRACT, Tissue.RIM, Tissue.PUS, Tissue.SINUS},
        ),
    ],
)
def test_what_is_certain_is_there_and_what_is_impossible_is_not(make_design, group, tissues):
    design = make_design("trivial")
    has_fistula = group == "companions"
    person = Person(3, has_fistula, True, 0, 9, 2 if has_fistula else 0)
    for chance in (0.0, 1.0):
        changed = replace(design, **{group: dict.fromkeys(getattr(design, group), chance)})
        patient = draw_patient(np.random.default_rng(3), person, changed, step=STEP_MM)
        seen = {
            Tissue(tissue) for level in range(2, 40, 3) for tissue in np.unique(patient.plane(level, LINE, LINE).labels)
        }
        assert tissues & seen == (tissues if chance else set())


def test_a_horseshoe_lies_on_both_sides_of_its_opening(make_design):
    design = make_design("trivial")
    design = replace(design, companions=design.companions | {"horseshoe": 1.0})
    patient = draw_patient(np.random.default_rng(3), Person(3, True, True, 0, 9, 2), design, step=STEP_MM)
    arms = patient.tract.courses[1].points
    off = np.arctan2(arms[:, 0], -arms[:, 1]) - patient.tract.opening.angle(patient.zone)
    off = (off + np.pi) % (2 * np.pi) - np.pi
    assert off.min() < -0.5
    assert off.max() > 0.5


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
