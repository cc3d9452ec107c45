import polars as pl
import pytest

from fistula.errors import ConfigError
from fistula.source.rules import KeepRules

WATER = {
    "modality": ["MR"], "component": ["water"], "orientation": ["axial"], "contrast": ["yes", "unknown"],
    "description": "", "localizers": False, "burned_in": False,
}  # fmt: skip
IMAGE = {
    "modality": "MR", "component": "water", "orientation": "axial", "contrast": "yes", "is_described": False,
    "is_localizer": False, "is_mosaic": False, "is_burned_in": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ({}, None),
        ({"modality": "CT", "component": "fat"}, "modality CT"),
        ({"component": "fat"}, "component fat"),
        ({"component": ""}, "component not stated"),
        ({"orientation": "coronal"}, "orientation coronal"),
        ({"orientation": ""}, "orientation not stated"),
        ({"contrast": "no"}, "contrast no"),
        ({"contrast": "unknown"}, None),
        ({"is_localizer": True}, "a localizer"),
        ({"is_mosaic": True}, "a mosaic: many slices in one picture"),
        ({"is_burned_in": True}, "burned-in annotation"),
    ],
)
def test_an_image_is_left_out_for_the_first_rule_it_breaks(image, reason):
    assert KeepRules(**WATER).reasons(pl.DataFrame([IMAGE | image])).to_list() == [reason]


def test_null_takes_any_value_and_a_description_can_be_asked_for():
    rules = WATER | {"modality": None, "component": None, "orientation": None, "contrast": None, "description": "gd"}
    facts = pl.DataFrame([IMAGE | {"modality": "CT", "is_described": True}, IMAGE])
    assert KeepRules(**rules).reasons(facts).to_list() == [None, "another description"]


def test_burned_in_text_may_be_allowed():
    facts = pl.DataFrame([IMAGE | {"is_burned_in": True}])
    assert KeepRules(**WATER | {"burned_in": True}).reasons(facts).to_list() == [None]


@pytest.mark.parametrize("name", ["component", "orientation", "contrast"])
def test_an_unknown_word_is_refused(name):
    with pytest.raises(ConfigError, match=rf"keep.{name}: must be of .* found 'watr'"):
        KeepRules(**WATER | {name: ["watr"]})
