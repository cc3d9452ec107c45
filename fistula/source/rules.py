"""Keep rules: which images of an archive are the sequence that is wanted, by their real attributes."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import polars as pl

from fistula.dicom.header.vocabulary import MODALITIES, ORIENTATIONS
from fistula.errors import ConfigError, DataError, as_typed

COMPONENTS = (
    "water", "fat", "in_phase", "out_phase", "fat_fraction", "magnitude", "phase", "real", "imaginary", "",
)  # fmt: skip
CONTRAST = ("yes", "unknown", "no")
LISTS = ("modality", "component", "orientation", "contrast")
FLAGS = {"localizers": "is_localizer", "burned_in": "is_burned_in"}
EMPTY = "''"  # as Hydra reads it
# What keep=all and keep=mdixon_water are.
ALL: dict[str, Any] = dict.fromkeys(LISTS) | {"description": "", "localizers": True, "burned_in": False}
WATER: dict[str, Any] = {
    "modality": ["MR"], "component": ["water"], "orientation": ["axial"], "contrast": ["yes", "unknown"],
    "description": "", "localizers": False, "burned_in": False,
}  # fmt: skip
NAME = re.compile(r"[^\W\d_]\w{0,31}")  # of a sequence
RULES = (*LISTS, "description", *FLAGS)


class KeepRules:
    """Leave out what is not wanted, each image for the first rule that it breaks.

    Args:
        modality: DICOM modalities; null for any.
        component: Parts of a Dixon or complex acquisition (`COMPONENTS`; "" for images that are neither); null for any.
        orientation: axial, coronal, sagittal: the nearest plane, whatever the tilt; null for any, and for images
            without a stated plane.
        contrast: `yes` (an agent is stated), `unknown` (the attribute is there but empty), `no`; null for any.
        description: Regular expression that series description or protocol name must contain; "" for any.
        localizers: Whether scout images may stay.
        burned_in: Whether images whose BurnedInAnnotation is YES may stay.
        sequences: Names of two sequences or more, and for each the rules above that are its own; the others are those
            given here. The first is the grid onto which the others are resampled. None for one sequence without a name.

    Attributes:
        named: The rules of each sequence, in order; empty for one without a name.
    """

    def __init__(
        self,
        modality: Sequence[str] | None,
        component: Sequence[str] | None,
        orientation: Sequence[str] | None,
        contrast: Sequence[str] | None,
        description: str,
        localizers: bool,
        burned_in: bool,
        sequences: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        try:
            re.compile(description)
        except re.error as error:
            raise ConfigError(
                "keep.description", f"is not a valid regular expression ({error})", found=description
            ) from error
        self.modality = _words("modality", modality, sorted(MODALITIES))
        self.component = _words("component", component, COMPONENTS)
        self.orientation = _words("orientation", orientation, ORIENTATIONS)
        self.contrast = _words("contrast", contrast, CONTRAST)
        self.description, self.localizers, self.burned_in = description, localizers, burned_in
        self._is_described = pl.col("is_described")
        own = {name: getattr(self, name) for name in RULES}
        self.named = {} if sequences is None else _named(sequences, own)
        for number, rules in enumerate(self.named.values()):
            rules._is_described = pl.col("described").list.get(number, null_on_oob=True)

    @property
    def names(self) -> list[str]:
        """Of the sequences; one empty name where there is one without."""
        return list(self.named) or [""]

    @property
    def described(self) -> tuple[str, ...]:
        """The regular expressions of the sequences, as `fistula.dicom.look.Look` takes them."""
        return tuple(rules.description for rules in self.named.values())

    def sequence_of(self, facts: pl.DataFrame) -> pl.Series:
        """For every row the name of the sequence whose rules keep it; null where none does.

        Raises:
            DataError: If the rules of two sequences keep one image.
        """
        name = pl.Series("sequence", [None] * len(facts), dtype=pl.String())
        for own, rules in self.named.items() or {"": self}.items():
            is_kept = rules._one_reason(facts).is_null()
            if len(both := facts.filter(is_kept & name.is_not_null())):
                other = name.filter(is_kept & name.is_not_null())[0]
                rule = f"must not keep the same images as keep.sequences.{other}"
                remedy = "Make one of them more specific: description, contrast, component or orientation"
                raise DataError(f"keep.sequences.{own}", rule, found=f"{len(both)} images", remedy=remedy)
            name = pl.select(pl.when(is_kept).then(pl.lit(own)).otherwise(name).alias("sequence")).to_series()
        return name

    def reasons(self, facts: pl.DataFrame) -> pl.Series:
        """For every row the reason why it is left out; null where it stays."""
        if not self.named:
            return self._one_reason(facts)
        of = [rules._one_reason(facts).alias(name) for name, rules in self.named.items()]
        said = pl.concat_str(*(pl.format("{}: {}", pl.lit(one.name), one) for one in of), separator="; ")
        return pl.select(reason=pl.when(pl.any_horizontal(one.is_null() for one in of)).then(None).otherwise(said))[
            "reason"
        ]

    def _one_reason(self, facts: pl.DataFrame) -> pl.Series:
        return facts.select_seq(reason=self._expression)["reason"]

    def widened(self, images: pl.DataFrame, *, among: pl.DataFrame) -> list[str]:
        """The options under which the rules keep these images as well, as a shell takes them.

        Of all that is there (`among`) they keep as little as they can; where that is what `keep=all` keeps, this is
        said instead, unless a rule was typed, which would stay beside it. A mosaic is kept by no rule. For several
        sequences there are none: which of them is to be wider is not known.
        """
        if self.named:
            return []
        wider: dict[str, Any] = {}
        for name in LISTS:
            if (rule := getattr(self, name)) is not None:
                added = sorted(set(images[name]) - set(rule), key=str)
                # What has no orientation is kept by null alone.
                is_any = None in added or (name == "orientation" and "" in added)
                wider |= {name: None if is_any else [*rule, *added]} if added else {}
        for name, column in FLAGS.items():
            if not getattr(self, name) and images[column].any():
                wider[name] = True
        if self.description and not images["is_described"].all():
            wider["description"] = ""
        own = {name: getattr(self, name) for name in (*LISTS, *FLAGS, "description")}
        also = {"burned_in": True} if wider.get("burned_in") else {}
        is_all = KeepRules(**own | wider)._takes(among) == KeepRules(**ALL | also)._takes(among)
        if wider and own == WATER and is_all:
            return ["keep=all", *(f"keep.{name}=true" for name in also)]
        return [as_typed(f"keep.{name}={_written(value)}") for name, value in wider.items()]

    def _takes(self, images: pl.DataFrame) -> list[bool]:
        return self.reasons(images).is_null().to_list()

    @cached_property
    def _expression(self) -> pl.Expr:
        rules = [
            self._other("modality"),
            (pl.col("is_localizer") if not self.localizers else None, pl.lit("a localizer")),
            (pl.col("is_mosaic"), pl.lit("a mosaic: many slices in one image")),
            self._other("component"),
            self._other("orientation"),
            self._other("contrast"),
            (~self._is_described if self.description else None, pl.lit("another description")),
            (pl.col("is_burned_in") if not self.burned_in else None, pl.lit("burned-in annotation")),
        ]
        reason = pl.lit(None, pl.String())
        for is_out, why in reversed([(rule, why) for rule, why in rules if rule is not None]):
            reason = pl.when(is_out.fill_null(value=False)).then(why).otherwise(reason)
        return reason

    def _other(self, column: str) -> tuple[pl.Expr | None, pl.Expr]:
        """Whether the column has a value that its rule does not list, and it as the reason: `component fat`."""
        listed = getattr(self, column)
        value = pl.when(pl.col(column) == "").then(pl.lit("not stated")).otherwise(pl.col(column))
        why = pl.concat_str(pl.lit(f"{column} "), value.fill_null("not stated"))
        return None if listed is None else ~pl.col(column).is_in(listed), why


def _written(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(word or EMPTY for word in value)}]"
    return {None: "null", True: "true", "": EMPTY}[value]


def _words(name: str, words: Sequence[str] | None, allowed: Sequence[str]) -> list[str] | None:
    if words is None:
        return None
    if not isinstance(words, list | tuple):
        raise ConfigError(f"keep.{name}", "must be a list, or null for any", found=words)
    for word in words:
        if word not in allowed:
            choices = ", ".join(repr(item) for item in allowed)
            raise ConfigError(f"keep.{name}", f"must be of {choices}", found=repr(word))
    return list(words)


def _named(sequences: Mapping[str, Mapping[str, Any]], shared: Mapping[str, Any]) -> dict[str, KeepRules]:
    """The rules of each sequence: its own, and the shared ones for the rest."""
    if not isinstance(sequences, Mapping) or len(sequences) < 2:
        remedy = 'For example "keep.sequences={t1c: {description: T1}, t2: {description: T2}}"'
        raise ConfigError("keep.sequences", "must name two sequences or more", found=sequences, remedy=remedy)
    found = {}
    for name, own in sequences.items():
        where = f"keep.sequences.{name}"
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ConfigError(where, "must be called by a letter, then letters, digits or _", found=name)
        unknown = sorted(set(own) - set(RULES)) if isinstance(own, Mapping) else [own]
        if unknown:
            raise ConfigError(where, f"must be rules out of {', '.join(RULES)}", found=unknown[0])
        try:
            found[name] = KeepRules(**(dict(shared) | dict(own)))
        except ConfigError as error:
            place = str(error.where).replace("keep", where, 1)
            raise ConfigError(place, error.rule, found=error.found, remedy=error.remedy) from error
    return found
