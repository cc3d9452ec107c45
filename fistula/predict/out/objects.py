"""What was predicted, as DICOM objects beside the tables."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from fistula import __version__
from fistula.dicom.drawn.pointed import Place, in_patient
from fistula.dicom.out.objects import ANSWERS, Algorithm, Subject, digest, write_overlay, write_report
from fistula.dicom.out.original import read_source
from fistula.dicom.out.weighed import Weighed
from fistula.errors import ConfigError
from fistula.predict.out.write import Overlay, attempt
from fistula.predict.places import ABSTAINED, BELOW
from fistula.predict.predictor import ABSTAIN, Prediction, Predictor
from fistula.predict.source import Slices


def check_objects(predictor: Predictor) -> None:
    """Refuse what no objects can be written of, before anything is scored.

    Raises:
        ConfigError: If there are more than two classes, or the images are no DICOM.
    """
    if len(predictor.classes) != 2 or predictor.reader.plan.kind != "dicom":
        raise ConfigError("dicom", "is for two classes and DICOM images", remedy="Leave it and send out")


def write_objects(
    folder: Path,
    predictor: Predictor,
    slices: Slices,
    prediction: Prediction,
    overlays: list[Overlay],
    *,
    finding: Subject,
) -> tuple[list[Path], list[str], list[str]]:
    """Write ``dicom/overlay-SLICE_KEY.dcm`` for each overlay and ``dicom/report-SERIES_KEY.dcm`` for each series.

    An object that cannot be written, as its source's text or dates are damaged, costs no other.

    Returns:
        The files; a name and reason of each that could not be written; and the attributes that are left empty in some,
        for their source has no readable value of them.
    """
    (folder / "dicom").mkdir()
    left_empty: set[str] = set()
    read = partial(read_source, limit=predictor.reader.plan.look.limit, left_empty=left_empty)
    name, prints = predictor.runs[0].name, [str(run.record["fingerprint"]) for run in predictor.runs]
    if len(prints) > 1:  # that of the first alone would name it as what made the mean
        name, prints = f"mean of {len(prints)} runs, first {name}", [digest("\n".join(prints).encode())]
    algorithm = Algorithm(name, __version__, prints[0])
    written: list[Path] = []
    failed: list[str] = []

    def attempt_object(name: str, write: Callable[[Path], None]) -> None:
        path = folder / "dicom" / name
        attempt(f"dicom/{name}", partial(write, path), failed, path=path)
        if path.exists():
            written.append(path)

    frames, keys = prediction.slices["frame"], prediction.slices["slice_key"]
    described = {} if prediction.places is None else {"description": "Most suspicious locations, not verified"}

    def draw(overlay: Overlay, path: Path) -> None:
        frame = int(frames[overlay.row] or 0)
        source = read(slices.parts[overlay.row], frame=frame)
        spacing = float(predictor.reader.plan.grid.spacing_mm)
        write_overlay(path, overlay.image, source, frame=frame, spacing_mm=spacing, algorithm=algorithm, **described)

    for overlay in overlays:
        attempt_object(f"overlay-{keys[overlay.row]}.dcm", partial(draw, overlay))
    answers = dict(prediction.patients.select("patient_key", "answer").iter_rows())

    def report(row: dict[str, Any], path: Path) -> None:
        rows = prediction.slices.with_row_index("place").filter(pl.col("series_key") == row["series_key"])["place"]
        called = "present" if row["decision"] == predictor.classes[1] else "absent"
        write_report(
            path,
            [read(part) for part in dict.fromkeys(slices.parts[index] for index in rows)],
            score=row["score"],
            answer="indeterminate" if answers[row["patient_key"]] == ABSTAIN else called,
            finding=finding,
            algorithm=algorithm,
            places=_places(prediction, slices, row["series_key"], read=read, predictor=predictor),
            slices=_weighed(prediction, slices, rows.to_list(), read),
        )

    for row in prediction.series.iter_rows(named=True):
        attempt_object(f"report-{row['series_key']}.dcm", partial(report, row))
    return written, failed, sorted(left_empty)


def _weighed(prediction: Prediction, slices: Slices, rows: Sequence[int], read: Callable[..., Any]) -> list[Weighed]:
    """The slices in these rows with their weights in the patient's score; none where slices were scored."""
    if "weight" not in prediction.slices.columns:
        return []
    told = prediction.slices.select("frame", "weight", "score").rows(named=True)
    return [
        Weighed(
            source=read(slices.parts[row], frame=int(told[row]["frame"] or 0)),
            frame=int(told[row]["frame"] or 0),
            weight=told[row]["weight"],
            score=told[row]["score"],
        )
        for row in rows
    ]


def _places(
    prediction: Prediction, slices: Slices, series: str, *, read: Callable[..., Any], predictor: Predictor
) -> list[Place]:
    """The places in a series, each with the slice that it is drawn on."""
    if prediction.places is None:
        return []
    rows = {key: index for index, key in enumerate(prediction.slices["slice_key"])}
    own = set(prediction.slices.filter(pl.col("series_key") == series)["slice_key"])
    places = []
    for place in prediction.places.iter_rows(named=True):
        if place["slice_key"] not in own or place["row"] is None:
            continue
        part, frame = slices.parts[rows[place["slice_key"]]], int(place["frame"] or 0)
        limit = predictor.reader.plan.look.limit
        is_unsure, is_below = ABSTAINED in place["remarks"], BELOW in place["remarks"]
        where = in_patient(part, limit=limit, frame=frame, row=place["row"], column=place["col"])
        places.append(
            Place(
                source=read(part, frame=frame),
                frame=frame,
                row=place["row"],
                column=place["col"],
                in_patient=where,
                score=place["score"],
                answer=ANSWERS["indeterminate" if is_unsure else "absent" if is_below else "present"],
                hour=place["clock"],
                from_canal_mm=place["from_canal_mm"],
            )
        )
    return places
