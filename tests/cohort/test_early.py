import polars as pl
import pytest

from fistula.cohort.look.early import early_warnings, unit_warnings
from fistula.source.intensity import FileWindow, FixedWindow, MinMax, Percentile


def slices(patients=24, per_patient=2, **columns):
    rows = [
        {"patient_key": f"p{patient}", "label": patient % 2} for patient in range(patients) for _ in range(per_patient)
    ]
    told = {"component": "water", "contrast": "yes", "image_type": "DERIVED\\PRIMARY\\W GR", "scanner": "A"} | columns
    return pl.DataFrame(rows).with_columns(
        pl.Series(name, value) if isinstance(value, list) else pl.lit(value).alias(name) for name, value in told.items()
    )


def test_a_plain_cohort_and_an_empty_one_warn_of_nothing():
    assert early_warnings(slices()) == []
    assert early_warnings(slices().clear()) == []


def test_each_doubt_is_a_sentence():
    assert early_warnings(slices(4)) == [
        "only 4 patients: the confidence interval of the AUROC will span most of its range"
    ]
    most = pl.concat([slices(), slices(1, 100)])
    assert early_warnings(most) == ["one of 24 patients has 102 of 148 slices"]
    pooled = slices(component=["water", "fat"] * 24)
    assert early_warnings(pooled) == [
        "2 kinds of image are pooled (water, contrast yes: 24; fat, contrast yes: 24):"
        " keep.component and keep.contrast choose one"
    ]
    pooled = slices(component=None, contrast=["yes", None] * 24)  # of no Dixon image
    assert early_warnings(pooled) == [
        "2 kinds of image are pooled (contrast yes: 24; contrast unknown: 24):"
        " keep.component and keep.contrast choose one"
    ]
    maps = slices(image_type=["DERIVED\\PRIMARY\\ADC", *["ORIGINAL\\PRIMARY\\M"] * 47])
    assert early_warnings(maps) == ["1 slice of a parameter map is mixed with 47 of other images"]
    scanners = slices(scanner=[name for patient in range(24) for name in ["BA"[patient % 2 or patient % 4 // 2]] * 2])
    said = "all 12 {} patients are from one scanner (A), others are not"
    assert early_warnings(scanners) == [said.format("class 1")]
    assert early_warnings(scanners, ["normal", "fistula"]) == [said.format("fistula")]


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("institution_key", "ab", "institution"),
        ("device_key", ["", "b"], "serial number or station of the scanner"),
        ("spacing_row", [0.5, None], "pixel spacing"),
        ("bits", [12, 16], "number of bits"),
        ("is_rescaled", [None, True], "use of a rescale slope"),
    ],
)
def test_what_tells_protocols_apart_and_goes_with_the_class_is_said(column, values, words):
    told = [values[patient % 2] for patient in range(24) for _ in range(2)]
    sentence = f"the class is associated with the {words} (Cramér's V 1.00 over 24 patients)"
    assert early_warnings(slices(**{column: told})) == [sentence]
    assert early_warnings(slices(**{column: told[:24] + told[:24][::-1]})) == []
    assert early_warnings(slices(**{column: told[:1] * 48})) == []


def test_ct_that_loses_its_units_is_said():
    ct, mr = slices(modality="CT"), slices(modality=["MR", None] * 24)
    for intensity in (Percentile(0.5, 99.5), MinMax()):
        (sentence,) = unit_warnings(ct, intensity)
        assert sentence.startswith("CT is scaled by the gray values of each volume (48 slices), which loses Hounsfield")
        assert unit_warnings(mr, intensity) == []
    assert unit_warnings(ct, FixedWindow(50, 400)) == unit_warnings(ct, FileWindow()) == []


def test_a_picture_of_several_labels_is_said_and_one_of_none_beside_a_label_is_not():
    hashes = [f"h{number}" for number in range(48)]
    assert early_warnings(slices(pixel_hash=hashes)) == []
    twice = ["same", hashes[1], "same", *hashes[3:]]  # patients 0 and 1
    assert early_warnings(slices(pixel_hash=twice)) == [
        "1 picture has several labels: 2 slices are the same in every pixel"
    ]
    assert early_warnings(slices(pixel_hash=twice, label=[0, 0, None, *[0, 1] * 22, 1])) == []
    assert early_warnings(slices(pixel_hash=["same"] * 48)) == [
        "1 picture has several labels: 48 slices are the same in every pixel"
    ]


def test_a_study_sent_twice_is_said_and_blank_slices_that_repeat_are_not():
    hashes = [f"h{number}" for number in range(96)]
    assert early_warnings(slices(24, 4, pixel_hash=["blank", "blank", "a", "b", *hashes[4:]])) == []
    assert early_warnings(slices(24, 4, pixel_hash=["a", "b", "a", "b", *hashes[4:]])) == [
        "4 slices of 1 of the patients are the same in every pixel as another of the same patient: "
        "a study sent twice under new UIDs counts twice"
    ]
