"""A row of random changes, each drawn on its own; points that move with the image, and what would mirror it."""

import copy
import random
import warnings
from collections.abc import Sequence
from typing import Any

import albumentations
import numpy as np
from numpy.typing import NDArray

from fistula.errors import ConfigError

DRAWS = 16  # of each transform: one that mirrors half of the time is missed once in 65,536
CORNER = np.array([[4.0, 4.0], [10.0, 5.0], [5.0, 11.0]])  # three points that go round one way


class Pipeline(albumentations.Compose):
    """albumentations' pipeline, but one stream of random numbers runs through all its transforms.

    albumentations seeds every transform with the same number: then their chances and strengths go together, and with
    five transforms of chance one half, half of the images have all of them and half have none.

    Raises:
        ConfigError: If a transform is none of albumentations'.
    """

    def __init__(self, transforms: Sequence[Any], **settings: Any) -> None:
        kinds = albumentations.BasicTransform, albumentations.BaseCompose
        if wrong := {type(one).__name__ for one in transforms if not isinstance(one, kinds)}:
            rule = "must be transforms of albumentations, each with a _target_ of its own"
            raise ConfigError("augmentation.transforms", rule, found=", ".join(sorted(wrong)))
        super().__init__(transforms, **settings)

    def set_random_seed(self, seed: int | None) -> None:
        """Begin the stream anew."""
        self.seed = seed
        self.set_random_state(np.random.default_rng(seed), random.Random(seed))  # noqa: S311 (draws, no secret)


def following(pipeline: albumentations.Compose) -> albumentations.Compose:
    """The pipeline, taking keypoints along as column and row, those that leave the image included."""
    kind = Pipeline if isinstance(pipeline, Pipeline) else albumentations.Compose
    params = albumentations.KeypointParams(format="xy", remove_invisible=False)
    with warnings.catch_warnings(action="ignore"):  # of a pipeline that moves nothing
        return kind(pipeline.transforms, keypoint_params=params, seed=pipeline.seed)


def refuse_mirrors(pipeline: albumentations.Compose, why: str, *, has_sides: bool) -> None:
    """Refuse a pipeline that may give a mirror image; what can never be drawn of it does not count.

    Says `why` that would be wrong. Where a class names a side, half a turn swaps it as well; a clock turns with its
    points.

    Raises:
        ConfigError: If a transform of it mirrors.
    """
    for transform in _leaves(pipeline):
        certain = copy.deepcopy(transform)
        certain.p = 1.0
        params = albumentations.KeypointParams(format="xy", remove_invisible=False)
        alone = albumentations.Compose([certain], keypoint_params=params, seed=0)
        for _ in range(DRAWS):
            drawn = alone(image=np.zeros((16, 16), np.uint8), keypoints=CORNER)["keypoints"]
            name, moved = type(transform).__name__, np.asarray(drawn)
            if _turn(moved) < 0:
                remedy = "Use augmentation=mr, or the same without what mirrors (its p at 0)"
                raise ConfigError("augmentation", f"must not mirror, because {why}", found=name, remedy=remedy)
            if has_sides and moved[1, 0] < moved[0, 0]:
                remedy = "Limit it to less than a quarter turn, or leave it out (its p at 0)"
                raise ConfigError(
                    "augmentation", f"must not bring left to right, because {why}", found=name, remedy=remedy
                )


def _leaves(pipeline: Any) -> list[Any]:
    """What a pipeline may apply, in whatever it is contained."""
    if getattr(pipeline, "p", 1.0) == 0:
        return []
    inner = getattr(pipeline, "transforms", None)
    return [pipeline] if inner is None else [leaf for one in inner for leaf in _leaves(one)]


def _turn(points: NDArray[np.float64]) -> float:
    """Twice the signed area of a triangle: below 0 where its corners go round the other way than `CORNER`."""
    (ax, ay), (bx, by), (cx, cy) = points[:, :2]
    return float((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
