"""What a configuration has built, tried once before training: a mistake is found now, not after the first epoch."""

import copy
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import albumentations
import numpy as np
import torch
from torch import nn

from fistula.errors import ConfigError
from fistula.learning.building.making import one_line

DRAWS = 8
WITHOUT_EFFECT = ".*(not applicable to grayscale|already gray)"  # what albumentations would only warn of, at each image


def try_pipeline(pipeline: Any, size: int) -> None:
    """Draw images of a pipeline, by its own chances and with every transform at work.

    Args:
        pipeline: Of the group `augmentation`.
        size: Side of the images, pixels.

    Raises:
        ConfigError: If it is no pipeline, or changes the dtype, the shape or the range of an image: training would see
            other pixels than validation.
    """
    if not isinstance(pipeline, albumentations.Compose):
        raise ConfigError("augmentation", "must be a pipeline of albumentations", found=type(pipeline).__name__)
    image = np.random.default_rng(0).integers(0, 256, (size, size), dtype=np.uint8)
    certain = copy.deepcopy(pipeline)
    for transform in _all_of(certain):
        transform.p = 1.0
    for one in (certain, copy.deepcopy(pipeline)):
        one.set_random_seed(0)
        for _ in range(DRAWS if one.transforms else 0):
            with warnings.catch_warnings():
                warnings.filterwarnings("error", message=WITHOUT_EFFECT)
                drawn = one_line("augmentation", partial(one, image=image.copy()))["image"]
            if (drawn.dtype, drawn.shape) != (image.dtype, image.shape):
                rule = f"must keep dtype and shape of an image, uint8 {image.shape}"
                remedy = "Remove transforms that crop, pad or normalize: the network does that itself"
                raise ConfigError("augmentation", rule, found=f"{drawn.dtype} {drawn.shape}", remedy=remedy)


def try_training(classifier: Any, choose_threshold: Callable[..., Any], *, num_classes: int) -> None:
    """Take one step of two weights as a `FistulaClassifier` would, and choose one threshold.

    Raises:
        ConfigError: If the loss gives no number, or one of them cannot be called.
    """
    weight = nn.Parameter(torch.zeros(num_classes, 2))
    labels = torch.tensor([0, 1])
    value = one_line("loss", lambda: classifier.loss((torch.eye(2) @ weight.T), labels))
    if not (isinstance(value, torch.Tensor) and value.ndim == 0 and value.isfinite() and value.requires_grad):
        raise ConfigError("loss", "must give one finite number for a batch", found=value)
    made = one_line("optimizer", lambda: classifier.make_optimizer([{"params": [weight], "starts": 0.0}]))
    one_line("schedule", lambda: classifier.make_schedule(made, num_steps=10))
    value.backward()
    one_line("optimizer", made.step)
    if num_classes == 2:
        one_line("operating_point", lambda: choose_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])))


def _all_of(pipeline: Any) -> list[Any]:
    """A pipeline's transforms, those inside others included."""
    return [one for each in getattr(pipeline, "transforms", ()) for one in [each, *_all_of(each)]]
