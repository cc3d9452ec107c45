"""Scores of slices or patients: every one once, in the order of the bags, in float64."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from fistula.learning.building.judging import judge, see
from fistula.learning.classifier import FistulaClassifier
from fistula.learning.data.datamodule import FistulaDataModule
from fistula.learning.heads import marks_of
from fistula.learning.places.points import PLACES, places_table

SCORED_PARTS = ("val", "test")


def score_parts(
    classifier: FistulaClassifier, data: FistulaDataModule, *, fold: int
) -> tuple[pl.DataFrame, pl.DataFrame | None, pl.DataFrame | None]:
    """Score the val and test bags of a fold.

    Returns:
        Columns ``slice_key copy patient_key fold part label`` and, with two classes, ``score`` (the probability of the
        positive one), with more ``score_CLASS`` for each. By slice, one row a slice (or jittered copy of one, where the
        split was drawn after copies were made: ``copy`` above 0), and nothing more. By patient, one row a patient,
        without a ``slice_key``; and a second table of the same columns, one row a slice: its score as if it were alone,
        its label, which may be null, and its ``weight`` in the patient's score, which sums to 1 in each. And a third of
        places, for a head that finds them, one row a slice and kind of point: ``slice_key copy patient_key fold part
        kind row col peak row_true col_true mm_per_pixel``. Row and column, centre of the first pixel at 0, and the true
        ones (null where none was given) are pixels of the cohort's slices; ``peak`` is the map's height there, and null
        with row and column where it has no peak; ``mm_per_pixel`` is null for slices that state no distance.
    """
    found, slices, places = [], [], []
    for part in SCORED_PARTS:
        features, marks = seen(classifier, data, part)
        places.append(_places(data, part, fold, marks))
        of_bags, weights, of_slices = bag_probabilities(classifier, data, part, features)
        bags, manifest = data.bags[part], data.cohort.manifest
        found.append(table_of(bags.named(manifest), of_bags, data.cohort.classes, fold=fold, part=part))
        rows = manifest[bags.rows.tolist()].with_columns(pl.Series("copy", bags.copies))
        table = table_of(rows, of_slices, data.cohort.classes, fold=fold, part=part)
        slices.append(table.with_columns(pl.Series("weight", weights)))
    scores = pl.concat(found)
    is_named = scores["slice_key"].null_count() == 0  # each slice stands by itself, and there is no more to say of it
    return scores, None if is_named else pl.concat(slices), pl.concat(places) if data.kinds else None


@torch.inference_mode()
def seen(classifier: FistulaClassifier, data: FistulaDataModule, part: str) -> tuple[Tensor, Tensor]:
    """Of a part's slices, in the order of its bags, what `judge` takes, and the marks of their maps ``(N, M, 3)``.

    A loop of our own,
    because Lightning's would pad the part and score slices twice on several processes.
    """
    classifier.eval()
    found, marks = [], []
    for batch in data.part_dataloader(part):
        images = batch["image"].to(classifier.device, non_blocking=True)
        known = batch["covariates"].to(classifier.device) if "covariates" in batch else None
        values, maps = see(classifier, images, known)
        found.append(values)
        marks.append(marks_of(maps, size=data.resize.image_size))
    return torch.cat(found), torch.cat(marks)


@torch.inference_mode()
def bag_probabilities(
    classifier: FistulaClassifier, data: FistulaDataModule, part: str, features: Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of a part's bags ``(B, K)``, of their slices the weights ``(N,)``, and class probabilities ``(N, K)``."""
    bags = data.bags[part]
    positions = data.positions(part).to(classifier.device)
    known = data.known[part].to(classifier.device) if part in data.known else None
    found = judge(classifier, features, bags.sizes.tolist(), positions, known)
    of_bags, weights, of_slices = (values.cpu().double().numpy() for values in found)
    return of_bags, weights, of_slices


def _places(data: FistulaDataModule, part: str, fold: int, marks: Tensor) -> pl.DataFrame:
    """One row a slice and kind of point; only the keys where a head finds none."""
    bags, cohort = data.bags[part], data.cohort
    slices = cohort.manifest[bags.rows.tolist()].with_columns(
        pl.Series("copy", bags.copies), pl.lit(fold, pl.Int64).alias("fold"), pl.lit(part).alias("part")
    )
    if not data.kinds:
        return slices.select("slice_key")
    scale = cohort.pixels.shape[1] / data.resize.image_size
    found = marks.cpu().double().numpy()
    found[..., :2] = (found[..., :2] + 0.5) * scale - 0.5  # from the network's pixels to the cohort's, from the edges
    spacing = float(cohort.record.get("spacing_mm", 0)) or None
    return places_table(slices, found, data.kinds, spacing_mm=spacing).select(*PLACES)


def table_of(
    rows: pl.DataFrame, probabilities: NDArray[np.float64], classes: Sequence[str], *, fold: int, part: str
) -> pl.DataFrame:
    """Rows of the manifest, with their ``copy``, and their scores, of class probabilities ``(N, K)``."""
    names = ["score"] if len(classes) == 2 else [f"score_{name}" for name in classes]
    scores = probabilities[:, 1:] if len(classes) == 2 else probabilities
    return rows.with_columns(
        pl.lit(fold, pl.Int64).alias("fold"),
        pl.lit(part).alias("part"),
        *[pl.Series(name, scores[:, column]) for column, name in enumerate(names)],
    ).select("slice_key", "copy", "patient_key", "fold", "part", "label", *names)
