import numpy as np
import polars as pl
import pytest
from scipy.stats.contingency import association

from fistula.cohort.look.confounding import auroc_alone, cramers_v, find_confounding, position_alone


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        pytest.param([[20, 0], [0, 20]], 1.0, id="one fixes the other"),
        pytest.param([[10, 10], [10, 10]], 0.0, id="independent"),
        pytest.param([[11, 10], [10, 10]], 0.0, id="less than chance would show"),
        # phi² = 0.36; less 1/39: 0.334359; room 1 - 1/39 = 0.974359; √(0.334359 / 0.974359)
        pytest.param([[16, 4], [4, 16]], 0.585797, id="worked by hand"),
    ],
)
def test_cramers_v_matches_values_worked_by_hand(counts, expected):
    assert cramers_v(np.array(counts)) == pytest.approx(expected, abs=1e-5)


def test_without_its_correction_it_would_be_scipys():
    counts = np.random.default_rng(0).integers(1, 40, (3, 4))
    total, (rows, columns) = counts.sum(), counts.shape
    plain = association(counts) ** 2 * min(rows - 1, columns - 1)
    corrected = plain - (rows - 1) * (columns - 1) / (total - 1)
    room = min(rows - 1 - (rows - 1) ** 2 / (total - 1), columns - 1 - (columns - 1) ** 2 / (total - 1))
    assert cramers_v(counts) == pytest.approx(np.sqrt(max(0, corrected) / room))


def test_chance_alone_gives_almost_nothing_where_the_plain_v_is_large():
    random = np.random.default_rng(0)
    corrected, plain = [], []
    for _ in range(200):
        counts = np.zeros((2, 4), int)
        np.add.at(counts, (random.integers(0, 2, 30), random.integers(0, 4, 30)), 1)
        if counts.sum(0).all() and counts.sum(1).all():
            corrected.append(cramers_v(counts))
            plain.append(association(counts))
    assert np.mean(plain) > 0.27
    assert np.mean(corrected) < 0.12


def test_too_few_observations_for_a_correction_give_nan():
    assert np.isnan(cramers_v(np.eye(2, dtype=int)))


def make_manifest(*, patients=40, slices=5, **columns):
    """Classes in turn, the other columns a function of the patient's number; unnamed ones are null."""
    rows = [
        {"patient_key": f"p{patient}", "label": patient % 2} | {name: value(patient) for name, value in columns.items()}
        for patient in range(patients)
        for _ in range(slices)
    ]
    names = ("site", "manufacturer", "scanner", "image_type", "orientation", "turned", "matrix")
    return pl.DataFrame(rows).with_columns(pl.lit(None, pl.String).alias(name) for name in names if name not in columns)


def by_pair(manifest):
    return {found.between: found for found in find_confounding(manifest, level=0.3)}


def test_a_class_that_goes_with_its_scanner_is_warned_of():
    found = by_pair(
        make_manifest(scanner=lambda patient: f"model {patient % 2}", site=lambda patient: f"{patient % 3}")
    )
    assert found["label", "scanner"].cramers_v == pytest.approx(1)
    assert found["label", "scanner"].is_warning
    assert not found["label", "site"].is_warning
    assert not found["site", "scanner"].is_warning
    assert found["label", "scanner"].patients == 40


def test_the_level_itself_is_warned_of():
    manifest = make_manifest(scanner=lambda patient: f"model {patient % 2}")
    found = {found.between: found for found in find_confounding(manifest, level=1.0)}
    assert found["label", "scanner"].cramers_v == 1
    assert found["label", "scanner"].is_warning


def test_slices_of_a_patient_count_once():
    values = [
        by_pair(make_manifest(slices=slices, scanner=lambda patient: f"{patient % 5 < 3}"))[
            "label", "scanner"
        ].cramers_v
        for slices in (1, 9)
    ]
    assert values[0] == values[1]


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (make_manifest(), "no slice has label and scanner"),
        (make_manifest(scanner=lambda _: "Ingenia"), "scanner has one value"),
        (make_manifest(patients=4, scanner=lambda patient: f"{patient}"), "too few patients for so many values"),
    ],
)
def test_what_is_undefined_says_why(manifest, reason):
    found = by_pair(manifest)["label", "scanner"]
    assert (found.cramers_v, found.reason, found.is_warning) == (None, reason, False)


def test_facts_that_need_no_image_are_scored_by_patient():
    # Positives have 4 slices, others 2; ages 50, 60 | 40, 55: three of four pairs in order; sexes F M | F M: chance.
    sizes = {"a": 4, "b": 4, "c": 2, "d": 2}
    facts = {"a": (1, 50.0, "F", "X"), "b": (1, 60.0, "M", "X"), "c": (0, 40.0, "F", "Y"), "d": (0, 55.0, "M", "X")}
    rows = [
        {"patient_key": key, "label": facts[key][0] if slice_ == 0 else None, "age": facts[key][1],
         "sex": facts[key][2], "site": facts[key][3], "turned": "flip" if key == "a" else "",
         "series_key": key, "volume": slice_ // 2, "position_mm": slice_ % 2 * (3.0 if key == "a" else 2.0),
         "covariate_crp": {"a": 1.0, "b": None, "c": 2.0, "d": 3.0}[key]}
        for key, size in sizes.items() for slice_ in range(size)
    ]  # fmt: skip
    assert auroc_alone(pl.DataFrame(rows)) == {
        "slices": 1.0, "labelled slices": 0.5, "height": 0.75, "age": 0.75, "sex": 0.5, "site": 0.75, "turned": 0.25,
        "crp": 0.0, "crp missing": 0.75,
    }  # fmt: skip
    nameless = pl.DataFrame(rows).with_columns(age=pl.lit(None, pl.Float64), label=0)
    assert set(auroc_alone(nameless).values()) == {None}


def stacks(patients=40, slices=9, **columns):
    """Patients of both classes in turn, who differ in nothing; other columns are functions of patient and slice."""
    plain = {
        "patient_key": "p{}".format, "series_key": "s{}".format, "volume": 0,
        "position_mm": lambda _, slice_: 3.0 * slice_,
        "label": lambda patient, _: patient % 2, "age": None, "sex": None, "site": None, "turned": "",
        "matrix": "256x256", "pixel_spacing_mm": 0.8, "syntax": "Explicit VR Little Endian", "seen": "",
        "covariate_crp": 0.1,
        **dict.fromkeys(("manufacturer", "scanner", "image_type", "orientation"), "one"),
    } | columns  # fmt: skip
    number = slices if callable(slices) else lambda _: slices
    return pl.DataFrame(
        [
            {name: value(patient, slice_) if callable(value) else value for name, value in plain.items()}
            for patient in range(patients)
            for slice_ in range(number(patient))
        ]
    ).with_columns(pl.col("site", "sex").cast(pl.String), pl.col("age").cast(pl.Float64))


def test_a_number_that_all_patients_share_tells_nothing_however_many_slices_they_have():
    found = auroc_alone(stacks(slices=lambda patient: 12 if patient % 2 else 8))
    assert found["slices"] == 1.0
    assert [found[fact] for fact in ("crp", "pixel spacing", "field of view")] == [0.5] * 3


def test_stacks_of_one_height_are_as_high_wherever_they_lie_and_however_oblique_they_are():
    found = auroc_alone(stacks(position_mm=lambda patient, slice_: 31.3 / 3 + 0.37 * patient + 2.7 * slice_))
    assert found["height"] == 0.5


@pytest.mark.parametrize(
    ("columns", "facts"),
    [
        ({"pixel_spacing_mm": lambda patient, _: 0.8 + 0.1 * (patient % 2)}, ["pixel spacing", "field of view"]),
        ({"matrix": lambda patient, _: f"{256 + 128 * (patient % 2)}x256"}, ["field of view"]),
        ({}, []),
    ],
)
def test_a_field_of_view_that_goes_with_the_class_is_seen(columns, facts):
    alone = auroc_alone(stacks(**columns))
    assert [fact for fact, value in alone.items() if value == 1.0] == facts


@pytest.mark.parametrize(
    ("columns", "pair"),
    [
        ({"syntax": lambda patient, _: "JPEG Baseline" if patient % 2 else "RLE Lossless"}, "compression"),
        ({"seen": lambda patient, _: "pixel padding|bright text-like corner" * (patient % 2)}, "burned-in text"),
        ({"seen": lambda patient, _: "pixel padding" * (patient % 2)}, None),
    ],
)
def test_what_the_way_to_the_archive_left_in_the_pixels_of_one_class_is_warned_of(columns, pair):
    assert [found.between for found in find_confounding(stacks(**columns), level=0.3) if found.is_warning] == (
        [("label", pair)] if pair else []
    )


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        pytest.param(lambda _, slice_: int(slice_ > 5), 1.0, id="the upper third"),
        pytest.param(lambda _, slice_: int(3 <= slice_ <= 5), 1.0, id="the middle"),
        pytest.param(lambda patient, slice_: (patient + slice_) % 2, 0.5, id="every other slice"),
        pytest.param(lambda _, slice_: 1, None, id="one class"),
        pytest.param(lambda _, slice_: None if slice_ < 5 else int(slice_ > 6), 1.0, id="some without a label"),
    ],
)
def test_a_label_that_the_place_in_the_stack_tells_is_seen(label, expected):
    found = position_alone(stacks(label=label))
    assert found == (expected if expected is None else pytest.approx(expected, abs=0.06))
    single = stacks(slices=1)
    assert position_alone(single) is None
