"""What is odd about volumes: gaps, shifts, slices that stand alone, several planes or tilts of one patient."""

from collections import Counter

import numpy as np
import polars as pl

from fistula.dicom.pixels.geometry import spacing_notes
from fistula.source.volumes import STACKED

ALONE = 3  # slices of a patient, each alone in its volume, from which they are counted
MIXED_DEGREES = 10.0  # tilts of one patient's slices that differ by more are noted
SHEARED = 0.05  # shift in the plane over that along the normal, from which it is noted: 3 degrees


def volume_notes(facts: pl.DataFrame) -> dict[str, int]:
    """How many volumes of more than one slice have each oddity of position, or lie beside others of one slice."""
    counts: Counter[str] = Counter()
    for _, volume in facts.group_by("series_key", "volume"):
        if len(volume) > 1:
            frames = ["several frames of reference"] * (volume["frame_key"].n_unique() > 1)
            sheared = ["slices shifted in their planes, as by a tilted gantry"] * _is_sheared(volume)
            counts.update(spacing_notes(volume["position_mm"].to_list()) + frames + sheared)
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


def _is_sheared(volume: pl.DataFrame) -> bool:
    """Whether the slices of a volume do not lie straight behind one another."""
    stated = volume.drop_nulls(["corner", "cosines", "position_mm"]).sort("position_mm")
    if len(stated) < 3 or stated["turned"].n_unique() > 1:
        return False
    across = np.subtract(stated["corner"][-1], stated["corner"][0])
    shift = np.linalg.norm(np.reshape(stated["cosines"][0], (2, 3)) @ across)
    return bool(shift > SHEARED * (stated["position_mm"][-1] - stated["position_mm"][0]) > 0)


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
