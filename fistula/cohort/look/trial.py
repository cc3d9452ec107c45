"""What ingest would choose from a survey, tried beforehand; and a table of labels for it, to be filled in."""

from collections.abc import Iterator

import polars as pl

from fistula.cohort.select import select
from fistula.dicom.look import Look
from fistula.dicom.out.reference import read_reference
from fistula.errors import DataError
from fistula.labels.tables.lines import Labels
from fistula.labels.tables.read import TEMPLATE
from fistula.source.choose import Policies
from fistula.source.flow import Flow
from fistula.source.patients import PatientRule
from fistula.source.rules import KeepRules
from fistula.source.several.pairing import pairs_of
from fistula.source.survey import Survey


def trial(
    survey: Survey,
    keep: KeepRules | None,
    look: Look,
    *,
    labels: Labels | None,
    policies: Policies,
    patient: PatientRule,
) -> tuple[pl.DataFrame, str, list[str]]:
    """What ingest would choose: the slices, or why it would stop, with options that may lead further.

    Returns:
        The slices (none if it would stop), the reason it would stop or an empty text, and keep options that take the
        largest kind of image that is there where the rules take none.
    """
    names = keep.names if keep else [""]
    try:
        found = select(survey, labels, keep=keep, look=look, policies=policies, patient=patient, flow=Flow())
        pairs_of(found.slices, found.beside, names, policies, where=survey.where)
        return found.slices, "", []
    except DataError as error:
        if keep is None:
            return survey.facts.clear(), str(error), []
        images = survey.facts.filter((pl.col("outcome") == "image") & ~pl.col("is_mosaic").fill_null(value=False))
        is_kept = keep.reasons(images).is_null()
        if is_kept.any() or images.is_empty():
            return images.clear(), str(error), []
        kinds = ["modality", "component", "orientation", "contrast", "is_localizer"]
        counts = (
            images.group_by(kinds, maintain_order=True)
            .len()
            .sort("is_localizer", "len", descending=[False, True], maintain_order=True)
        )
        largest = images.join(counts.head(1), on=kinds, how="semi", nulls_equal=True)
        return images.clear(), str(error), keep.widened(largest, among=images)


def template_lines(survey: Survey, slices: pl.DataFrame, look: Look) -> Iterator[list[str]]:
    """A table of labels to fill in: a header and a line a slice, by patient, series and place; labels are empty."""
    has_frames = bool((slices["frames"].fill_null(1) > 1).any())
    if survey.kind != "dicom":
        yield ["path", *(["frame_number"] if has_frames else []), "patient_id", "label"]
        for file, member, frame in slices.sort("file", "member", "frame").select("file", "member", "frame").iter_rows():
            yield [survey.name(file, member), *([str(frame + 1)] if has_frames else []), "", ""]
        return
    yield ["sop_instance_uid", *(["frame_number"] if has_frames else []), *TEMPLATE, "label"]
    order = slices.sort("patient_key", "series_key", "volume", "position_mm", "instance_number")
    for file, member, frame, number, position in order.select(
        "file", "member", "frame", "instance_number", "position_mm"
    ).iter_rows():
        found = read_reference(survey.part(file, member), limit=look.limit)
        place = "" if position is None else f"{position:.1f}"
        frames = [str(frame + 1)] if has_frames else []
        yield [found.instance, *frames, found.patient, found.description, str(number or ""), place, ""]
