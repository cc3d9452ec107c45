"""Do a classifier's maps point at the finding? And does what it learned make the maps?"""

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from fistula.evidence.places.distances import distances_mm, share_within
from fistula.explain.cam import saliency
from fistula.learning.classifier import FistulaClassifier

AIR = 0.1  # of a slice's brightest pixel, up to which one is no body
DESTROYED = 0.5  # rank correlation with the maps of a random network below which learning made the maps


def evaluate(
    classifier: FistulaClassifier,
    images: Tensor,
    openings: NDArray[np.float64],
    patients: NDArray,
    *,
    guess: NDArray[np.float64],
    pixel_mm: float,
    tolerance_mm: float,
    method: str,
    seed: int = 0,
) -> dict[str, Any]:
    """Hold the maps of positive slices against where the openings are.

    Args:
        classifier: In evaluation mode; the positive class is its second.
        images: As it takes them, ``(N, C, S, S)``, N at least 1.
        openings: Row and column in the pixels of `images`, ``(N, 2)``.
        patients: Whom each is of, ``(N,)``.
        guess: Where the openings that it learned from are on average, ``(2,)``: what pointing at one place achieves.
        pixel_mm: Distance of pixels in `images`.
        tolerance_mm: How far from the opening a peak still hits it.
        method: One of `fistula.explain.cam.METHODS`.
        seed: Of the random network.

    Returns:
        ``maps``: the classifier's; ``mean_opening``: pointing at `guess` in every slice; ``random_point``: share of
        hits and distance to expect of a point drawn anywhere in the body; ``random_weights``: the same network with
        random weights; ``similarity``: mean rank correlation of its maps with the classifier's, None where no slice has
        both; and ``learned``: whether that is low enough to say that learning made the maps, as it is where random
        weights give no map at all; None where the classifier gives none.

    Source:
        Pointing game: Zhang et al. (2018), Int J Comput Vis 126, 1084-1102. Randomised weights: Adebayo et al. (2018),
        Sanity checks for saliency maps, NeurIPS.
    """
    maps = saliency(classifier, images, target=1, method=method)
    random_maps = saliency(randomised(classifier, seed=seed), images, target=1, method=method)

    def judged(points: NDArray[np.float64]) -> dict[str, Any]:
        return point(points, openings, patients, pixel_mm=pixel_mm, tolerance_mm=tolerance_mm)

    pairs = [(ours, theirs) for ours, theirs in zip(maps, random_maps, strict=True) if np.ptp(ours) and np.ptp(theirs)]
    similarity = float(np.mean([spearmanr(a.ravel(), b.ravel()).statistic for a, b in pairs])) if pairs else None
    return {
        "maps": judged(peaks(maps)),
        "mean_opening": judged(np.tile(guess, (len(maps), 1))),
        "random_point": random_point(images, openings, pixel_mm=pixel_mm, tolerance_mm=tolerance_mm),
        "random_weights": judged(peaks(random_maps)),
        "similarity": similarity,
        "learned": None if not maps.any() else similarity is None or abs(similarity) < DESTROYED,
        "tolerance_mm": tolerance_mm,
    }


def peaks(maps: NDArray[np.float32]) -> NDArray[np.float64]:
    """Row and column of each map's highest place, the middle of those that share it, ``(N, 2)``; NaN where it is 0."""
    points = np.full((len(maps), 2), np.nan)
    for index, values in enumerate(maps):
        if values.max() > 0:
            points[index] = np.argwhere(values >= values.max()).mean(axis=0)
    return points


def point(
    points: NDArray[np.float64],
    openings: NDArray[np.float64],
    patients: NDArray,
    *,
    pixel_mm: float,
    tolerance_mm: float,
) -> dict[str, Any]:
    """Compare points with openings, both ``(N, 2)`` in pixels; a point that is NaN misses.

    Returns:
        ``slices``: how many; ``without_map``: those without a point, which have no distance; ``hits``: share within the
        tolerance, with ``hits_low`` and ``hits_high``, slices of a patient being alike; and the mean ``distance_mm``.
        What is undefined is None.
    """
    distances = distances_mm(points, openings, pixel_mm=pixel_mm)
    is_there = np.isfinite(distances)
    share = share_within(distances, patients, limit=tolerance_mm)
    return {
        "slices": len(points),
        "without_map": int((~is_there).sum()),
        "hits": share.value,
        "hits_low": share.low if share.has_interval else None,
        "hits_high": share.high if share.has_interval else None,
        "distance_mm": float(distances[is_there].mean()) if is_there.any() else None,
    }


def random_point(
    images: Tensor, openings: NDArray[np.float64], *, pixel_mm: float, tolerance_mm: float
) -> dict[str, float]:
    """What a point drawn evenly from the body, which is brighter than air, would come to; an empty slice is all body.

    Gives ``hits`` and ``distance_mm``, expected, mean over the slices.
    """
    shares, means = [], []
    for image, opening in zip(images[:, 0].numpy(), openings, strict=True):
        places = np.argwhere(image >= AIR * image.max())
        distances = np.hypot(*(places - opening).T) * pixel_mm
        shares.append((distances <= tolerance_mm).mean())
        means.append(distances.mean())
    return {"hits": float(np.mean(shares)), "distance_mm": float(np.mean(means))}


def randomised(classifier: FistulaClassifier, *, seed: int) -> FistulaClassifier:
    """A copy whose every layer is drawn anew."""
    fresh = copy.deepcopy(classifier)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in fresh.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    return fresh.eval()
