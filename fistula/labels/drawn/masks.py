"""Labels from what is drawn on images: segmentations, contours, masks and points, matched to them by geometry."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.dicom.drawn.drawings import Drawing
from fistula.dicom.look import Look
from fistula.dicom.outcome import NotTaken, Refused
from fistula.dicom.pixels.planes import carried, nearby
from fistula.errors import ConfigError, DataError, first_of
from fistula.labels.drawn.drawings import Found, drawings_below
from fistula.labels.drawn.outlines import filled, opening_of
from fistula.labels.drawn.partners import Images, nearest_slices
from fistula.labels.drawn.wanted import Wanted
from fistula.labels.tables.lines import Labels, Row
from fistula.source.choose import Policies
from fistula.source.rules import KeepRules
from fistula.source.survey import Survey

FAR_MM = 1.0  # points farther from their slice are counted
ELSEWHERE = "parts that lie elsewhere than the image that they name, which is not heeded"
KINDS = {
    "masks": "They are DICOM segmentations and structure sets, files such as case_seg.nii.gz or x_mask.png, or a"
    " folder masks",
    "points": "They are 3D Slicer's .mrk.json and .fcsv, and DICOM reports with points",
}


@dataclass
class _Sheet:
    """What was gathered, by the number of the image."""

    marked: dict[int, tuple[int, NDArray[np.uint8]]] = field(default_factory=dict)  # class, and pixels as bits
    points: dict[int, tuple[int, float, tuple[float, float]]] = field(default_factory=dict)  # class, mm off, and place
    classes: set[int] = field(default_factory=set)  # that were met
    origin: dict[int, str] = field(default_factory=dict)
    noted: Counter[str] = field(default_factory=Counter)
    segments: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)


def drawn_labels(
    survey: Survey,
    wanted: Wanted,
    *,
    keep: KeepRules | None,
    look: Look,
    policies: Policies,
    classes: Sequence[str] | None = None,
) -> Labels:
    """Labels of the images below a source that something is drawn on, as a table of labels would give them.

    Where a drawing does not say of which series it is, it is of one that `keep` keeps. `classes` names what is not
    marked, and each of the segments; `negative` and `positive`, or the segments, by default.

    Raises:
        DataError: If there is no drawing, if one cannot be read, or if it is of no image, or of more than one patient.
        ConfigError: If several segments are there and none was chosen, or the one chosen is not there.
    """
    names = wanted.names(classes)
    images, sheet = Images(survey, keep=keep, look=look), _Sheet()
    gather = _gather_masks if wanted.word == "masks" else _gather_points
    for found in drawings_below(survey, wanted.word, look=look):
        sheet.noted[found.what] += 1
        try:
            if isinstance(found.drawing, NotTaken):
                raise found.drawing
            gather(sheet, found, found.drawing, images, wanted)
        except NotTaken as outcome:
            sheet.failed.append(f"{found.name} ({outcome.reason})")
    _refuse(survey, sheet, wanted, policies)
    rows = list(_rows(sheet, images))
    noted = {f"labels={wanted.word}: {name}": count for name, count in sheet.noted.items() if count}
    return Labels(survey.folder, ("slice_key",), names, rows, noted=noted)


def _gather_masks(sheet: _Sheet, found: Found, drawing: Drawing, images: Images, wanted: Wanted) -> None:
    chosen: dict[int, int] = {}
    for segment in drawing.segments:
        sheet.segments[segment.label or str(segment.number)] += 1
        if label := wanted.class_of(segment.label, (str(segment.number), *segment.names)):
            chosen[segment.number] = label
    sheet.classes |= set(chosen.values())
    if drawing.segments and not chosen:
        sheet.noted["masks without the segment"] += 1
        return
    if drawing.unclosed & chosen.keys():
        raise Refused("a contour that is not closed")
    rows = images.of(found, drawing)
    if drawing.drawn or drawing.contours:
        rows = images.of_space(rows, drawing.space)
    if not rows:
        sheet.unmatched.append(found.name)
        return
    sheet.noted.update(f"masks: {note}" for note in drawing.notes)
    by_class = {
        label: {number for number in chosen if chosen[number] == label} for label in sorted(set(chosen.values()))
    }
    marked = {
        (row, label): _marked(drawing, of, images, row)
        for row in rows
        for label, of in (by_class or {1: set()}).items()
    }
    flat = any(pixels.any() for segment, _, _, pixels in drawing.on_images if segment in chosen)
    placed = {one.segment for one in drawing.drawn} | {one.segment for one in drawing.contours}
    if not flat and placed.isdisjoint(chosen):
        sheet.noted["masks without a pixel"] += 1
    elif not any(pixels.any() for pixels in marked.values()):
        sheet.unmatched.append(f"{found.name} (lies in no slice of its images)")
        return
    sheet.noted["slices of several masks, which are combined"] += sum(row in sheet.origin for row in rows)
    parts = [(one.segment, one.image, one.corners) for one in drawing.drawn]
    parts += [(one.segment, one.image, one.points) for one in drawing.contours]
    sheet.noted[ELSEWHERE] += sum(_is_elsewhere(images, uid, points) for of, uid, points in parts if of in chosen)
    for (row, label), pixels in marked.items():
        sheet.origin.setdefault(row, found.name)
        if not pixels.any():
            continue
        bits = np.packbits(pixels)
        last, before = sheet.marked.get(row, (label, bits))
        sheet.noted["slices of several classes, which have the last of them"] += last != label
        sheet.marked[row] = (
            (label, bits | before) if last == label else max((label, bits), (last, before), key=lambda one: one[0])
        )


def _is_elsewhere(images: Images, uid: str, points: NDArray[np.float64]) -> bool:
    """Whether points lie farther from the one slice that they are said to be of than it reaches."""
    rows = images.by_instance.get(images.key_of(uid), []) if uid else []
    plane = images.plane(rows[0]) if len(rows) == 1 else None
    if plane is None or (reach := images.reach(rows[0])) is None:
        return False
    return bool(np.abs(plane.places(points)[:, 2]).max() > reach + FAR_MM)


def _marked(drawing: Drawing, chosen: set[int], images: Images, row: int) -> NDArray[np.bool_]:
    """The pixels of one image that the chosen segments have."""
    pixels = np.zeros(images.shape(row), bool)
    for segment, uid, frame, own in drawing.on_images:
        if segment in chosen and images.is_image(row, uid, frame):
            if own.shape != pixels.shape:
                raise Refused("a mask of another size than its image")
            pixels |= own
    plane = images.plane(row) if drawing.drawn or drawing.contours else None
    if plane is not None:
        reach = images.reach(row)
        for layer in nearby(drawing.drawn, plane, reach):
            if layer.segment in chosen:
                pixels |= carried(layer, plane, (layer.plane.thickness or 0) / 2 if reach is None else reach)
        pixels |= filled([one for one in drawing.contours if one.segment in chosen], plane, reach)
    return pixels


def _gather_points(sheet: _Sheet, found: Found, drawing: Drawing, images: Images, wanted: Wanted) -> None:
    points = [(label, one) for one in drawing.points if (label := wanted.class_of(one.label, one.names))]
    sheet.classes |= {label for label, _ in points}
    rows = images.of(found, drawing) if points else []
    sheet.noted.update(f"points: {note}" for note in drawing.notes)
    for label, point in points:
        name = f"{found.name} ({point.label or 'a point'}"
        if point.place is None:
            near = [(0.0, row, point.pixel) for row in rows if images.is_image(row, point.image, point.frame)]
            if any(not _is_inside(place, images.shape(row)) for _, row, place in near):
                sheet.unmatched.append(f"{name}, beside its image)")
                continue
        else:
            there = nearest_slices(images, images.of_space(rows, point.space or drawing.space), point.place)
            near = [one for one in there if one[0] <= wanted.within_mm]
        if not near:
            sheet.unmatched.append(f"{name}, within {wanted.within_mm:g} mm of no slice)")
        if len({images.rows[row]["series_key"] for _, row, _ in near}) > 1:
            raise DataError(found.name, "may be of several series", remedy="Keep one of them (keep=)")
        for distance, row, place in near:
            sheet.noted["further points in a slice, of which the nearest is used"] += row in sheet.points
            sheet.noted[f"points more than {FAR_MM:g} mm off their slice"] += distance > FAR_MM
            last, least, _ = sheet.points.get(row, (0, np.inf, place))
            if place is not None and (label > last or (label == last and distance < least)):
                sheet.points[row] = label, distance, place
            sheet.origin[row] = found.name


def _is_inside(place: tuple[float, float] | None, shape: tuple[int, int]) -> bool:
    return place is not None and all(-0.5 <= at <= side - 0.5 for at, side in zip(place, shape, strict=True))


def _refuse(survey: Survey, sheet: _Sheet, wanted: Wanted, policies: Policies) -> None:
    """Refuse what was not found, not read, not chosen or is of no image, as the policies say; count the rest."""
    where = f"labels={wanted.word}"
    if sheet.failed and policies.unreadable == "refuse":
        remedy = "Correct them, or exclude them with unreadable=exclude"
        raise DataError(where, "every drawing must be readable", found=_first(sheet.failed), remedy=remedy)
    there = ", ".join(f"{name} ({count})" for name, count in sheet.segments.most_common(8))
    if wanted.segment is None and len(sheet.segments) > 1:
        remedy = 'Name one or a pattern; "labels.segment=*" takes all together'
        raise ConfigError("labels.segment", "must state which segment is the positive one", found=there, remedy=remedy)
    if sheet.unmatched and policies.unmatched == "refuse":
        refused = survey.facts.filter(pl.col("outcome") == "refused").select("file", "member", "reason").rows()[:1]
        why = [f" ({survey.name(file, member or '')} is refused: {reason})" for file, member, reason in refused]
        remedy = f"Check source{''.join(why)}, or set unmatched=exclude"
        rule = "every drawing must belong to an image in the source"
        raise DataError(where, rule, found=_first(sheet.unmatched), remedy=remedy)
    if not sheet.origin and there:
        raise ConfigError("labels.segment", f"must be one that is there: {there}", found=wanted.segment)
    missing = [name for number, name in enumerate(wanted.patterns, 1) if number not in sheet.classes]
    if sheet.origin and missing:
        thing = "a point" if wanted.word == "points" else "a mask with a pixel"
        rule = f"must be ones that are there: {there}" if there else f"must each be of {thing} that is there"
        raise ConfigError("labels.segment", rule, found=", ".join(missing))
    if not sheet.origin:
        rule = f"must find {wanted.word} below {survey.folder}"
        raise DataError(where, rule, found="none of any image", remedy=KINDS[wanted.word])
    sheet.noted["unreadable"] += len(sheet.failed)
    sheet.noted["of no image"] += len(sheet.unmatched)


def _first(names: Sequence[str]) -> str:
    return f"{len(names)} that are not: {first_of(names)}"


def _rows(sheet: _Sheet, images: Images) -> Iterator[Row]:
    """A row for each image, as a table would have it; copies of one image share theirs."""
    done = set()
    order = sorted(sheet.origin, key=lambda row: (row not in sheet.marked and row not in sheet.points, row))
    for line, row in enumerate(order, 1):
        key, label, point = images.rows[row]["slice_key"], 0, None
        if key in done:
            continue
        done.add(key)
        if row in sheet.points:
            label, _, point = sheet.points[row]
        elif row in sheet.marked:
            shape = images.shape(row)
            label, bits = sheet.marked[row]
            pixels = np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(bool)
            point, notes = opening_of(pixels)
            sheet.noted.update(notes)
        origin = f"{images.name(row)}, by {sheet.origin[row]}"
        yield Row(line, (key,), None, label, "", None, None, (point, None), origin)
