"""A row of random changes, each drawn on its own."""

import random

import albumentations
import numpy as np


class Pipeline(albumentations.Compose):
    """albumentations' pipeline, but one stream of random numbers runs through all its transforms.

    albumentations seeds every transform with the same number: then their chances and strengths go together, and with
    five transforms of chance one half, half of the images have all of them and half have none.
    """

    def set_random_seed(self, seed: int | None) -> None:
        """Begin the stream anew."""
        self.seed = seed
        self.set_random_state(np.random.default_rng(seed), random.Random(seed))  # noqa: S311 (draws, no secret)
