"""Which volume of another sequence goes with each volume of the first: of one study, in one frame of reference."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from fistula.errors import DataError
from fistula.source.choose import Policies
from fistula.source.several.lattice import Lattice, lattice_of, reached

GEOMETRY = ("cosines", "corner", "spacing_row", "spacing_col")
CLAIM = 9  # points along each side of a slice at which it is asked whether another volume reaches it


class Pair(NamedTuple):
    """A volume of the first sequence and one of another that is to be resampled onto its grid."""

    sequence: str  # name of the other
    grid: pl.DataFrame  # rows of the first one's slices
    source: pl.DataFrame  # rows of the other's
    distance_mm: float  # between the middles of both volumes


def pairs_of(
    slices: pl.DataFrame, beside: pl.DataFrame, names: Sequence[str], policies: Policies, *, where: str
) -> tuple[list[Pair], dict[str, int], dict[str, set[str]]]:
    """Pair the volumes of the first sequence with those of each other one.

    Slices are of the first of the names, with `volume`, and patients and studies as the files have them; `beside` those
    of the others, with `sequence`; policies say whether a sequence may be missing, or have another frame of reference.
    Gives the pairs, counts of what is worth knowing, and for each other sequence the patients who lack it somewhere.

    Raises:
        DataError: If a volume has several partners, none, or one in another frame of reference, as `policies` say;
            or if an image of theirs does not say where it lies.
    """
    pairs: list[Pair] = []
    missing: dict[str, set[str]] = {name: set() for name in names[1:]}
    elsewhere: dict[str, list[Pair]] = {name: [] for name in names[1:]}
    if len(names) > 1:
        _refuse_unplaced(pl.concat([slices.select("sequence", *GEOMETRY), beside.select("sequence", *GEOMETRY)]), where)
    of_study = {key[0]: rows for key, rows in beside.group_by("study_key", maintain_order=True)}
    for volume in slices.partition_by("series_key", "volume", maintain_order=True) if len(names) > 1 else ():
        own = lattice_of(volume)
        near = of_study.get(volume["study_key"][0], beside.clear())
        near = near.filter(pl.col("file_patient") == volume["file_patient"][0])
        for name in names[1:]:
            found = [
                Pair(name, volume, rows, float(np.linalg.norm(lattice_of(rows).middle - own.middle)))
                for rows in near.filter(pl.col("sequence") == name).partition_by(
                    "series_key", "volume", maintain_order=True
                )
                if _reaches(lattice_of(rows), own)
            ]
            same = [pair for pair in found if _is_one_frame(pair)]
            if len(same or found) > 1:
                _refuse_several(name, same or found, where)
            if not found:
                missing[name].add(str(volume["patient_key"][0] or volume["file_patient"][0]))
            elsewhere[name] += [] if same else found
            pairs += same or found
    _refuse_missing(missing, slices, policies, where)
    noted = {f"patients who lack {name}": len(keys) for name, keys in missing.items()}
    for name, others in elsewhere.items():
        noted |= _joined(name, others, policies, where)
    for name in names[1:]:
        of_name = beside.filter(pl.col("sequence") == name).select("series_key", "volume").unique().rows()
        used = {(pair.source["series_key"][0], pair.source["volume"][0]) for pair in pairs}
        noted[f"volumes of {name} that overlap none of {names[0]} in their study: excluded"] = len({*of_name} - used)
        if of := [_gap(pair) for pair in pairs if pair.sequence == name]:
            noted[f"volumes of {name} whose planes lie up to {max(of):.1f} mm from those of {names[0]}"] = len(of)
    return pairs, {what: count for what, count in noted.items() if count}, missing


def _refuse_unplaced(images: pl.DataFrame, where: str) -> None:
    unplaced = images.filter(pl.any_horizontal(pl.col(name).is_null() for name in GEOMETRY))
    if len(unplaced):
        counts = ", ".join(f"{name}: {count}" for name, count in Counter(unplaced["sequence"]).most_common())
        rule = "images of several sequences must state orientation, position and pixel spacing"
        raise DataError(where, rule, found=f"{len(unplaced)} that do not ({counts})")


def _reaches(source: Lattice, grid: Lattice) -> bool:
    rows, columns = (np.linspace(0, side - 1, CLAIM) for side in grid.shape)
    points = (grid.points(number, rows[:, None], columns[None]) for number in range(len(grid.corners)))
    return any(reached(source, source.indices(some)).any() for some in points)


def _is_one_frame(pair: Pair) -> bool:
    one, other = pair.grid["frame_key"][0], pair.source["frame_key"][0]
    return bool(one) and one == other


def _gap(pair: Pair) -> float:
    """The largest distance in mm of a slice's middle from the nearest plane of the other volume that reaches it."""
    grid, source = lattice_of(pair.grid), lattice_of(pair.source)
    middles = np.stack([grid.middle_of(number) for number in range(len(grid.corners))]) @ source.normal
    distances = np.abs(middles[:, None] - source.positions).min(axis=1)
    return float(distances[distances <= source.gap / 2 + 1e-3].max(initial=0.0))


def _refuse_several(name: str, pairs: list[Pair], where: str) -> None:
    places = [f"{len(pair.source)} slices, image type {pair.source['image_type'][0]}" for pair in pairs[:3]]
    rule = f"a study must have one volume of {name} that overlaps those of the first sequence"
    remedy = f"Make keep.sequences.{name} more specific (fistula doctor lists series), or remove the others from source"
    raise DataError(where, rule, found=f"{len(pairs)} ({'; '.join(places)})", remedy=remedy)


def _refuse_missing(missing: dict[str, set[str]], slices: pl.DataFrame, policies: Policies, where: str) -> None:
    lacking = {name: keys for name, keys in missing.items() if keys}
    if not lacking or policies.missing == "mask":
        return
    found = "; ".join(f"{len(keys)} lack {name} (such as {min(keys)[:12]})" for name, keys in lacking.items())
    rule = "every patient must have each sequence in the study of the first one, overlapping it"
    remedy = "missing=mask includes them, without slices of it"
    raise DataError(where, rule, found=f"{slices['patient_key'].n_unique()} patients of whom {found}", remedy=remedy)


def _joined(name: str, pairs: list[Pair], policies: Policies, where: str) -> dict[str, int]:
    if not pairs:
        return {}
    far = max(pair.distance_mm for pair in pairs)
    if policies.other_frame == "refuse":
        rule = f"{name} must have the frame of reference of the first sequence, or positions cannot be compared"
        remedy = "other_frame=join uses positions as they are, if the patients did not move in between"
        found = f"{len(pairs)} volumes with another or none, middles up to {far:.1f} mm apart"
        raise DataError(where, rule, found=found, remedy=remedy)
    return {f"volumes of {name} joined from another frame of reference, middles up to {far:.1f} mm apart": len(pairs)}


def rows_beside(read: pl.DataFrame, table: pl.DataFrame, beside: pl.DataFrame, name_of: Any) -> pl.DataFrame:
    """What was resampled as rows of the table: whose and where as the slice on whose grid it lies, the rest its own.

    `read` has the columns of `fistula.source.several.resample.RESAMPLED`, `table` the slices of the first sequence,
    `beside` the images of the others; `name_of` gives the key of a slice by the text that names it.
    """
    whose = (
        "patient_key", "study_key", "site", "position_mm", "orientation", "tilt_degrees", "age", "sex", "study_day",
    )  # fmt: skip
    of_grid = table.select("slice_key", *(name for name in whose if name in table.columns))
    own = beside.drop(*(name for name in whose if name in beside.columns), "slice_key", "reason", "remedy")
    own = own.with_row_index("nearest").cast({"nearest": pl.Int64})
    keys = [name_of("resampled", f"{key}#{name}") for key, name in read.select("grid_key", "sequence").iter_rows()]
    return (
        read.drop("sequence")
        .with_columns(slice_key=pl.Series(keys, dtype=pl.String()))
        .join(own, on="nearest", how="left", maintain_order="left")
        .join(of_grid, left_on="grid_key", right_on="slice_key", how="left", maintain_order="left")
        .drop("nearest")
    )
