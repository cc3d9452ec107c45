"""What of a slice spoke for its class, laid over the slice in colour."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fistula.explain.cam import saliency
from fistula.learning.data.slices import as_batch
from fistula.predict.predictor import Predictor

STRENGTH = 0.55  # share of the colour where the map is 1
BATCH = 64
RING = (255, 194, 75)  # the colour of an opening in the viewer


@dataclass(frozen=True)
class Overlay:
    """A slice with its map or mark: the row of the prediction's slices, RGB ``(size, size, 3)``, and which of them."""

    row: int
    image: NDArray[np.uint8]
    is_map: bool = True


def heat_maps(
    predictor: Predictor, images: NDArray[np.uint8], targets: NDArray[np.intp]
) -> Iterator[NDArray[np.float32]]:
    """The map of each image ``(C, size, size)`` for its class, mean over the runs, ``(size, size)`` in [0, 1]."""
    for image, target in zip(images, targets, strict=True):
        batch = as_batch(image[None], predictor.runs[0].resize)
        maps = [saliency(run.classifier, batch, target=int(target))[0] for run in predictor.runs]
        mean = np.mean(maps, axis=0)
        yield cv2.resize(mean / max(mean.max(), np.finfo(np.float32).tiny), image.shape[:0:-1]).astype(np.float32)


def coloured(image: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay a map in [0, 1] over a slice, both ``(H, W)``, as RGB ``(H, W, 3)``; where the map is 0, grey stays."""
    levels = np.rint(heat * 255).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    share = (STRENGTH * heat)[..., None]
    return np.rint((1 - share) * image[..., None] + share * colours).astype(np.uint8)


def explained_classes(predictor: Predictor, pixels: NDArray[np.uint8], channels: NDArray[np.int64]) -> NDArray[np.intp]:
    """The class to explain each image for: the positive one of two, the likeliest of more."""
    if len(predictor.classes) == 2 or not len(channels):
        return np.ones(len(channels), np.intp)
    return predictor.probabilities(pixels, channels).mean(axis=0).argmax(axis=1)


def ringed(image: NDArray[np.uint8], place: Mapping[str, Any]) -> NDArray[np.uint8]:
    """A slice ``(H, W)`` as RGB with a small ring about a place of it, and grey as it was elsewhere.

    The ring is broken into four where something is remarked of the place: it is then no finding.
    """
    colour = np.ascontiguousarray(np.repeat(image[..., None], 3, axis=2))
    center, radius = (round(place["grid_col"]), round(place["grid_row"])), max(4, len(image) // 40)
    cv2.circle(colour, center, radius, RING, 1, cv2.LINE_AA)
    if place["remarks"]:  # gaps as long as what stays, up, down, left and right
        rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
        angle = np.degrees(np.arctan2(rows - center[1], columns - center[0])) % 90
        is_gap = np.abs(angle - 45) > 22.5
        colour[is_gap] = image[is_gap][:, None]
    return colour
