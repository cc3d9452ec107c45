"""Does the class, or the site, go with the scanner? A network could then read the scanner for the disease."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

ACQUISITION = ("manufacturer", "scanner", "image_type", "orientation", "turned", "matrix")


@dataclass(frozen=True)
class Association:
    """How closely two columns of the manifest go together.

    Attributes:
        between: The two columns.
        patients: Counted once for each pair of values they have.
        cramers_v: Bias-corrected, in [0, 1]; None where undefined.
        reason: Why it is undefined; else empty.
        is_warning: Whether it reaches the warning level.
    """

    between: tuple[str, str]
    patients: int
    cramers_v: float | None
    reason: str
    is_warning: bool


def find_confounding(manifest: pl.DataFrame, *, level: float) -> list[Association]:
    """Associate the class with site and acquisition, and the site with acquisition, over patients.

    Args:
        manifest: Columns as in `SCHEMA`.
        level: Warn from this V up, in (0, 1].
    """
    pairs = [("label", column) for column in ("site", *ACQUISITION)] + [("site", column) for column in ACQUISITION]
    return [_associate(manifest, pair, level) for pair in pairs]


def cramers_v(counts: NDArray[np.int64]) -> float:
    """Strength of association in a contingency table, with its bias at small numbers removed.

    Args:
        counts: ``(R, C)``, no empty row or column, at least two of each.

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
