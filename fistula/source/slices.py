"""Turn the slices of one volume into bytes on the cohort's grid."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from fistula.dicom.container import Part, open_part
from fistula.dicom.look import Look
from fistula.dicom.outcome import NotTaken, Refused
from fistula.dicom.parse import read_dataset
from fistula.dicom.pixels.burned import TEXT_LIKE, looks_like_text
from fistula.dicom.pixels.decode import Picture, decode
from fistula.dicom.pixels.geometry import TURNS, turn
from fistula.dicom.pixels.plain import read_plain
from fistula.dicom.timing import SLOW, TimeLimit
from fistula.source.files.pictures import read_picture
from fistula.source.grid import Grid, Placed, place, to_bytes
from fistula.source.intensity import FileWindow, Intensity

RESULTS: dict[str, Any] = {
    "row": pl.Int64(),
    "at": pl.Int64(),  # row of its pixels in the store; null if there are none
    "pixel_hash": pl.String(),
    "source_hash": pl.String(),
    "matrix": pl.String(),
    "scale_row": pl.Float64(),  # new pixels per old one, after the picture was turned
    "scale_col": pl.Float64(),
    "offset_row": pl.Int64(),  # where the grid begins in the scaled picture
    "offset_col": pl.Int64(),
    "decoder": pl.String(),
    "seen": pl.String(),  # notes on the pixels
    "reason": pl.String(),  # why there are no pixels
    "remedy": pl.String(),
}


class Slice(NamedTuple):
    """One slice to read."""

    row: int  # of the caller's table
    part: Part  # where it is
    frame: int  # in the object, from 0
    turned: str = ""  # what brings it into the stored orientation, one of `fistula.dicom.pixels.geometry.TURNS`
    plain: str = ""  # as `fistula.dicom.pixels.plain.plain_of` gives it, or empty


@dataclass(frozen=True)
class Plan:
    """What every slice of a cohort goes through."""

    grid: Grid  # where it is resampled to
    intensity: Intensity  # one of `fistula.source.intensity`
    look: Look  # limits of size and time
    kind: str = "dicom"  # of the images, one of `fistula.source.files.formats.KINDS`


def read_volumes(volumes: Sequence[Sequence[Slice]], plan: Plan) -> tuple[list[tuple], np.ndarray]:
    """Read volumes one after the other.

    Returns:
        Records with the columns of `RESULTS`, one a slice, and the pixels of those whose `at` is not null, uint8
        ``(N, size, size)``.
    """
    records: list[tuple] = []
    pixels = [np.zeros((0, plan.grid.size, plan.grid.size), np.uint8)]
    for volume in volumes:
        done, images = _read_volume(volume, plan)
        records += [tuple(record.values()) for record in done]
        pixels.append(images)
    return records, np.concatenate(pixels)


def is_risky(facts: pl.DataFrame) -> bool:
    """Whether any of the images is read by a decoder in C."""
    return not all("VR" in (syntax or "") for syntax in facts["syntax"].unique())


def _read_volume(slices: Sequence[Slice], plan: Plan) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Decode, place and scale the slices of one volume; the intensity sees all of them at once.

    Returns:
        Records with the columns of `RESULTS` in the order of files and frames, and the pixels of those that could be
        read, in the same order.
    """
    slices = sorted(slices, key=lambda item: (item.part, item.frame))
    records: dict[int, dict[str, Any]] = {}
    taken: list[tuple[Slice, Picture, Placed]] = []
    for item, content_hash, outcome in decoded(slices, plan):
        records[item.row] = record = dict.fromkeys(RESULTS) | {"row": item.row, "source_hash": content_hash}
        if isinstance(outcome, NotTaken):
            record |= {"reason": outcome.reason, "remedy": outcome.remedy}
            continue
        placed = _place(outcome, item.turned, plan)
        record |= _placement(outcome, placed) | {"at": item.row}
        # The full-size values are of no more use, and a volume has hundreds of them.
        taken.append((item, _without_values(outcome), placed))
    differ = len({(picture.window.center, picture.window.width) for _, picture, _ in taken if picture.window}) > 1
    for item, picture, _ in taken:
        odd = ["windows differ between slices"] if differ else []
        if picture.window is None and isinstance(plan.intensity, FileWindow):
            odd.append("no window: scaled between its extremes")
        records[item.row]["seen"] = "|".join(filter(None, (records[item.row]["seen"], *odd)))
    pixels = _scaled([(picture, placed) for _, picture, placed in taken], plan)
    for (item, _, _), image in zip(taken, pixels, strict=True):
        records[item.row]["pixel_hash"] = hashlib.sha256(image).hexdigest()
    return list(records.values()), pixels


def decoded(slices: Sequence[Slice], plan: Plan) -> Iterator[tuple[Slice, str | None, Picture | NotTaken]]:
    """Each slice with the hash of its source and its picture, or why there is none; every object is read once.

    Slices of one object stand together.
    """
    for part, group in groupby(slices, key=lambda item: item.part):
        items = list(group)
        digest = None
        try:
            with TimeLimit(plan.look.seconds):
                with open_part(part, limit=plan.look.limit) as file:
                    content = file.read()
                digest = plan.look.pseudonyms("source", hashlib.sha256(content).hexdigest())
                pictures = _decoder(content, items, plan)
        except NotTaken as outcome:
            yield from ((item, digest, outcome) for item in items)
            continue
        for item in items:
            found = _next(pictures, plan.look.seconds)
            yield item, digest, found
            if isinstance(found, NotTaken) and found.reason == SLOW:
                pictures = iter(())  # more like it may follow


def _decoder(content: bytes, items: Sequence[Slice], plan: Plan) -> Iterator[Picture]:
    part, frames = items[0].part, [item.frame for item in items]
    if plan.kind == "pictures":
        return iter([read_picture(content)])
    if plan.kind == "volumes":
        from fistula.source.files.volume_slices import volume_pictures  # here, because DICOM needs no nibabel

        return volume_pictures(content, part.member or part.path.name, frames)
    if items[0].plain and (picture := read_plain(content, items[0].plain)):
        return iter([picture])
    return decode(read_dataset(BytesIO(content), limit=plan.look.limit), frames)


def _next(pictures: Iterator[Picture], seconds: float) -> Picture | NotTaken:
    try:
        with TimeLimit(seconds):
            return next(pictures)
    except NotTaken as outcome:
        return outcome
    except StopIteration:
        return Refused("a frame that follows one that took too long")


def _place(picture: Picture, turned: str, plan: Plan) -> Placed:
    """The picture on the grid, in the stored orientation."""
    scale = picture.signal_scale if plan.intensity.units == "signal" else 1.0
    values = picture.values if scale == 1 else picture.values * np.float32(scale)
    spacing, aspect = picture.spacing, picture.aspect
    if TURNS[turned][0]:
        spacing, aspect = spacing and spacing[::-1], 1 / aspect
    inside = None if picture.inside is None else turn(picture.inside, turned)
    return place(turn(values, turned), plan.grid, spacing=spacing, aspect=aspect, inside=inside)


def _placement(picture: Picture, placed: Placed) -> dict[str, Any]:
    notes = list(picture.notes)
    if picture.spacing is None:
        notes.append("no pixel spacing: scaled to fit")
    if picture.inside is not None:
        notes.append("pixel padding")
    if picture.is_inverted:
        notes.append("inverted (MONOCHROME1)")
    if looks_like_text(picture.values):
        notes.append(TEXT_LIKE)
    return {
        "matrix": "x".join(map(str, picture.values.shape)),
        "scale_row": placed.scale[0],
        "scale_col": placed.scale[1],
        "offset_row": placed.offset[0],
        "offset_col": placed.offset[1],
        "decoder": picture.decoder,
        "seen": "|".join(notes),
    }


def _without_values(picture: Picture) -> Picture:
    return Picture(np.zeros((0, 0), np.float32), is_inverted=picture.is_inverted, window=picture.window)


def _scaled(taken: Sequence[tuple[Picture, Placed]], plan: Plan) -> np.ndarray:
    if not taken:
        return np.zeros((0, plan.grid.size, plan.grid.size), np.uint8)
    values = np.stack([placed.values for _, placed in taken])
    inside = np.stack([placed.inside for _, placed in taken])
    unit = plan.intensity(values, inside, [picture.window for picture, _ in taken])
    is_inverted = np.array([picture.is_inverted for picture, _ in taken])
    if is_inverted.any():
        unit[is_inverted] = 1 - unit[is_inverted]
    if not inside.all():
        unit[~inside] = 0
    return to_bytes(unit)
