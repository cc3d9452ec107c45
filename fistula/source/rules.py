"""KeepRules rules: which images of an archive are the sequence that is wanted, by their real attributes."""

import re
import shlex
from collections.abc import Sequence

import polars as pl

from fistula.dicom.header.vocabulary import MODALITIES, ORIENTATIONS
from fistula.errors import ConfigError

COMPONENTS = (
    "water", "fat", "in_phase", "out_phase", "fat_fraction", "magnitude", "phase", "real", "imaginary", "",
)  # fmt: skip
CONTRAST = ("yes", "unknown", "no")


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
    ) -> None:
        try:
            re.compile(description)
        except re.error as error:
            raise ConfigError("keep.description", f"is no regular expression ({error})", found=description) from error
        self.modality = _words("modality", modality, sorted(MODALITIES))
        self.component = _words("component", component, COMPONENTS)
        self.orientation = _words("orientation", orientation, ORIENTATIONS)
        self.contrast = _words("contrast", contrast, CONTRAST)
        self.description, self.localizers, self.burned_in = description, localizers, burned_in
        self._reason = self._expression()

    def reasons(self, facts: pl.DataFrame) -> pl.Series:
        """For every row the reason why it is left out; null where it stays."""
        return facts.select(reason=self._reason)["reason"]

    def widened(self, images: pl.DataFrame) -> list[str]:
        """The options under which the rules keep these images as well, as a shell takes them.

        A mosaic is kept by no rule.
        """
        options = []
        for name in ("modality", "component", "orientation", "contrast"):
            if (rule := getattr(self, name)) is not None:
                values = images[name].unique(maintain_order=True).to_list()
                added = sorted({value for value in values if value not in rule}, key=str)
                words = ",".join(word or "''" for word in [*rule, *(value for value in added if value is not None)])
                if added:
                    options.append(f"keep.{name}=null" if None in added else f"keep.{name}=[{words}]")
        flags = {"localizers": "is_localizer", "burned_in": "is_burned_in"}
        for name, column in flags.items():
            if not getattr(self, name) and images[column].any():
                options.append(f"keep.{name}=true")
        if self.description and not images["is_described"].all():
            options.append("keep.description=''")
        return [shlex.quote(option) for option in options]

    def _expression(self) -> pl.Expr:
        rules = [
            (
                ~pl.col("modality").is_in(self.modality or []) if self.modality is not None else None,
                self._of("modality"),
            ),
            (pl.col("is_localizer") if not self.localizers else None, pl.lit("a localizer")),
            (pl.col("is_mosaic"), pl.lit("a mosaic: many slices in one picture")),
            (
                ~pl.col("component").is_in(self.component or []) if self.component is not None else None,
                self._of("component"),
            ),
            (
                ~pl.col("orientation").is_in(self.orientation or []) if self.orientation is not None else None,
                self._of("orientation"),
            ),
            (
                ~pl.col("contrast").is_in(self.contrast or []) if self.contrast is not None else None,
                self._of("contrast"),
            ),
            (~pl.col("is_described") if self.description else None, pl.lit("another description")),
            (pl.col("is_burned_in") if not self.burned_in else None, pl.lit("burned-in annotation")),
        ]
        reason = pl.lit(None, pl.String())
        for is_out, why in reversed([(rule, why) for rule, why in rules if rule is not None]):
            reason = pl.when(is_out.fill_null(value=False)).then(why).otherwise(reason)
        return reason

    @staticmethod
    def _of(column: str) -> pl.Expr:
        """The column's own value as the reason: `component fat`, `modality CT`."""
        value = pl.when(pl.col(column) == "").then(pl.lit("not stated")).otherwise(pl.col(column))
        return pl.concat_str(pl.lit(f"{column} "), value.fill_null("not stated"))


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
