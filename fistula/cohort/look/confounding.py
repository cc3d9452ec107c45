"""Does the class, or the site, go with the scanner? A network could then read the scanner for the disease."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.cohort.manifest import COVARIATE, LACKS, covariates_of
from fistula.dicom.pixels.burned import TEXT_LIKE
from fistula.evidence.ranking.roc import auroc

CONFOUNDED = 0.7  # Cramér's V from which two facts are said to go together
ACQUISITION = (
    "manufacturer",
    "scanner",
    "image_type",
    "orientation",
    "turned",
    "matrix",
    "compression",
    "burned-in text",
)


@dataclass(frozen=True)
class Association:
    """How closely two columns of the manifest go together."""

    between: tuple[str, str]  # the two columns
    patients: int  # counted once for each pair of values they have
    cramers_v: float | None  # bias-corrected, in [0, 1]; None where undefined
    reason: str  # why it is undefined; else empty
    is_warning: bool  # whether it reaches the warning level


PAIRS = (*(("label", column) for column in ("site", *ACQUISITION)), *(("site", column) for column in ACQUISITION))


def find_confounding(
    manifest: pl.DataFrame, *, level: float, pairs: Iterable[tuple[str, str]] = PAIRS
) -> list[Association]:
    """Associate the class with site and acquisition, and the site with acquisition, over patients.

    Warns from `level` up, in (0, 1], for each of the `pairs` of columns; the ``compression`` of a slice is its
    ``syntax``, and ``burned-in text`` what was ``seen`` in its corners.
    """
    manifest = _with_traces(manifest)
    return [_associate(manifest, pair, level) for pair in pairs]


def _with_traces(manifest: pl.DataFrame) -> pl.DataFrame:
    """With what a file's way to the archive leaves in its pixels; null where the manifest says nothing of it."""
    known = {
        "compression": ("syntax", pl.col("syntax")),
        "burned-in text": ("seen", pl.col("seen").str.contains(TEXT_LIKE)),
    }
    nothing = pl.lit(None, pl.String)
    return manifest.with_columns(
        (found if column in manifest.columns else nothing).alias(name) for name, (column, found) in known.items()
    )


def position_alone(manifest: pl.DataFrame) -> float | None:
    """AUROC by slice of where it lies in its stack, or of how far from the middle, whichever is further from 0.5.

    Of the manifest every slice is wanted; stacks of one position are passed over. None where nothing is known of slices
    of both kinds, the highest label of all and others. Far from 0.5, a network may have learned the level instead of
    the finding; patients are not told apart by it.
    """
    at, stack = pl.col("position_mm"), ("series_key", "volume")
    height = ((at - at.min()) / (at.max() - at.min())).over(*stack).round(4)
    slices = manifest.with_columns(height=height).filter(pl.col("height").is_finite()).drop_nulls("label")
    slices = slices.with_columns(label=pl.col("label") == pl.col("label").max())
    found = [_auroc(slices, pl.col("height")), _auroc(slices, -(pl.col("height") - 0.5).abs())]
    return max((value for value in found if value is not None), key=lambda value: abs(value - 0.5), default=None)


def auroc_alone(manifest: pl.DataFrame) -> dict[str, float | None]:
    """AUROC by patient of facts that no image is needed for: slices, height of the stack, age, sex, site and others.

    A patient is positive whose highest label is the highest of all. Far from 0.5 on either side, a score may come from
    the fact and not from the images. Sex is scored as F against M; of the sites, each against all others, the one
    furthest from 0.5 is given, which with many sites lies off 0.5 by chance; likewise of the ways in which the first
    slices of the patients had to be turned. The height is that of a patient's highest stack, in mm: a network that
    knows where slices lie can measure it. Of a further covariate `NAME` there is also ``NAME missing``, whether it is
    not known, where that differs between patients; of several sequences, ``lacks NAME``, as `lacking` has it.

    Of the manifest every slice is wanted; patients without a label are passed over. By fact; None where it is not known
    of patients of both kinds.

    Example:
        >>> rows = {"patient_key": ["a", "b", "b"], "label": [0, 1, None], "age": [40.0, 60.0, 60.0]}
        >>> rows |= {"sex": ["F"] * 3, "site": pl.Series([None] * 3, dtype=pl.String), "turned": ["flip", "", ""]}
        >>> rows |= {"series_key": ["s", "t", "t"], "volume": [0] * 3, "position_mm": [0.0, 0.0, 3.0]}
        >>> auroc_alone(pl.DataFrame(rows))
        {'slices': 1.0, 'labelled slices': 0.5, 'height': 1.0, 'age': 1.0, 'sex': 0.5, 'site': None, 'turned': 1.0}
    """
    stack = pl.col("position_mm").max() - pl.col("position_mm").min()
    shown = {} if "pixel_spacing_mm" not in manifest.columns else {
        "pixel spacing": pl.col("pixel_spacing_mm"),
        "field of view": pl.col("pixel_spacing_mm") * pl.col("matrix").str.extract(r"^(\d+)x").cast(pl.Float64),
    }  # fmt: skip
    further = [*covariates_of(manifest), *(name for name in manifest.columns if name.startswith(LACKS))]
    patients = (
        manifest.with_columns(height=stack.over("series_key", "volume"), **shown)
        .group_by("patient_key", maintain_order=True)
        .agg(
            pl.col("label").max(),
            pl.len().cast(pl.Float64).alias("slices"),
            pl.col("label").count().cast(pl.Float64).alias("labelled slices"),
            pl.col("height").max(),
            pl.col("age", "sex", "site", "turned").drop_nulls().first(),
            pl.col([*further, *shown]).mean(),
        )
        .drop_nulls("label")
        .with_columns(label=pl.col("label") == pl.col("label").max())
    )
    sexed = patients.with_columns(sex=pl.col("sex").replace_strict({"F": 1.0, "M": 0.0}, default=None))
    found = {
        fact: _auroc(sexed, pl.col(fact)) for fact in ("slices", "labelled slices", "height", "age", "sex", *shown)
    }
    found |= {fact: _furthest(patients, fact) for fact in ("site", "turned")}
    for column in further:
        name, missing = column.removeprefix(COVARIATE), pl.col(column).is_null().cast(pl.Float64)
        found[name] = _auroc(patients, pl.col(column))
        if 0 < patients[column].null_count() < len(patients):
            found[f"{name} missing"] = _auroc(patients, missing)
    return found


def _furthest(patients: pl.DataFrame, fact: str) -> float | None:
    """The AUROC of one value against all others, of that which is furthest from 0.5; None if there is one value."""
    values = sorted(set(patients[fact].drop_nulls()))
    found = [_auroc(patients, (pl.col(fact) == value).cast(pl.Float64)) for value in values if len(values) > 1]
    return max((value for value in found if value is not None), key=lambda value: abs(value - 0.5), default=None)


def _auroc(patients: pl.DataFrame, score: pl.Expr) -> float | None:
    # Equal heights, and means of equal numbers, differ in their last digits by where a stack lies or how many they are.
    rows = patients.select("label", score=score.cast(pl.Float64).round_sig_figs(6)).drop_nulls()
    if rows["label"].n_unique() < 2:
        return None
    return auroc(rows["label"].to_numpy().astype(np.int64), rows["score"].to_numpy())


def cramers_v(counts: NDArray[np.int64]) -> float:
    """Strength of association in a contingency table, with its bias at small numbers removed.

    The counts are ``(R, C)``, no empty row or column, at least two of each.

    Returns:
        In [0, 1]: 0 where the table shows no more than chance would, 1 where one variable fixes the other. NaN where
        there are too few observations to correct for.

    Source:
        Bergsma (2013), Journal of the Korean Statistical Society 42(3), 323-328.

    Example:
        >>> round(cramers_v(np.array([[20, 0], [0, 20]])), 3)
        1.0
    """
    total = counts.sum()
    expected = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / total
    phi_squared = ((counts - expected) ** 2 / expected).sum() / total
    freedom = np.array(counts.shape) - 1
    room = (freedom - freedom**2 / (total - 1)).min()
    if room <= 0:
        return float("nan")
    corrected = max(0.0, phi_squared - freedom.prod() / (total - 1))
    return float(np.sqrt(min(1.0, corrected / room)))


def _associate(manifest: pl.DataFrame, pair: tuple[str, str], level: float) -> Association:
    # Slices of a patient share a scanner: counted singly, they would make chance look like evidence.
    units = manifest.select("patient_key", *pair).drop_nulls().unique()
    patients = units["patient_key"].n_unique()
    for column in pair:
        if units[column].n_unique() < 2:
            reason = f"{column} has one value" if len(units) else f"no slice has {' and '.join(pair)}"
            return Association(pair, patients, None, reason, is_warning=False)
    codes = [np.unique(units[column].to_numpy(), return_inverse=True)[1] for column in pair]
    counts = np.zeros((codes[0].max() + 1, codes[1].max() + 1), np.int64)
    np.add.at(counts, tuple(codes), 1)
    value = cramers_v(counts)
    if np.isnan(value):
        return Association(pair, patients, None, "too few patients for so many values", is_warning=False)
    return Association(pair, patients, value, "", is_warning=value >= level)
