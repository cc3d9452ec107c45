"""Read an archive into the stacks of each patient, as the viewer shows them, through the same path as ingest."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from fistula.dicom.look import Look
from fistula.dicom.outcome import NotTaken
from fistula.dicom.pixels.decode import Picture
from fistula.dicom.pixels.geometry import found_cosines, same_direction
from fistula.labels.pages.spool import Read
from fistula.source.choose import Policies, choose
from fistula.source.flow import Flow
from fistula.source.grid import Grid
from fistula.source.intensity import MinMax
from fistula.source.patients import PatientRule
from fistula.source.rules import KeepRules
from fistula.source.slices import Plan, Slice, decoded
from fistula.source.survey import Survey
from fistula.viewer.images import QUALITIES, SHOWN, block, encode, grey_range, percentiles

FILLED = 0.97e6  # bytes of images to each MB of a page; the rest is what is said of them
LINKED_DEGREES = 1.0  # further apart, positions along the two normals differ by several mm
CT_WINDOWS = (("soft tissue", 40, 400), ("lung", -600, 1500), ("bone", 480, 2500))
EDGES = ("L", "R"), ("P", "A"), ("H", "F")  # where an axis of the patient points to, and where it comes from
ORDER = ("patient_key", "pane", "study_key", "series_key", "volume", "position_mm", "instance_number", "slice_key")


@dataclass(frozen=True)
class Shown:
    """How slices are shown."""

    bits: int  # of grey: 8 or 12
    look: Look
    # MB (10^6 bytes) that a patient may have before 8 bits are encoded more coarsely; None for any number.
    most_mb: float | None = None

    @property
    def qualities(self) -> tuple[int, ...]:
        """Those that are tried in turn, until a patient fits."""
        return QUALITIES if self.bits == 8 and self.most_mb is not None else QUALITIES[:1]


def find_stacks(
    survey: Survey,
    keep: KeepRules | None,
    look: Look,
    flow: Flow,
    beside: Sequence[KeepRules] = (),
    patient: PatientRule | None = None,
) -> pl.DataFrame:
    """The eligible slices of a survey, in the order in which they are shown, with `volume` and `pane`.

    What `keep` keeps (None: all, as of volumes and pictures) stands in the first pane, and is asked about; what each of
    `beside` keeps, of the same patients, in the second pane and the next ones, each image in the first pane whose rules
    let it pass. `flow` gets the steps up to `right sequence`; `patient` says whose each image is (None: `compared`).

    Raises:
        DataError: If nothing is eligible, or if `patient` finds ids that several people share.
    """
    rule = patient or PatientRule()

    def chosen(keep: KeepRules | None, flow: Flow) -> pl.DataFrame:
        policies = Policies(unreadable="exclude", same_uid="separate")
        found = choose(survey, keep=keep, look=look, policies=policies, flow=flow).wanted
        return rule.of_headers(survey, found, look.pseudonyms)

    names = keep.names if keep is not None else [""]
    # Of several sequences the first is asked about, and the others are shown beside it.
    pane_of = pl.col("sequence").replace_strict(names, range(len(names)), return_dtype=pl.Int32)
    panes = [chosen(keep, flow).with_columns(pane=pane_of)]
    patients, taken = (panes[0][key].unique().implode() for key in ("patient_key", "slice_key"))
    for number, other in enumerate(beside, len(names)):
        found = chosen(other, Flow())
        found = found.filter(pl.col("patient_key").is_in(patients) & ~pl.col("slice_key").is_in(taken))
        panes.append(found.with_columns(pane=pl.lit(number)))
    return pl.concat(panes).unique("slice_key", keep="first", maintain_order=True).sort(*ORDER, nulls_last=True)


def read_patients(patients: Sequence[pl.DataFrame], *, survey: Survey, shown: Shown) -> list[Read]:
    """What `read_patient` gives of each."""
    return [read_patient(slices, survey=survey, shown=shown) for slices in patients]


def read_patient(slices: pl.DataFrame, *, survey: Survey, shown: Shown) -> Read:
    """Read every stack of one patient; a stack of which nothing can be read is left out.

    A patient who does not fit is read once more for each lower quality, and `quality` says which it is.

    `slices` are rows of `find_stacks` that are of one patient.
    """
    for quality in shown.qualities:
        patient, reasons = _read_patient(slices, survey, shown, quality)
        if shown.most_mb is None or sum(len(series["block"]) for series in patient["series"]) < FILLED * shown.most_mb:
            break
    return patient, reasons


def _read_patient(slices: pl.DataFrame, survey: Survey, shown: Shown, quality: int) -> Read:
    series, reasons, planes = [], Counter[str](), list[tuple[str, list[float]]]()
    downward: dict[int | None, bool] = {}  # of each plane, so that linked stacks run in one direction
    # Those that lie otherwise in their files have other sides: a stack of their own.
    for stack in slices.partition_by("pane", "series_key", "volume", "turned", maintain_order=True):
        images, missing = _read(stack, survey, shown)
        reasons += missing
        if images:
            rows = [row for row in stack.iter_rows(named=True) if row["slice_key"] in images]
            plane = _plane(rows[0]["study_key"], list(rows[0]["cosines"] or ()), planes)
            is_down = _falls(rows) if plane is None else downward.setdefault(plane, _falls(rows))
            series.append(_series(rows[::-1] if is_down else rows, images, plane, shown.bits, quality))
    return {"key": slices["patient_key"][0], "quality": quality, "series": series}, reasons


def lost_patient(slices: pl.DataFrame, reason: str) -> Read:
    """What `read_patient` would give for a patient whose files end every process that reads them."""
    return {"key": slices["patient_key"][0], "quality": QUALITIES[0], "series": []}, Counter({reason: len(slices)})


def _read(stack: pl.DataFrame, survey: Survey, shown: Shown) -> tuple[dict[str, Picture], Counter[str]]:
    keys = stack["slice_key"].to_list()
    places = stack.select("file", "member", "frame").iter_rows()
    wanted = [Slice(row, survey.part(file, member), frame) for row, (file, member, frame) in enumerate(places)]
    plan = Plan(Grid(8, 1.0), MinMax(), shown.look, survey.kind)  # of which reading takes the limits alone
    found, reasons = {}, Counter[str]()
    for item, _, outcome in decoded(sorted(wanted, key=lambda item: (item.part, item.frame)), plan):
        if isinstance(outcome, NotTaken):
            reasons[outcome.reason] += 1
        else:
            found[keys[item.row]] = outcome
    return found, reasons


def _falls(rows: list[dict[str, Any]]) -> bool:
    """Whether most image numbers of slices by position fall: a reader is used to see them rise."""
    numbers = [row["instance_number"] for row in rows]
    falls = sum(first > second for first, second in pairwise(numbers) if None not in (first, second))
    return 2 * falls > len(rows) - 1


def _series(
    rows: list[dict[str, Any]], images: dict[str, Picture], plane: int | None, bits: int, quality: int
) -> dict[str, Any]:
    first = rows[0]
    pictured = [images[row["slice_key"]] for row in rows]
    values = [_bright(picture) for picture in pictured]
    low, high = grey_range(values, bits)
    encoded, places = block([encode(image, low=low, high=high, bits=bits, quality=quality) for image in values])
    cosines = list(found_cosines(first["cosines"] or (), first["turned"] or ""))  # a reader sees the file as it is
    presets = _presets(pictured[len(pictured) // 2], values, first["modality"])
    return {
        "key": f"{first['series_key']}-{first['volume']}{first['turned'] or ''}",
        "title": _title(first) + (f" · JPEG {quality}" if quality < QUALITIES[0] else ""),
        "pane": first["pane"],
        "plane": plane,
        "edges": edges(cosines),
        "axes": cosines,
        "orientation": first["orientation"] or "",
        "rows": values[0].shape[0],
        "cols": values[0].shape[1],
        "spacing": list(pictured[0].spacing or (1.0, 1.0)),
        "has_spacing": pictured[0].spacing is not None,
        "bits": bits,
        "low": low,
        "high": high,
        "window": list(presets[0][1:]),
        "presets": presets,
        "block": encoded,
        "slices": [
            {"key": row["slice_key"], "number": row["instance_number"], "position": row["position_mm"], "image": place}
            for row, place in zip(rows, places, strict=True)
        ],
    }


def _bright(picture: Picture) -> np.ndarray:
    """Values of which the higher is the brighter; padding is as dark as the darkest."""
    values = -picture.values if picture.is_inverted else picture.values
    if picture.inside is None:
        return values
    return np.where(picture.inside, values, values[picture.inside].min())


def _presets(picture: Picture, values: list[np.ndarray], modality: str | None) -> list[list[Any]]:
    """Names with centre and width; the first one is what a reader sees first."""
    first, second = percentiles(values, SHOWN)
    low, high = min(float(image.min()) for image in values), max(float(image.max()) for image in values)
    presets: list[list[Any]] = [["automatic", (first + second) / 2, max(second - first, 1.0)]]
    if picture.window is not None and picture.window.table is None:
        sign = -1 if picture.is_inverted else 1
        presets.insert(0, ["file", sign * picture.window.center, picture.window.width])
    if modality == "CT":
        presets = [[name, float(center), float(width)] for name, center, width in CT_WINDOWS] + presets
    width = presets[-1][2]
    return [*presets, ["narrow", first + width / 3, width / 2], ["full", (low + high) / 2, max(high - low, 1.0)]]


def _title(row: dict[str, Any]) -> str:
    """Facts alone: a description is free text, and may name a patient or a date."""
    words = [row["modality"], row["orientation"], (row["component"] or "").replace("_", " ")]
    return " ".join(word for word in words if word)


def _plane(study: str, cosines: list[float], planes: list[tuple[str, list[float]]]) -> int | None:
    """Number of the plane, of this study and direction; None without a direction."""
    if len(cosines) != 6:
        return None
    for number, (other, direction) in enumerate(planes):
        if other == study and same_direction(direction, cosines, degrees=LINKED_DEGREES):
            return number
    planes.append((study, cosines))
    return len(planes) - 1


def edges(cosines: Sequence[float]) -> list[str]:
    """Letters of the patient's side at the left, right, top and bottom edge of a slice; empty without a direction.

    Example:
        >>> edges([1, 0, 0, 0, 1, 0])
        ['R', 'L', 'A', 'P']
    """
    if len(cosines) != 6:
        return []
    letters = []
    for direction in (cosines[:3], cosines[3:]):
        axis = int(np.argmax(np.abs(direction)))
        toward, away = EDGES[axis] if direction[axis] > 0 else EDGES[axis][::-1]
        letters += [away, toward]
    return letters
