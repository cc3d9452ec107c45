"""Volumes are formed from geometry and acquisition: in classic and in enhanced objects, whoever made them."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import EnhancedMRImageStorage

from fistula.cohort.look.stacks import plane_notes, volume_notes
from fistula.dicom.identity import Pseudonyms
from fistula.dicom.look import Look
from fistula.errors import DataError
from fistula.learning.data.channels import channel_rows
from fistula.source.choose import Policies, choose
from fistula.source.flow import Flow
from fistula.source.rules import ALL, KeepRules
from fistula.source.survey import survey_source
from fistula.source.volumes import with_volumes
from fistula.source.workers import Workers

LOOK = Look(Pseudonyms(b"0123456789abcdef"))
AXIAL, CORONAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1]
MR = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]}
PIXELS = np.zeros((4, 4), np.uint16)


def _private(group, creator, offset, vr, value):
    def put(dataset):
        dataset.private_block(group, creator, create=True).add_new(offset, vr, value)

    return put


def _classic(write_dicom, folder, slices, *, series=None):
    """One file a slice; each is a position, attributes, and what else is to be put into it."""
    for number, (position, attributes, *put) in enumerate(slices):
        path = folder / f"{number:02}.dcm"
        given = {"ImagePositionPatient": [0, 0, position], "InstanceNumber": number + 1} | MR | attributes
        uids = {"SOPInstanceUID": f"2.25.6{number}", "SeriesInstanceUID": series(number) if series else "2.25.2"}
        dataset = write_dicom(path, PIXELS, **(uids | given))
        for one in put:
            one(dataset)
        dataset.save_as(path)
    return with_volumes(survey_source(folder, LOOK, Workers(1)).facts)


def _enhanced(write_dicom, folder, frames):
    """All of it in one object; each frame is a position and its functional groups."""
    own = []
    for position, groups in frames:
        item = Dataset()
        for group, attributes in (
            {"PlanePositionSequence": {"ImagePositionPatient": [0, 0, position]}} | groups
        ).items():
            inner = Dataset()
            for name, value in attributes.items():
                setattr(inner, name, value)
            setattr(item, group, [inner])
        own.append(item)
    dimensions = [Dataset(), Dataset()]
    dimensions[0].DimensionIndexPointer = Tag("InStackPositionNumber")
    dimensions[1].DimensionIndexPointer = Tag("TemporalPositionIndex")
    write_dicom(folder / "a.dcm", np.stack([PIXELS] * len(frames)), SOPClassUID=EnhancedMRImageStorage,
                PerFrameFunctionalGroupsSequence=own, DimensionIndexSequence=dimensions,
                drop=("ImagePositionPatient",), **MR)  # fmt: skip
    return with_volumes(survey_source(folder, LOOK, Workers(1)).facts)


def _volumes(facts):
    """Positions of each volume."""
    return sorted(sorted(volume["position_mm"].to_list()) for _, volume in facts.group_by("series_key", "volume"))


PHILIPS = "Philips Imaging DD 001"


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        pytest.param(({"DiffusionBValue": 0.0},), ({"DiffusionBValue": 800.0},), "b-value", id="b, standard"),
        pytest.param(
            ({}, _private(0x19, "SIEMENS MR HEADER", 0x0C, "IS", "0")),
            ({}, _private(0x19, "SIEMENS MR HEADER", 0x0C, "IS", "800")), "b-value", id="b, Siemens",
        ),
        pytest.param(
            ({}, _private(0x43, "GEMS_PARM_01", 0x39, "IS", ["1000000050", "8", "0", "0"])),
            ({}, _private(0x43, "GEMS_PARM_01", 0x39, "IS", ["1000000800", "8", "0", "0"])), "b-value", id="b, GE",
        ),
        pytest.param(
            ({}, _private(0x2001, PHILIPS, 0x03, "FL", 0.0)),
            ({}, _private(0x2001, PHILIPS, 0x03, "FL", 800.0)), "b-value", id="b, Philips",
        ),
        pytest.param(
            ({}, _private(0x65, "Image Private Header", 0x09, "FD", 0.0)),
            ({}, _private(0x65, "Image Private Header", 0x09, "FD", 800.0)), "b-value", id="b, United Imaging",
        ),
        pytest.param(
            ({"DiffusionBValue": 800.0, "DiffusionGradientOrientation": [1.0, 0, 0]},),
            ({"DiffusionBValue": 800.0, "DiffusionGradientOrientation": [0, 1.0, 0]},), "b-value", id="directions",
        ),
        pytest.param(({"EchoTime": "4.6"},), ({"EchoTime": "9.2"},), "echo", id="echoes"),
        pytest.param(({"TemporalPositionIdentifier": 1},), ({"TemporalPositionIdentifier": 2},), "phase", id="phases"),
        pytest.param(({"TriggerTime": "10"},), ({"TriggerTime": "210"},), "trigger time", id="cardiac"),
        pytest.param(({"InversionTime": "100"},), ({"InversionTime": "900"},), "inversion time", id="inversion"),
        pytest.param(({"AcquisitionNumber": 1},), ({"AcquisitionNumber": 2},), "acquisition number", id="dynamic"),
        pytest.param(({"EchoNumbers": 1},), ({"EchoNumbers": 2},), "echo number", id="echo numbers alone"),
        pytest.param(({"RepetitionTime": 500},), ({"RepetitionTime": 3000},), "repetition time", id="recovery"),
        pytest.param(({"FlipAngle": 5},), ({"FlipAngle": 26},), "flip angle", id="flip angles"),
        pytest.param(({"KVP": 80},), ({"KVP": 140},), "tube voltage", id="two energies"),
        pytest.param(({"SliceThickness": 1},), ({"SliceThickness": 5},), "slice thickness", id="two thicknesses"),
        pytest.param(({"SeriesNumber": 4},), ({"SeriesNumber": 5},), "series number", id="two series of one UID"),
        pytest.param(
            ({"SequenceName": "*ep_b0"},), ({"SequenceName": "*ep_b800t"},), "sequence name", id="b in a name alone",
        ),
        pytest.param(({"ConvolutionKernel": "B31f"},), ({"ConvolutionKernel": "B70f"},), "kernel", id="kernels"),
        pytest.param(
            ({"SeriesDescription": "T1"},), ({"SeriesDescription": "T1 +C"},), "description", id="two descriptions",
        ),
        pytest.param(
            ({"AcquisitionDateTime": "20200101101500"},), ({"AcquisitionDateTime": "20200101102500"},), "times",
            id="dynamic by date and time",
        ),
        pytest.param(({"Rows": 4},), ({"Rows": 2, "PixelData": bytes(16)},), "matrix", id="matrix"),
        pytest.param(({},), ({},), "image numbers", id="nothing but their numbers"),
        pytest.param(({},), ({"ImageType": ["DERIVED", "PRIMARY", "M", "NORM"]},), "image type", id="image type"),
        pytest.param(({},), ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]},), "component", id="phase maps"),
        pytest.param(({},), ({"PixelSpacing": [0.5, 0.5]},), "pixel spacing", id="spacing"),
        pytest.param(({},), ({"PhotometricInterpretation": "MONOCHROME1"},), "polarity", id="polarity"),
    ],
)  # fmt: skip
def test_a_series_that_mixes_acquisitions_is_several_volumes_and_says_so(write_dicom, tmp_path, one, other, why):
    slices = [(3.0 * place, *kind) for place in range(3) for kind in (one, other)]
    facts = _classic(write_dicom, tmp_path, slices)
    assert _volumes(facts) == [[0.0, 3.0, 6.0]] * 2
    # The slices of one kind are one volume, not every second of each.
    assert facts["volume"].to_list()[::2] == [facts["volume"][0]] * 3
    assert all("series divided into volumes by" in note and why in note for note in facts["notes"])
    assert volume_notes(facts) == {}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(
            {"MRDiffusionSequence": {"DiffusionBValue": 0.0}},
            {"MRDiffusionSequence": {"DiffusionBValue": 800.0}}, id="b-values",
        ),
        pytest.param(
            {"MREchoSequence": {"EffectiveEchoTime": 4.6}}, {"MREchoSequence": {"EffectiveEchoTime": 9.2}}, id="echoes",
        ),
        pytest.param(
            {"FrameContentSequence": {"TemporalPositionIndex": 1}},
            {"FrameContentSequence": {"TemporalPositionIndex": 2}}, id="phases",
        ),
        pytest.param(
            {"FrameContentSequence": {"StackID": "1"}}, {"FrameContentSequence": {"StackID": "2"}}, id="stacks",
        ),
        pytest.param(
            {"CardiacSynchronizationSequence": {"NominalCardiacTriggerDelayTime": 10.0}},
            {"CardiacSynchronizationSequence": {"NominalCardiacTriggerDelayTime": 310.0}}, id="cardiac",
        ),
        pytest.param(
            {"CardiacSynchronizationSequence": {"NominalPercentageOfCardiacPhase": 10.0}},
            {"CardiacSynchronizationSequence": {"NominalPercentageOfCardiacPhase": 60.0}}, id="cardiac, in percent",
        ),
        pytest.param(
            {"RespiratorySynchronizationSequence": {"NominalPercentageOfRespiratoryPhase": 0.0}},
            {"RespiratorySynchronizationSequence": {"NominalPercentageOfRespiratoryPhase": 50.0}}, id="breath",
        ),
        pytest.param(
            {"TemporalPositionSequence": {"TemporalPositionTimeOffset": 0.0}},
            {"TemporalPositionSequence": {"TemporalPositionTimeOffset": 2.5}}, id="time offset",
        ),
        pytest.param(
            {"FrameContentSequence": {"FrameAcquisitionDateTime": "20200131235959.5"}},
            {"FrameContentSequence": {"FrameAcquisitionDateTime": "20200201000000.5"}}, id="times of the frames",
        ),
        pytest.param(
            {"FrameContentSequence": {"DimensionIndexValues": [7, 1]}},
            {"FrameContentSequence": {"DimensionIndexValues": [2, 2]}}, id="a dimension that is no place",
        ),
        pytest.param(
            {"MRImageFrameTypeSequence": {"FrameType": ["ORIGINAL", "PRIMARY", "WATER"]}},
            {"MRImageFrameTypeSequence": {"FrameType": ["ORIGINAL", "PRIMARY", "FAT"]}}, id="Dixon",
        ),
    ],
)  # fmt: skip
def test_frames_of_an_enhanced_object_are_volumes_in_the_same_way(write_dicom, tmp_path, one, other):
    # In no order, which would else tell them apart.
    frames = [(3.0 * place, (one, other)[which]) for place, which in ((0, 1), (1, 0), (2, 1), (0, 0), (1, 1), (2, 0))]
    facts = _enhanced(write_dicom, tmp_path, frames)
    assert facts["volume"].to_list() == [facts["volume"][frame % 2] for frame in range(6)]
    assert _volumes(facts) == [[0.0, 3.0, 6.0]] * 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"EchoTime": 4.6}, {"EchoTime": 92}, id="echoes"),
        pytest.param({"DiffusionBValue": 0.0}, {"DiffusionBValue": 800.0}, id="b-values"),
        pytest.param({"TriggerTime": 10}, {"TriggerTime": 400}, id="trigger times"),
        pytest.param({"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}, id="phases"),
        pytest.param({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}, id="acquisitions"),
        pytest.param({"SeriesDescription": "arterial"}, {"SeriesDescription": "venous"}, id="descriptions"),
        pytest.param(
            {"ImageType": ["DERIVED", "PRIMARY", "W", "W"]}, {"ImageType": ["DERIVED", "PRIMARY", "F", "F"]}, id="Dixon"
        ),
    ],
)
def test_what_a_converter_kept_of_classic_images_tells_volumes_apart_as_it_did(write_dicom, tmp_path, one, other):
    kept = "UnassignedPerFrameConvertedAttributesSequence"
    frames = [
        (3.0 * place, {kept: (one, other)[which]}) for place, which in ((0, 1), (1, 0), (2, 1), (0, 0), (1, 1), (2, 0))
    ]
    facts = _enhanced(write_dicom, tmp_path, frames)
    assert facts["volume"].to_list() == [facts["volume"][frame % 2] for frame in range(6)]
    assert _volumes(facts) == [[0.0, 3.0, 6.0]] * 2
    if "ImageType" in one:
        assert facts["component"].to_list() == ["fat", "water"] * 3


def test_frames_of_which_nothing_is_said_are_volumes_by_their_order(write_dicom, tmp_path):
    facts = _enhanced(write_dicom, tmp_path, [(3.0 * place, {}) for _ in range(2) for place in range(3)])
    assert facts["volume"].to_list() == [facts["volume"][0]] * 3 + [facts["volume"][3]] * 3
    assert _volumes(facts) == [[0.0, 3.0, 6.0]] * 2


@pytest.mark.parametrize(
    ("numbers", "positions", "volumes"),
    [((1, 2, 3, 4), [None] * 4, [0] * 4), ((1, 1, 1, 1), [3.0] * 4, [0, 1, 2, 3])],
    ids=["numbered as a stack", "one place again and again"],
)
def test_frames_that_all_state_one_position_are_a_stack_only_if_they_are_numbered_as_one(
    write_dicom, tmp_path, numbers, positions, volumes
):
    frames = [(3.0, {"FrameContentSequence": {"StackID": "1", "InStackPositionNumber": number}}) for number in numbers]
    facts = _enhanced(write_dicom, tmp_path, frames)
    assert facts["position_mm"].to_list() == positions
    assert facts["volume"].to_list() == volumes
    assert all(("numbered as several places" in note) == (positions[0] is None) for note in facts["notes"])


# When each of three phases was taken of each of four slices: hearts and scanners keep no exact time.
HEART = [[10, 210, 410], [14, 215, 409], [12, 212, 414], [11, 208, 411]]
SLOWING = [[10, 210, 410], [12, 262, 512], [13, 313, 613], [15, 365, 715]]
COUNTED = [[1 + place + 4 * phase for phase in range(3)] for place in range(4)]
PER_SLICE = [[1 + 3 * place + phase for phase in range(3)] for place in range(4)]


@pytest.mark.parametrize(
    ("keyword", "taken"),
    [
        pytest.param("TriggerTime", HEART, id="trigger times that tremble"),
        pytest.param("TriggerTime", SLOWING, id="trigger times of a slowing heart"),
        pytest.param("AcquisitionNumber", COUNTED, id="acquisitions counted on"),
        pytest.param("AcquisitionNumber", PER_SLICE, id="acquisitions counted slice by slice"),
        pytest.param("InversionTime", HEART, id="inversion times that tremble"),
    ],
)
def test_moments_that_differ_from_slice_to_slice_make_volumes_of_phases_and_none_of_one_slice(
    write_dicom, tmp_path, keyword, taken
):
    order = [(place, phase) for phase in (2, 0, 1) for place in (1, 3, 0, 2)]
    order = order[::2] + order[1::2]  # image numbers tell nothing
    facts = _classic(write_dicom, tmp_path, [(3.0 * place, {keyword: taken[place][phase]}) for place, phase in order])
    assert _volumes(facts) == [[0.0, 3.0, 6.0, 9.0]] * 3
    assert len({(phase, volume) for (_, phase), volume in zip(order, facts["volume"], strict=True)}) == 3


def test_a_slice_that_is_missing_of_a_phase_moves_no_other_into_it(write_dicom, tmp_path):
    order = [(place, phase) for place in range(4) for phase in range(3) if (place, phase) != (2, 1)]
    facts = _classic(
        write_dicom, tmp_path, [(3.0 * place, {"TriggerTime": HEART[place][phase]}) for place, phase in order]
    )
    assert _volumes(facts) == [[0.0, 3.0, 6.0, 9.0], [0.0, 3.0, 6.0, 9.0], [0.0, 3.0, 9.0]]


def test_two_moments_tell_volumes_apart_that_neither_tells(write_dicom, tmp_path):
    kinds = [{"InversionTime": time, "FlipAngle": angle} for time in (100, 900) for angle in (5, 26)]
    order = [(place, (place + step) % 4) for step in range(4) for place in range(3)]
    facts = _classic(write_dicom, tmp_path, [(3.0 * place, kinds[kind]) for place, kind in order])
    assert _volumes(facts) == [[0.0, 3.0, 6.0]] * 4
    assert len({(kind, volume) for (_, kind), volume in zip(order, facts["volume"], strict=True)}) == 4
    assert "series divided into volumes by inversion time, flip angle" in facts["notes"][0]


@pytest.mark.parametrize(
    ("keyword", "values", "volumes"),
    [
        ("EchoTime", (2.249, 2.251), [[0.0, 3.0, 6.0, 9.0]]),
        ("EchoTime", (2.2, 2.3), [[0.0, 6.0], [3.0, 9.0]]),
        ("DiffusionBValue", (799.6, 800.0), [[0.0, 3.0, 6.0, 9.0]]),
        ("DiffusionBValue", (799.0, 800.0), [[0.0, 6.0], [3.0, 9.0]]),
    ],
)
def test_numbers_that_tremble_divide_no_volume_wherever_they_would_be_rounded(
    write_dicom, tmp_path, keyword, values, volumes
):
    slices = [(3.0 * place, {keyword: values[place % 2]}) for place in range(4)]
    assert _volumes(_classic(write_dicom, tmp_path, slices)) == volumes


def test_frames_that_share_the_position_of_their_object_are_one_volume_without_positions(write_dicom, tmp_path):
    write_dicom(tmp_path / "a.dcm", np.stack([PIXELS] * 5), SliceLocation=3, **MR)
    facts = with_volumes(survey_source(tmp_path, LOOK, Workers(1)).facts)
    assert facts["position_mm"].null_count() == 5
    assert facts["volume"].to_list() == [0] * 5
    assert volume_notes(facts) == {"no position": 1}


def test_one_slice_location_for_all_says_nothing(write_dicom, tmp_path):
    lies = {"ImagePositionPatient": None, "SliceLocation": 0}
    facts = _classic(write_dicom, tmp_path, [(None, lies) for _ in range(3)])
    assert (facts["position_mm"].null_count(), facts["volume"].to_list()) == (3, [0] * 3)
    assert [note.strip("|") for note in facts["notes"]] == [
        "one SliceLocation for all slices, and no other position"
    ] * 3
    assert volume_notes(facts) == {"no position": 1}


def test_philips_own_b_value_in_a_frame_counts(write_dicom, tmp_path):
    facts = _enhanced(write_dicom, tmp_path, [(3.0 * place, {}) for place in (0, 1, 0, 1)])
    path = tmp_path / "a.dcm"
    dataset = pydicom.dcmread(path)
    for frame, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        item = Dataset()
        item.private_block(0x2001, PHILIPS, create=True).add_new(0x03, "FL", [0.0, 0.0, 800.0, 800.0][frame])
        group.private_block(0x2005, "Philips MR Imaging DD 005", create=True).add_new(0x0F, "SQ", [item])
    dataset.save_as(path)
    facts = with_volumes(survey_source(tmp_path, LOOK, Workers(1)).facts)
    assert facts["acquisition"].to_list() == ["b 0", "b 0", "b 800", "b 800"]


@pytest.mark.parametrize("attribute", ["TriggerTime", "AcquisitionNumber", "InversionTime"])
def test_a_moment_that_differs_from_slice_to_slice_does_not_tear_a_volume_apart(write_dicom, tmp_path, attribute):
    facts = _classic(write_dicom, tmp_path, [(3.0 * place, {attribute: place + 1}) for place in range(4)])
    assert set(facts["volume"]) == {0}
    assert set(facts["notes"]) == {""}


def test_two_stacks_of_different_orientation_are_two_volumes(write_dicom, tmp_path):
    slices = [(3.0 * place, {"ImageOrientationPatient": plane}) for plane in (AXIAL, CORONAL) for place in range(3)]
    slices = [
        (position, attributes | {"ImagePositionPatient": [0, position, position]}) for position, attributes in slices
    ]
    facts = _classic(write_dicom, tmp_path, slices)
    assert facts["volume"].to_list() == [0] * 3 + [1] * 3 or facts["volume"].to_list() == [1] * 3 + [0] * 3
    assert set(facts["notes"]) == {"series divided into volumes by orientation"}
    assert plane_notes(facts) == {"patients with slices of several planes": 1}


def test_tilts_that_differ_within_a_patient_are_counted(write_dicom, tmp_path):
    tilted = [1, 0, 0, 0, float(np.cos(0.4)), float(np.sin(0.4))]  # 23 degrees
    facts = _classic(
        write_dicom, tmp_path, [(3.0, {"ImageOrientationPatient": plane}) for plane in (AXIAL, tilted, AXIAL)]
    )
    assert plane_notes(facts) == {"patients whose slices differ in tilt by more than 10 degrees": 1}


def test_one_series_uid_a_slice_is_one_volume_and_says_so(write_dicom, tmp_path):
    alike = {"SeriesNumber": 7, "FrameOfReferenceUID": "2.25.8"}
    slices = [(3.0 * place, alike) for place in (2, 0, 1)]
    facts = _classic(write_dicom, tmp_path, slices, series=lambda number: f"2.25.20{number}")
    assert facts["series_key"].n_unique() == 1
    assert facts["series_key"][0] == LOOK.pseudonyms("series", "2.25.201")  # of the slice that lies first
    assert set(facts["volume"]) == {0}
    assert set(facts["notes"]) == {"volume assembled from single-slice series"}
    assert channel_rows(facts, 3).tolist() == [[2, 0, 0], [1, 1, 2], [1, 2, 0]]


@pytest.mark.parametrize(
    "differs", ["SeriesNumber", "FrameOfReferenceUID", "SeriesDescription", "StudyInstanceUID", "Modality"]
)
def test_series_that_differ_in_more_than_their_uid_are_not_joined(write_dicom, tmp_path, differs):
    values = {"SeriesNumber": (7, 8), "Modality": ("MR", "CT")}.get(differs, ("2.25.1", "2.25.2"))
    alike = {"SeriesNumber": 7, "FrameOfReferenceUID": "2.25.8"}
    slices = [(3.0 * place, alike | {differs: values[place]}) for place in range(2)]
    facts = _classic(write_dicom, tmp_path, slices, series=lambda number: f"2.25.20{number}")
    assert facts["series_key"].n_unique() == 2


@pytest.mark.parametrize("scheme", ["last part counts", "unrelated", "by place, echoes together"])
@pytest.mark.parametrize("form", ["classic", "one enhanced object a slice"])
def test_however_series_are_cut_up_by_slice_each_echo_is_one_volume(write_dicom, tmp_path, scheme, form):
    """Four places of two echoes each, the second three times as bright."""
    uid = {
        "last part counts": lambda number: f"2.25.20.{number}",
        "unrelated": lambda number: f"2.25.{hash_of(number)}",
        "by place, echoes together": lambda number: f"2.25.20.{number // 2}",
    }[scheme]
    alike = {"SeriesNumber": 7, "FrameOfReferenceUID": "2.25.8"}
    if form == "classic":
        slices = [(3.0 * place, alike | {"EchoTime": echo}) for place in range(4) for echo in ("4.6", "9.2")]
    else:
        slices = [
            (3.0 * place, alike | {"SOPClassUID": EnhancedMRImageStorage, "PerFrameFunctionalGroupsSequence": [groups]})
            for place in range(4) for groups in map(_echo, (4.6, 9.2))
        ]  # fmt: skip
    facts = _classic(write_dicom, tmp_path, slices, series=uid)
    assert facts["series_key"].n_unique() == 1
    assert _volumes(facts) == [[0.0, 3.0, 6.0, 9.0]] * 2
    assert facts["volume"].to_list()[::2] == [facts["volume"][0]] * 4
    assert all("volume assembled from single-slice series" in note for note in facts["notes"])


def _echo(milliseconds):
    item, echo = Dataset(), Dataset()
    echo.EffectiveEchoTime = milliseconds
    item.MREchoSequence = [echo]
    return item


def hash_of(number):
    return 10**30 + 7919 * number**3


@pytest.mark.parametrize(("modality", "said"), [("MR", 4), ("CT", 4), ("DX", 0), ("US", 0)])
def test_slices_that_say_nothing_of_their_place_and_stand_alone_are_said_unless_they_are_projections(
    write_dicom, tmp_path, modality, said
):
    slices = [(None, {"ImagePositionPatient": None, "Modality": modality}) for _ in range(4)]
    facts = _classic(write_dicom, tmp_path, slices, series=lambda number: f"2.25.20{number}")
    notes = volume_notes(facts)
    assert notes == ({"a single slice, beside others of the patient": said} if said else {})


def test_series_of_several_slices_are_never_joined(write_dicom, tmp_path):
    alike = {"SeriesNumber": 7, "FrameOfReferenceUID": "2.25.8"}
    slices = [(3.0 * place, alike) for place in range(4)]
    facts = _classic(write_dicom, tmp_path, slices, series=lambda number: f"2.25.20{number // 2}")
    assert facts["series_key"].n_unique() == 2
    assert volume_notes(facts) == {"more slices of their series number under another SeriesInstanceUID": 1}
    twice = [(3.0 * place, alike) for place in (0, 1, 1, 2)]  # one place in both: they are two
    assert volume_notes(_classic(write_dicom, tmp_path, twice, series=lambda number: f"2.25.20{number // 2}")) == {}


def test_slices_written_flipped_are_of_the_volume_they_lie_in(write_dicom, tmp_path):
    flipped = {"ImageOrientationPatient": [-1, 0, 0, 0, 1, 0]}
    facts = _classic(write_dicom, tmp_path, [(0.0, {}), (3.0, flipped), (6.0, {})])
    assert set(facts["volume"]) == {0}
    assert facts["turned"].to_list() == ["", "flip", ""]
    assert facts["position_mm"].to_list() == [0.0, 3.0, 6.0]


def test_places_that_are_taken_twice_without_a_reason_stay_and_are_noted(write_dicom, tmp_path):
    facts = _classic(write_dicom, tmp_path, [(position, {}) for position in (0.0, 3.0, 3.0, 6.0)])
    assert set(facts["volume"]) == {0}
    assert volume_notes(facts) == {"duplicate positions": 1}


def test_a_gap_is_noted(write_dicom, tmp_path):
    facts = _classic(write_dicom, tmp_path, [(position, {}) for position in (0.0, 3.0, 6.0, 12.0)])
    assert volume_notes(facts) == {"missing positions": 1}


def test_rounding_of_the_direction_does_not_tear_a_volume_apart(write_dicom, tmp_path):
    rounded = {"ImageOrientationPatient": [1.0, 0.0004, 0, 0, 1, 0.0004]}
    facts = _classic(write_dicom, tmp_path, [(0.0, {}), (3.0, rounded), (6.0, {})])
    assert set(facts["volume"]) == {0}


def test_slices_without_a_plane_stay_together(write_dicom, tmp_path):
    facts = _classic(write_dicom, tmp_path, [(float(place), {"ImageOrientationPatient": None}) for place in range(3)])
    assert set(facts["volume"]) == {0}


def test_numbers_of_volumes_do_not_depend_on_the_order_of_the_files(write_dicom, tmp_path):
    slices = [(3.0 * place, {"EchoTime": echo}) for place in range(3) for echo in ("9.2", "4.6")]
    facts = _classic(write_dicom, tmp_path, slices)
    shuffled = with_volumes(survey_source(tmp_path, LOOK, Workers(1)).facts[[5, 0, 3, 1, 4, 2]])
    by_slice = dict(facts.select("slice_key", "volume").rows())
    assert dict(shuffled.select("slice_key", "volume").rows()) == by_slice


def _tilted(degrees, count, step):
    """Slices of a tilted gantry: the bed moves along the body, not along their normal."""
    plane = [1, 0, 0, 0, float(np.cos(np.radians(degrees))), float(-np.sin(np.radians(degrees)))]
    return [
        (0.0, {"ImageOrientationPatient": plane, "ImagePositionPatient": [0, 7.5, step * place]})
        for place in range(count)
    ]


PLACES = (0.0, 3.0, 6.0, 9.0)
# What lies in a series, in the order of its files; the positions of each volume; what is said; what is noted.
ADVERSE = {
    "image numbers run backwards": (
        [(place, {"InstanceNumber": 9 - number}) for number, place in enumerate(PLACES)], [[*PLACES]], "", {},
    ),
    "numbers at random, files too": (
        [(place, {"InstanceNumber": number}) for place, number in ((6.0, 2), (0.0, 7), (9.0, 1), (3.0, 5))],
        [[*PLACES]], "", {},
    ),
    "odd slices first, then the even ones": (
        [(place, {"AcquisitionNumber": 1 + number % 2}) for number, place in enumerate((*PLACES, 12.0, 15.0))],
        [[*PLACES, 12.0, 15.0]], "", {},
    ),
    "one stack twice, a second time 0.04 mm beside": (
        [(place + jitter, {}) for jitter in (0.0, 0.04) for place in PLACES],
        [[*PLACES], [0.04, 3.04, 6.04, 9.04]], "image numbers", {},
    ),
    "one stack twice, a second time 0.5 mm beside": (
        [(place + off, {"AcquisitionNumber": number}) for number, off in enumerate((0.0, 0.5)) for place in PLACES],
        [[*PLACES], [0.5, 3.5, 6.5, 9.5]], "acquisition number", {},
    ),
    "a bed that trembles": ([(place, {}) for place in (0.0, 3.02, 5.99, 9.03)], [[0.0, 3.02, 5.99, 9.03]], "", {}),
    "thin slices, 0.08 mm apart": ([(0.08 * place, {}) for place in range(4)], [[0.0, 0.08, 0.16, 0.24]], "", {}),
    "two times, image numbers used twice": (
        [
            (place, {"InstanceNumber": 1 + number, "AcquisitionTime": f"10{minute}{number:02d}"})
            for minute in ("15", "30") for number, place in enumerate(PLACES)
        ],
        [[*PLACES]] * 2, "times", {},
    ),
    "a slice taken again later": (
        [
            (place, {"AcquisitionTime": f"1015{number:02d}"})
            for number, place in enumerate((*PLACES, 3.0))
        ],
        [[*PLACES], [3.0]], "times", {},
    ),
    "a gap": ([(place, {}) for place in (0.0, 3.0, 6.0, 15.0, 18.0)], [[0.0, 3.0, 6.0, 15.0, 18.0]], "",
              {"missing positions": 1}),
    "a tilted gantry": (  # along the normal: 7.5 sin 20 degrees, and 3 cos 20 degrees from slice to slice
        _tilted(20, 4, 3.0), [[2.5652 + 2.8191 * place for place in range(4)]], "",
        {"slices shifted in their planes, as by a tilted gantry": 1},
    ),
    "SliceLocation alone": (
        [(None, {"ImagePositionPatient": None, "SliceLocation": place}) for place in (6.0, 0.0, 3.0)],
        [[0.0, 3.0, 6.0]], "positioned by SliceLocation alone", {},
    ),
    "SliceLocation with a decimal comma": (
        [(None, {"ImagePositionPatient": None}, lambda one, text=text: one.add_new("SliceLocation", "LO", text))
         for text in ("6,5", "0,5", "3,5")],
        [[0.5, 3.5, 6.5]], "SliceLocation written incorrectly, read as meant", {},
    ),
    "one position for all, SliceLocation apart": (
        [(0.0, {"SliceLocation": place}) for place in (6.0, 0.0, 3.0)],
        [[0.0, 3.0, 6.0]], "one ImagePositionPatient for all slices, positioned by SliceLocation", {},
    ),
    "the same, and two echoes": (
        [(0.0, {"SliceLocation": place, "EchoTime": echo}) for place in PLACES for echo in ("4.6", "9.2")],
        [[*PLACES]] * 2, "one ImagePositionPatient for all slices, positioned by SliceLocation", {},
    ),
    "one position for all, taken one after the other": (
        [(3.0, {"SliceLocation": 3.0, "TriggerTime": time}) for time in (0, 50, 100)],
        [[3.0]] * 3, "series divided into volumes by trigger time",
        {"a single slice, beside others of the patient": 3},
    ),
    "SliceLocation without directions": (
        [(None, {"ImageOrientationPatient": None, "SliceLocation": place}) for place in (6.0, 0.0, 3.0)],
        [[0.0, 3.0, 6.0]], "positioned by SliceLocation alone", {},
    ),
    "SliceLocation of some, positions of the others": (
        [(place, {}) for place in PLACES[:2]]
        + [(None, {"ImagePositionPatient": None, "SliceLocation": place}) for place in (1.0, 4.0)],
        [[0.0, 3.0], [1.0, 4.0]], "series divided into volumes", {},
    ),
    "one series of two people": (
        [(place, {"PatientID": name, "StudyInstanceUID": f"2.25.9{name}"}) for name in "12" for place in PLACES],
        [[*PLACES]] * 2, "patient or study", {},
    ),
    "one series of two studies": (
        [(place + 1.5 * (study - 3), {"StudyInstanceUID": f"2.25.{study}"}) for study in (3, 4) for place in PLACES],
        [[*PLACES], [1.5, 4.5, 7.5, 10.5]], "patient or study", {},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("slices", "volumes", "said", "noted"), ADVERSE.values(), ids=ADVERSE)
def test_whatever_lies_in_a_series_neighbours_are_neighbours_in_the_body(
    write_dicom, tmp_path, slices, volumes, said, noted
):
    facts = _classic(write_dicom, tmp_path, slices)
    found = _volumes(facts)
    assert len(found) == len(volumes)
    for one, other in zip(found, sorted(volumes), strict=True):
        assert one == pytest.approx(other, abs=1e-3)
    assert all((said in note) if said else not note for note in facts["notes"])
    assert volume_notes(facts) == noted
    # Each slice's neighbours are the nearest of its own volume on both sides, unless a slice is missing between.
    position = facts["position_mm"].to_numpy()
    for row, (before, own, after) in enumerate(channel_rows(facts, 3)):
        mine = position[facts["volume"].to_numpy() == facts["volume"][row]]
        mine = mine[np.abs(mine - position[row]) < 9]
        assert own == row
        assert position[before] == max(mine[mine < position[row]], default=position[row])
        assert position[after] == min(mine[mine > position[row]], default=position[row])


@pytest.mark.parametrize("names", [("1", "2"), ("A", "B"), ("Leber", "Milz")])
def test_stacks_of_an_enhanced_object_are_volumes_whatever_they_are_called(write_dicom, tmp_path, names):
    frames = [
        (30.0 * number + 3.0 * place, {"FrameContentSequence": {"StackID": name}})
        for place in range(3)
        for number, name in enumerate(names)
    ]
    facts = _enhanced(write_dicom, tmp_path, frames)
    assert _volumes(facts) == [[0.0, 3.0, 6.0], [30.0, 33.0, 36.0]]
    assert not any(name in " ".join(facts["acquisition"]) for name in names if len(name) > 1)


@pytest.mark.parametrize(
    "cut",
    [
        {"SeriesNumber": "number"},
        {"FrameOfReferenceUID": "uid"},
        {"FrameOfReferenceUID": "uid", "StudyInstanceUID": "uid"},
    ],
    ids=["a number each", "a frame of reference each", "all identifiers each"],
)
def test_a_dozen_series_of_one_slice_that_may_be_one_are_said(write_dicom, tmp_path, cut):
    values = {"number": lambda place: 700 + place, "uid": lambda place: f"2.25.77{place}"}
    alike = {"SeriesNumber": 7, "FrameOfReferenceUID": "2.25.8"}
    slices = [(3.0 * place, alike | {key: values[how](place) for key, how in cut.items()}) for place in range(12)]
    facts = _classic(write_dicom, tmp_path, slices, series=lambda number: f"2.25.20{number}")
    assert facts["series_key"].n_unique() == 12
    assert volume_notes(facts) == {"a single slice, beside others of the patient": 12}


def test_a_fan_of_slices_is_cut_in_the_same_way_whatever_its_files_are_called(write_dicom, tmp_path):
    angles = np.radians([0.0, 1.5, 3.0, 4.5, 6.0])
    planes = [[1, 0, 0, 0, float(np.cos(angle)), float(np.sin(angle))] for angle in angles]
    slices = [
        (0.0, {"ImageOrientationPatient": plane, "InstanceNumber": 1 + place}) for place, plane in enumerate(planes)
    ]
    ways = []
    for name, order in (("up", slices), ("down", slices[::-1])):
        facts = _classic(write_dicom, tmp_path / name, order)
        ways.append(sorted(sorted(of["instance_number"]) for _, of in facts.group_by("volume")))
    assert ways[0] == ways[1]


@pytest.mark.parametrize("degrees", [0, 45.17], ids=["axial", "where its slices are axial and coronal by turns"])
def test_a_stack_whose_directions_tremble_has_one_direction_and_its_own_order(write_dicom, tmp_path, degrees):
    random = np.random.default_rng(0)
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    for number, trembling in enumerate(random.normal(scale=1e-3, size=(12, 6))):
        attributes = {
            "ImageOrientationPatient": [
                round(float(one), 6) for one in np.array([1, 0, 0, 0, cosine, sine]) + trembling
            ],
            "ImagePositionPatient": [-400.0, 300 - number * 0.5 * sine, -200 + number * 0.5 * cosine],
        }
        write_dicom(tmp_path / f"{number:02}", PIXELS, SOPInstanceUID=f"2.25.6{number}", **attributes)
    facts = with_volumes(survey_source(tmp_path, LOOK, Workers(1)).facts)
    assert facts.select("volume", "orientation", "turned", "cosines").n_unique() == 1
    np.testing.assert_allclose(facts["position_mm"].diff().drop_nulls().abs(), 0.5, rtol=1e-3)
    assert facts["position_mm"].is_sorted() or facts["position_mm"].is_sorted(descending=True)


def test_a_volume_of_several_frames_of_reference_is_noted(write_dicom, tmp_path):
    facts = _classic(write_dicom, tmp_path, [(3 * at, {"FrameOfReferenceUID": f"2.25.{at // 2}"}) for at in range(4)])
    assert volume_notes(facts) == {"several frames of reference": 1}


def _corners(write_dicom, folder, corners):
    return _classic(
        write_dicom, folder, [(0, {"ImagePositionPatient": list(map(float, corner))}) for corner in corners]
    )


@pytest.mark.parametrize(
    ("corners", "sizes"),
    [
        ([(0, 0, 3 * at) if at < 3 else (90, 0, 3 * at) for at in range(6)], [3, 3]),
        ([(0, 0, 3 * at) if at < 3 else (90, 0, 200 + 3 * at) for at in range(6)], [3, 3]),
        ([(0, 90 * (at % 2), 3 * at) for at in range(6)], [3, 3]),
        ([(0, 90 * (at % 2), 3 * (at // 2)) for at in range(6)], [3, 3]),
        ([(90 * (at % 2), 90 * (at // 6), 3 * (at % 6 // 2)) for at in range(12)], [3, 3, 3, 3]),
        ([(0, 0, 3 * at) if at != 3 else (90, 0, 3 * at) for at in range(6)], [1, 5]),
        ([(0, 0, 0), (30, 0, 3)], [1, 1]),
        ([(0, 0, 0), (30, 0, 0)], [1, 1]),
        ([(0, 0, 0), (0, 0, 3), (0, 30, 6)], [1, 2]),
        ([(30 * at, 0, 3 * at) for at in range(3)], [1, 1, 1]),
        ([(0, 8 * at, 10 * at) for at in range(2)], [2]),
        ([(0, 8 * at, 10 * at) for at in range(3)], [3]),
        ([(0, 2.5 * at, 3 * at) for at in range(6)], [6]),
        ([(0, 6 * at, 10 * at) for at in (0, 1, 2, 30, 31, 32)], [6]),
        ([(0, 0.8 * (at % 2), 3 * at) for at in range(6)], [6]),
    ],
    ids=["one behind the other", "far apart", "by turns", "in the same places", "four", "one slice", "two slices",
         "two in one place",
         "three slices", "three in a row", "two slices, tilted", "three slices, tilted", "a tilted gantry",
         "with a gap", "a little"],
)  # fmt: skip
def test_slices_beside_each_other_are_of_two_volumes(write_dicom, tmp_path, corners, sizes):
    facts = _corners(write_dicom, tmp_path, corners)
    assert sorted(facts.group_by("volume").len()["len"]) == sizes
    said = "series divided into volumes by field of view" in facts["notes"][0]
    assert said is (len(sizes) > 1)


@pytest.mark.parametrize(("shift", "note"), [(0.9, 1), (0.1, 0)])
def test_a_stack_of_a_tilted_gantry_is_noted(write_dicom, tmp_path, shift, note):
    facts = _corners(write_dicom, tmp_path, [(0, shift * at, 3 * at) for at in range(6)])
    assert volume_notes(facts) == ({"slices shifted in their planes, as by a tilted gantry": 1} if note else {})


def test_a_keep_rule_takes_all_of_a_stack_or_none(write_dicom, tmp_path):
    for number in range(8):
        angle = np.radians(45.17 + (0.012 if number % 2 else -0.012))
        down, back = round(float(np.cos(angle)), 6), round(float(np.sin(angle)), 6)
        where = {
            "ImageOrientationPatient": [1, 0, 0, 0, down, back],
            "ImagePositionPatient": [0, -back * number, down * number],
        }
        write_dicom(tmp_path / f"{number}", PIXELS, SOPInstanceUID=f"2.25.6{number}", **where)
    survey = survey_source(tmp_path, LOOK, Workers(1))
    assert survey.facts["orientation"].n_unique() == 2
    kept = {}
    for plane in ("axial", "coronal"):
        rules = KeepRules(**ALL | {"orientation": [plane]})
        try:
            kept[plane] = len(choose(survey, keep=rules, look=LOOK, policies=Policies(), flow=Flow()).wanted)
        except DataError:
            kept[plane] = 0
    assert kept == {"axial": 8, "coronal": 0}
