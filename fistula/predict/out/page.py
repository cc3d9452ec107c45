"""The page of what was predicted, which needs nothing beside it: tables, places, and a stack to scroll through."""

from typing import Any

import polars as pl
from markupsafe import Markup

from fistula.predict.out.overlay import Overlay
from fistula.predict.places import say_clock, say_place
from fistula.predict.predictor import Prediction
from fistula.predict.source import Slices
from fistula.viewer import page as viewer
from fistula.viewer.images import SIDE, picture

POINTS = {"opening": "grid", "canal": "grid_canal"}  # the columns that have them in pixels of the grid
# Left, right, top and bottom of a stored slice.
EDGES = {"axial": "RLAP", "coronal": "RLHF", "sagittal": "APHF"}


def render_page(slices: Slices, prediction: Prediction, overlays: list[Overlay], summary: dict[str, Any]) -> str:
    """The page of patients, places and slices."""
    drawn = {overlay.row: overlay.image for overlay in overlays}
    beside = _beside(slices)
    pictures = [
        {
            **row,
            "picture": picture(slices.pixels[index]),
            "overlay": picture(drawn[index]) if index in drawn else "",
            "beside": beside.get(row["slice_key"], {}),
        }
        for index, row in enumerate(prediction.slices.iter_rows(named=True))
    ]
    by_patient: dict[str, list[dict[str, Any]]] = {}
    for row in pictures:
        by_patient.setdefault(row["patient_key"], []).append(row)
    # Of a network that scores patients, the slices that decided come first.
    deciding = {key: sorted(own, key=lambda row: -row.get("weight", 0.0)) for key, own in by_patient.items()}
    places: dict[str, list[dict[str, Any]]] = {}
    for row in [] if prediction.places is None else prediction.places.iter_rows(named=True):
        places.setdefault(row["patient_key"], []).append(
            row | {"hour": say_clock(row["clock"]), "said": say_place(row).replace(" -", " \N{MINUS SIGN}")}
        )
    return viewer.template("predict", "index.html").render(
        summary=summary,
        patients=prediction.patients.to_dicts(),
        slices=deciding,
        is_weighted="weight" in prediction.slices.columns,
        places=places,
        finds_places=prediction.places is not None,
        has_maps=any(overlay.is_map for overlay in overlays),
        left_out=prediction.left_out.group_by("reason").agg(pl.len().alias("count")).sort("reason").to_dicts(),
        score_columns=[name for name in prediction.slices.columns if name.startswith("score_")],
        stacks=Markup(viewer.as_json(stacks_of(by_patient, places, size=slices.pixels.shape[-1]))),  # noqa: S704 (escaped)
        viewer=Markup(viewer.scripts()),  # noqa: S704 (our own)
        style=Markup(viewer.style()),  # noqa: S704 (likewise)
    )


def stacks_of(
    slices: dict[str, list[dict[str, Any]]], places: dict[str, list[dict[str, Any]]], *, size: int
) -> dict[str, Any]:
    """Patients as the viewer takes them, images being those of the page; with places the most suspicious patient first.

    Slices are those of each patient, in the order in which they lie; with a ``weight`` in the patient's score, the
    heaviest is shown first where there are no places. Further sequences are those pictures that stand ``beside`` a
    slice under their names, and have a pane each. Places have the most suspicious slice first, their ``grid_row`` and
    ``grid_col`` in slices of this size; there are none for runs that find no places.
    """
    side = min(size, SIDE)
    found: dict[str, Any] = {}
    for key in sorted(slices, key=lambda one: -places[one][0]["score"] if places.get(one) else 0.0):
        own = slices[key]
        marks = {row["slice_key"]: _marks(row, side / size) for row in places.get(key, [])}
        heaviest = max(own, key=lambda row: row.get("weight", 0.0)) if "weight" in own[0] else {}
        first = places[key][0]["slice_key"] if places.get(key) else heaviest.get("slice_key")
        by_stack: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for row in own:
            by_stack.setdefault((row["series_key"], row["volume"]), []).append(row)
        series, further = [], []
        for number, rows in enumerate(by_stack.values()):
            keys = [row["slice_key"] for row in rows]
            shown = [
                {
                    "key": row["slice_key"],
                    "number": row["image_number"],
                    "position": row["position_mm"],
                    "marks": marks.get(row["slice_key"], []),
                }
                for row in rows
            ]
            one = {
                "key": str(number), "title": rows[0].get("sequence") or f"series {number + 1}", "pane": 0,
                "plane": 0, "axes": [], "edges": list(EDGES.get(str(rows[0]["orientation"]), "")),
                "orientation": rows[0]["orientation"],
                "rows": side, "cols": side, "spacing": [1, 1], "bits": 8, "low": 0, "high": 255,
                "window": [127.5, 255], "presets": [], "slices": shown,
            }  # fmt: skip
            series.append(one | ({"start": keys.index(first)} if first in keys else {}))
            pictures = [row.get("beside", {}) for row in rows]
            for pane, name in enumerate(dict.fromkeys(name for own in pictures for name in own), start=1):
                there = [
                    place | {"number": None, "marks": [], "image": own[name]}
                    for place, own in zip(shown, pictures, strict=True)
                    if name in own
                ]
                further.append(one | {"title": name, "pane": pane, "slices": there})
        # The stack with the slice that is to be seen first: it is the one that is shown.
        found[key] = [*sorted(series, key=lambda one: "start" not in one), *further]
    return found


def _beside(slices: Slices) -> dict[str, dict[str, str]]:
    """Pictures of further sequences by the key of the slice on which they lie, then by name; none where one lacks."""
    found: dict[str, dict[str, str]] = {}
    if slices.beside is not None:
        rows = slices.beside.select("grid_key", "sequence", "covered").iter_rows()
        for row, (key, name, covered) in enumerate(rows, start=len(slices.table)):
            if covered > 0:
                found.setdefault(key, {})[name] = picture(slices.pixels[row])
    return found


def _marks(place: dict[str, Any], scale: float) -> list[dict[str, Any]]:
    """The finding, doubtful where something is remarked, and the canal where it is known, in the picture's pixels."""
    points = {kind: (place[f"{name}_row"], place[f"{name}_col"]) for kind, name in POINTS.items()}
    return [
        {
            "kind": f"doubtful {kind}" if kind == "opening" and place["remarks"] else kind,
            "row": (row + 0.5) * scale - 0.5,
            "col": (column + 0.5) * scale - 0.5,
        }
        for kind, (row, column) in points.items()
        if row is not None
    ]
