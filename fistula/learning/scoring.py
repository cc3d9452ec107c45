"""Scores of slices or patients: every one once, in the order of the bags, in float64."""

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from fistula.learning.classifier import FistulaClassifier
from fistula.learning.datamodule import FistulaDataModule
from fistula.learning.features import part_features

SCORED_PARTS = ("val", "test")


def score_parts(
    classifier: FistulaClassifier, data: FistulaDataModule, *, fold: int
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """Score the val and test bags of a fold.

    Returns:
        Columns ``slice_key copy patient_key fold part label`` and, with two classes, ``score`` (the probability of the
        positive one), with more ``score_CLASS`` for each. By slice, one row a slice (or jittered copy of one, where the
        split was drawn after copies were made: ``copy`` above 0), and nothing more. By patient, one row a patient,
        without a ``slice_key``; and a second table of the same columns, one row a slice: its score as if it were alone,
        its label, which may be null, and its ``weight`` in the patient's score, which sums to 1 in each.
    """
    if data.unit == "slice":
        parts = [_table(data, part, fold, class_probabilities(classifier, data, part)) for part in SCORED_PARTS]
        return pl.concat(parts), None
    found = {part: bag_probabilities(classifier, data, part) for part in SCORED_PARTS}
    patients, slices = [], []
    for part, (of_bags, weights, of_slices) in found.items():
        bags = data.bags[part]
        first = bags.rows[bags.starts]
        no_key, labels = pl.lit(None, pl.String), pl.Series(bags.labels)
        patients.append(_table(data, part, fold, of_bags, rows=first, slice_key=no_key, label=labels))
        slices.append(_table(data, part, fold, of_slices).with_columns(pl.Series("weight", weights)))
    return pl.concat(patients), pl.concat(slices)


@torch.inference_mode()
def class_probabilities(classifier: FistulaClassifier, data: FistulaDataModule, part: str) -> NDArray[np.float64]:
    """Class probabilities of a part's slices ``(N, K)``, in the order of its bags, where the classifier lies.

    A loop of our own, because Lightning's would pad the part and score slices twice on several processes.
    """
    classifier.eval()
    device = classifier.device
    images = (batch["image"].to(device, non_blocking=True) for batch in data.part_dataloader(part))
    return torch.cat([classifier(image) for image in images]).double().cpu().numpy()


@torch.inference_mode()
def bag_probabilities(
    classifier: FistulaClassifier, data: FistulaDataModule, part: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of a part's bags ``(B, K)``, of their slices the weights ``(N,)``, and class probabilities ``(N, K)``."""
    features = part_features(classifier.backbone, data, part).to(classifier.device)
    classifier.eval()
    bags = data.bags[part]
    positions = data.positions(part).to(classifier.device)
    found = classifier.pool(features, bags.sizes.tolist(), positions)
    of_bags, weights, of_slices = (values.double().cpu().numpy() for values in found)
    return of_bags, weights, of_slices


def _table(
    data: FistulaDataModule,
    part: str,
    fold: int,
    probabilities: NDArray[np.float64],
    *,
    rows: NDArray[np.int64] | None = None,
    **keys: pl.Expr | pl.Series,
) -> pl.DataFrame:
    """Rows of the manifest (by default those of the part's slices) with their scores; `keys` replace columns."""
    classes, bags = data.cohort.classes, data.bags[part]
    names = ["score"] if len(classes) == 2 else [f"score_{name}" for name in classes]
    scores = probabilities[:, 1:] if len(classes) == 2 else probabilities
    copies = bags.copies if rows is None else np.zeros(len(rows), np.int64)
    numbers = (bags.rows if rows is None else rows).tolist()
    chosen = data.cohort.manifest.select("slice_key", "patient_key", "label")[numbers]
    return chosen.with_columns(
        pl.Series("copy", copies),
        pl.lit(fold, pl.Int64).alias("fold"),
        pl.lit(part).alias("part"),
        *[pl.Series(name, scores[:, column]) for column, name in enumerate(names)],
        **keys,
    ).select("slice_key", "copy", "patient_key", "fold", "part", "label", *names)
