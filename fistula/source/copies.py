"""Several objects under one SOPInstanceUID: copies of one picture, or a fault."""

from collections import Counter

import polars as pl

from fistula.dicom.look import Look, bytes_hash, pixels_hash
from fistula.errors import DataError, first_of
from fistula.source.survey import Survey, those

FRAME = ["file", "member", "frame"]
# What may not differ between copies: where the picture lies, and where it stands in its series.
PLACED = ["cosines", "corner", "position_mm", "spacing_row", "spacing_col", "turned", "acquisition"]
PLACED += ["instance_number", "series_key"]
OTHERWISE = ", with another window"


def without_copies(
    survey: Survey, images: pl.DataFrame, look: Look, policy: str
) -> tuple[pl.DataFrame, Counter[str], int]:
    """Keep one of several objects with one identity, patient, place and the same pixels: that with the smallest hash.

    Gives the images, why others are not among them, and how many share their SOPInstanceUID and are kept apart.

    Raises:
        DataError: If different pictures, or one in two places, have one SOPInstanceUID, or one picture is of two
            patients, unless `policy` is `separate`.
    """
    images = with_places(survey, images, images["slice_key"] == "", look)
    copies = those(images, images["slice_key"].is_duplicated())
    if copies.is_empty():
        return images, Counter(), 0
    hashes = _hashes(survey, copies, look)
    copies = copies.hstack(pl.DataFrame(hashes, schema=["content", "pixels", "shown"], orient="row"))
    if policy == "refuse":
        remedy = "Export them again, or take each as an image of its own with same_uid=separate and name it by path"
        _refuse(survey, copies, "pixels", "different images must not share one SOPInstanceUID", remedy)
        # Corrected by an archive, and exported beside what it was.
        rule = "copies of an image must have one position, orientation, spacing, series and InstanceNumber"
        _refuse(survey, copies, pl.struct(PLACED), rule, "Remove those that were corrected since, or the corrections")
        _refuse_two_patients(survey, copies)
    one = ["slice_key", "patient_key", "pixels", *PLACED]
    kept = pl.col("shown").first().over(one)
    copies = copies.sort("slice_key", "content", "file", "member").with_columns(is_otherwise=pl.col("shown") != kept)
    dropped = copies.filter(~pl.struct(one).is_first_distinct())
    images = images.join(dropped.select(FRAME), on=FRAME, how="anti", maintain_order="left")
    is_shared = images["slice_key"].is_duplicated()
    images = with_places(survey, images, is_shared, look)
    reasons = Counter(f"a copy of another file{OTHERWISE * other}" for other in dropped["is_otherwise"])
    return images, reasons, int(is_shared.sum())


def _refuse(survey: Survey, copies: pl.DataFrame, what: str | pl.Expr, rule: str, remedy: str) -> None:
    """Refuse images of one identity that differ in `what`."""
    differs = (pl.col(what) if isinstance(what, str) else what).n_unique().over("slice_key") > 1
    twisted = copies.filter(differs)
    if len(twisted):
        files = twisted.select("file", "member").unique().sort("file", "member").rows()
        names = [survey.name(file, member) for file, member in files]
        found = f"{len(names)} files under {twisted['instance_key'].n_unique()}: {first_of(names)}"
        raise DataError(survey.where, rule, found=found, remedy=remedy)


def _refuse_two_patients(survey: Survey, copies: pl.DataFrame) -> None:
    """An archive exported twice, under two pseudonyms: which copy is dropped would part one person into two."""
    is_of_two = pl.col("patient_key").n_unique().over("slice_key") > 1
    twice = copies.filter(is_of_two).unique(["file", "member"], maintain_order=True)
    if len(twice):
        names = [survey.name(file, member) for file, member in twice.sort("file").select("file", "member").rows()]
        found = f"{twice['slice_key'].n_unique()} images under several: {first_of(names, 4)}"
        remedy = "Remove one of the exports"
        raise DataError(survey.where, "copies of an image must have one PatientID", found=found, remedy=remedy)


def with_places(survey: Survey, images: pl.DataFrame, is_unnamed: pl.Series, look: Look) -> pl.DataFrame:
    """Name images that no UID names by where they lie."""
    if not is_unnamed.any():
        return images
    keys = [
        look.pseudonyms("place", f"{survey.name(file, member)}#{frame}") if unnamed else key
        for unnamed, (file, member, frame, key) in zip(
            is_unnamed, images.select(*FRAME, "slice_key").rows(), strict=True
        )
    ]
    return images.with_columns(slice_key=pl.Series(keys, dtype=pl.String()))


def _hashes(survey: Survey, copies: pl.DataFrame, look: Look) -> list[tuple[str, str, str]]:
    """Of each row, the hashes of its file's bytes, pixels and window; files that are the same are not decoded."""
    content = {row: bytes_hash(survey.part(*row), look) for row in copies.select("file", "member").unique().rows()}
    by_key: dict[str, set[str]] = {}
    rows = copies.select("slice_key", *FRAME).rows()
    for key, file, member, _ in rows:
        by_key.setdefault(key, set()).add(content[file, member])
    found: list[tuple[str, str, str]] = []
    for key, file, member, frame in rows:
        own = content[file, member]
        is_one = len(by_key[key]) == 1
        found.append((own, *((own, own) if is_one else pixels_hash(survey.part(file, member), frame, look))))
    return found
