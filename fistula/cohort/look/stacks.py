"""What is odd about volumes: gaps, shifts, slices that stand alone, several planes or tilts of one patient."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import polars as pl

from fistula.dicom.pixels.geometry import spacing_notes
from fistula.source.volumes import STACKED

ALONE = 3  # slices of a patient, each alone in its volume, from which they are counted
MIXED_DEGREES = 10.0  # tilts of one patient's slices that differ by more are noted
SHEARED = 0.05  # shift in the plane over that along the normal, from which it is noted: 3 degrees


class _Lying(NamedTuple):
    """Where a slice lies, and in which volume."""

    series_key: str
    volume: int
    position_mm: float
    frame_key: str | None
    turned: str | None
    corner: list[float]
    cosines: list[float]


def volume_notes(facts: pl.DataFrame) -> dict[str, int]:
    """How many volumes of more than one slice have each oddity of position, or lie beside others of one slice."""
    counts: Counter[str] = Counter()
    ordered = facts.sort("series_key", "volume", "position_mm")
    for _, volume in groupby(map(_Lying._make, ordered[list(_Lying._fields)].rows()), key=lambda one: one[:2]):
        slices = list(volume)
        if len(slices) > 1:
            frames = ["several frames of reference"] * (len({one.frame_key for one in slices}) > 1)
            sheared = ["slices shifted in their planes, as by a tilted gantry"] * _is_sheared(slices)
            counts.update(spacing_notes([one.position_mm for one in slices]) + frames + sheared)
    is_alone = pl.col("position_mm").is_not_null() | pl.col("modality").is_in(STACKED)
    is_alone &= pl.len().over("series_key", "volume") == 1
    alone = facts.filter(is_alone).group_by("patient_key").len()["len"]
    counts["a single slice, beside others of the patient"] = int(alone.filter(alone >= ALONE).sum())
    counts["more slices of their series number under another SeriesInstanceUID"] = _cut(facts)
    return {note: count for note, count in sorted(counts.items()) if count}


def _cut(facts: pl.DataFrame) -> int:
    """How many series may be one that was cut up: they differ in their UID alone, and share no place."""
    alike, uid = ("series_alike", "orientation"), pl.col("series_key")
    stated = facts.filter((pl.col("series_alike").fill_null("") != "") & pl.col("position_mm").is_not_null())
    is_apart = (uid.n_unique().over(*alike, pl.col("position_mm").round(1)) == 1).all().over(alike)
    return stated.filter(is_apart & (uid.n_unique().over(alike) > 1)).select(alike).n_unique()


def _is_sheared(volume: Sequence[_Lying]) -> bool:
    """Whether the slices of a volume, in order, do not lie straight behind one another."""
    stated = [one for one in volume if None not in (one.corner, one.cosines, one.position_mm)]
    if len(stated) < 3 or len({one.turned for one in stated}) > 1:
        return False
    first, last = stated[0], stated[-1]
    across = np.subtract(last.corner, first.corner)
    shift = np.linalg.norm(np.reshape(first.cosines, (2, 3)) @ across)
    return bool(shift > SHEARED * (last.position_mm - first.position_mm) > 0)


def plane_notes(facts: pl.DataFrame) -> dict[str, int]:
    """How many patients have slices of several planes, or of one plane at several tilts."""
    stated = facts.filter(pl.col("orientation").fill_null("") != "")
    spread = pl.col("tilt_degrees").max() - pl.col("tilt_degrees").min()
    tilts = stated.group_by("patient_key", "orientation").agg(range=spread)
    planes = tilts.group_by("patient_key").agg(pl.len().alias("planes"), pl.col("range").max())
    are_mixed = planes["range"] > MIXED_DEGREES
    counts = {
        "patients with slices of several planes": int((planes["planes"] > 1).sum()),
        f"patients whose slices differ in tilt by more than {MIXED_DEGREES:g} degrees": int(are_mixed.sum()),
    }
    return {name: count for name, count in counts.items() if count}
