"""Scores of slices: every slice once, in the manifest's order, in float64."""

import numpy as np
import polars as pl
import torch

from fistula.learning.classifier import FistulaClassifier
from fistula.learning.datamodule import FistulaDataModule

SCORED_PARTS = ("val", "test")


def score_parts(classifier: FistulaClassifier, data: FistulaDataModule, *, fold: int) -> pl.DataFrame:
    """Score the val and test slices of a fold.

    Returns:
        Columns ``slice_key copy patient_key fold part label`` and, with two classes, ``score`` (the probability of the
        positive one), with more ``score_CLASS`` for each; one row a slice
        (or jittered copy of one, where the split was drawn after copies were made: ``copy`` above 0).
    """
    classes = data.cohort.classes
    names = ["score"] if len(classes) == 2 else [f"score_{name}" for name in classes]
    tables = []
    for part in SCORED_PARTS:
        rows, copies = data.parts[part]
        probabilities = class_probabilities(classifier, data, part)
        scores = probabilities[:, 1:] if len(classes) == 2 else probabilities
        tables.append(
            data.cohort.manifest.select("slice_key", "patient_key", "label")[rows].with_columns(
                pl.Series("copy", copies),
                pl.lit(fold, pl.Int64).alias("fold"),
                pl.lit(part).alias("part"),
                *[pl.Series(name, scores[:, column]) for column, name in enumerate(names)],
            )
        )
    return pl.concat(tables).select("slice_key", "copy", "patient_key", "fold", "part", "label", *names)


@torch.inference_mode()
def class_probabilities(classifier: FistulaClassifier, data: FistulaDataModule, part: str) -> np.ndarray:
    """Class probabilities of a part's slices, float64 ``(M, K)``, in the manifest's order, where the classifier lies.

    A loop of our own, because Lightning's would pad the part and score slices twice on several processes.
    """
    classifier.eval()
    device = classifier.device
    images = (batch["image"].to(device, non_blocking=True) for batch in data.part_dataloader(part))
    return torch.cat([classifier(image) for image in images]).double().cpu().numpy()
