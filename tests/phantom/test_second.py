"""The T2 beside the first series: what each shows, and what neither shows alone."""

from dataclasses import replace

import numpy as np
import pydicom
import pytest

from fistula.phantom.cohort import Size, write_cohort
from fistula.phantom.patient import Person, draw_patient
from fistula.phantom.second import as_t2, levels_of_t2, with_lookalike
from fistula.phantom.tissue import BRIGHT, LOOK, Tissue

SMALL = Size(patients=2, controls=4, positive=3, negative=0, control=3, step_mm=1.0, supersampling=1)


@pytest.fixture(scope="module")
def written(tmp_path_factory, make_design):
    folder = tmp_path_factory.mktemp("second") / "data"
    design = make_design("two_sequences")
    design = replace(design, sites=[replace(design.sites[0], matrix=160)])
    labels = write_cohort(folder, SMALL, design, seed=3, workers=1)
    write_cohort(folder.with_name("one"), SMALL, replace(design, t2=False), seed=3, workers=1)
    return folder, labels


def test_a_t2_lies_in_the_same_study_and_frame_on_a_grid_of_its_own(written):
    folder, labels = written
    for patient in folder.glob("SYN*"):
        first = [pydicom.dcmread(path) for path in sorted(patient.glob("IM_*"))]
        second = [pydicom.dcmread(path) for path in sorted(patient.glob("T2_*"))]
        both = (first[0], second[0])
        for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
            assert len({getattr(one, keyword) for one in both}) == 1
        assert len({one.SeriesInstanceUID for one in both}) == 2
        assert [one.SeriesDescription for one in both] == ["T1 mDIXON W tra +C", "T2 SPAIR tra"]
        assert [one.Rows for one in both] == [160, 120]
        places = [sorted(float(one.ImagePositionPatient[2]) for one in series) for series in (first, second)]
        assert places[1][0] < places[0][0]
        assert places[1][-1] > places[0][-1]
        assert not {one.SOPInstanceUID for one in second} & set(labels["sop_instance_uid"])


def test_patients_look_on_the_first_series_as_they_do_without_a_second(written):
    folder, labels = written
    sick = {str(uid) for uid, label in labels.select("sop_instance_uid", "label").iter_rows() if label}
    compared = 0
    for path in folder.glob("*/IM_*"):
        if pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID in sick:
            assert path.read_bytes() == (folder.with_name("one") / path.parent.name / path.name).read_bytes()
            compared += 1
    assert compared == 6


def test_each_control_has_what_one_series_alone_takes_for_a_fistula(make_design):
    """A breach is as bright as a tract on T1, scar or not, and on T2 only a scar differs from the sphincter."""
    design = make_design("two_sequences")
    kinds = []
    for number in range(40):
        rng = np.random.default_rng(number)
        person = Person(number, has_fistula=False, is_male=True, site=0, num_core=9, num_beyond=0)
        control = with_lookalike(rng, draw_patient(rng, person, design, step=1.0), design, step=1.0)
        (found,) = control.findings
        assert (found.opening is not None) == (found.wall is Tissue.HEALED)
        assert design.tract_signal[0] <= control.signal[Tissue.HEALED] <= design.tract_signal[1]
        kinds.append(found.wall)
        assert as_t2(control).signal[Tissue.IAS] == as_t2(control).signal[Tissue.TRACT] == np.float32(BRIGHT)
    assert 10 <= sum(kind is Tissue.HEALED for kind in kinds) <= 30
    assert LOOK.shape == (5, len(Tissue))


def test_its_slices_reach_beyond_those_of_the_first_on_both_sides():
    assert levels_of_t2([10.0, 11.0, 12.0], step=1.0) == [9.5, 11.0, 12.5]
