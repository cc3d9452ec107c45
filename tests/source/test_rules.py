import polars as pl
import pytest
from omegaconf import OmegaConf

from fistula.cli import config_folder
from fistula.errors import ConfigError
from fistula.source.rules import ALL, WATER, KeepRules

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
        ({"is_mosaic": True}, "a mosaic: many slices in one image"),
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


@pytest.mark.parametrize(
    ("images", "others", "options"),
    [
        ([{"component": "fat"}], [{"modality": "CT"}], ['"keep.component=[water,fat]"']),
        ([{"component": ""}], [{"modality": "CT"}], ["\"keep.component=[water,'']\""]),
        ([{"modality": "CT", "component": "", "contrast": "no"}], [], ["keep=all"]),
        ([{"modality": "CT", "is_burned_in": True}], [], ["keep=all", "keep.burned_in=true"]),
        ([{"modality": "CT"}], [{"modality": "US"}], ['"keep.modality=[MR,CT]"']),
        ([{"orientation": None}], [{"modality": "US"}], ["keep.orientation=null"]),
        ([{"orientation": ""}], [{"modality": "US"}], ["keep.orientation=null"]),
    ],
)
def test_the_options_that_are_offered_keep_what_is_asked_for_and_all_only_where_that_is_all(images, others, options):
    wanted = pl.DataFrame([IMAGE | image for image in images], infer_schema_length=None)
    among = pl.DataFrame([IMAGE | image for image in [*images, *others]], infer_schema_length=None)
    assert KeepRules(**WATER).widened(wanted, among=among) == options


def test_keep_all_is_not_offered_beside_a_rule_that_was_typed_and_would_stay():
    images = pl.DataFrame([IMAGE | {"modality": "CT", "component": "fat"}])
    assert KeepRules(**WATER | {"orientation": None}).widened(images, among=images) == [
        '"keep.modality=[MR,CT]"',
        '"keep.component=[water,fat]"',
    ]


@pytest.mark.parametrize(("name", "rules"), [("all", ALL), ("mdixon_water", WATER)])
def test_rules_are_what_their_files_say(name, rules):
    found = OmegaConf.to_container(OmegaConf.load(config_folder() / "keep" / f"{name}.yaml"))
    assert {key: value for key, value in found.items() if key != "_target_"} == rules | {"sequences": None}
