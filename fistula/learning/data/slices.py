"""Slices of a cohort as training sees them: resized, augmented, or as the features of a frozen network."""

from dataclasses import dataclass
from typing import Any, Protocol, TypedDict, cast, final

import albumentations
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from fistula.errors import DataError

# Its own threads ignore the run's share of cores, and do not survive the fork of a process that loads.
cv2.setNumThreads(0)

AT_ONCE = 1024  # slices on their way to a card


@final
class Batch(TypedDict, total=False):
    """Slices on their way to the network; where several make a bag, ``sizes`` says how many are of each.

    Images uint8 ``(N, C, S, S)``, or features of a frozen network ``(N, F)``; labels of the bags ``(B,)``, which are
    the slices where there are no sizes. With sizes, positions in mm ``(N,)``, and labels of the slices ``(N,)``, -1
    where there is none. Covariates of the bags ``(B, C)`` where there are any, NaN where one is not known. For a head
    that finds places, points ``(N, M, 2)`` as row and column in the image, NaN where there is none. Of images that are
    `mixing.Mixed`, the label of the ``other`` one ``(N,)``, and the ``share`` of the one whose label it is.
    """

    image: Tensor
    features: Tensor
    label: Tensor
    sizes: list[int]
    position: Tensor
    slice_label: Tensor
    covariates: Tensor
    points: Tensor
    other: Tensor
    share: float


class Images(Protocol):
    """Slices by row of the manifest, or by an array of rows, uint8 ``(..., S, S)``: an array, or what makes them."""

    def __getitem__(self, rows: Any) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class Resize:
    """Scale square slices to a network's input: areas are averaged to shrink, pixels interpolated to grow.

    Raises:
        DataError: If there is no such interpolation.
    """

    image_size: int  # side of the input, pixels
    # That the network's weights were trained with, by its name in timm and Pillow, such as ``bicubic``.
    interpolation: str

    def __post_init__(self) -> None:
        names = [name.lower() for name in Image.Resampling.__members__]
        if self.interpolation not in names:
            raise DataError("interpolation", f"must be one of {', '.join(names)}", found=self.interpolation)

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Map a slice ``(H, H)`` to ``(S, S)``."""
        shape = self.image_size, self.image_size
        if image.shape == shape:
            return image
        if self.image_size < image.shape[0]:
            return np.asarray(cv2.resize(image, shape, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        return np.array(Image.fromarray(image).resize(shape, Image.Resampling[self.interpolation.upper()]))


def as_batch(images: NDArray[np.uint8], resize: Resize) -> Tensor:
    """Images ``(N, C, H, H)`` as a classifier takes them: ``(N, C, S, S)``, resized as in training."""
    resized = [np.stack([resize(np.asarray(channel)) for channel in image]) for image in images]
    return torch.from_numpy(np.stack(resized))


def draw(
    pipeline: albumentations.Compose, image: NDArray[np.uint8], *, seed: tuple[int, ...], **beside: Any
) -> dict[str, Any]:
    """Draw one augmented image, under ``image``, with whatever else the pipeline says of it or changes `beside` it."""
    # albumentations keeps its own generators and ignores every global seed.
    pipeline.set_random_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
    return pipeline(image=image, **beside)


class SliceDataset(Dataset):
    """Some rows of a cohort, as batches.

    A sample is asked for by ``epoch * len(self) + position``, so that its random state follows from the seed, the
    epoch and its row alone, whichever worker draws it and whether or not training was interrupted before.

    Args:
        pixels: Slices of the whole cohort by row, uint8 ``(S, S)``, at the network's size.
        labels: Of the whole cohort, ``(N,)``.
        channels: Rows of the slices that each slice's image is made of, ``(N, C)``.
        rows: The ones to serve, ``(M,)``.
        copies: For each of them 0 for the slice itself, or the number of a copy made beforehand.
        seed: Of what it draws anew each epoch; None where it makes the copies, the same for every epoch and run, and
            leaves the slices themselves as they are.
        points: Of the whole cohort, rows and columns in `pixels`, ``(N, M, 2)``; they move with what moves the image,
            whose pipelines are then to be those of `points.following`. None serves none.
    """

    def __init__(
        self,
        pixels: Images,
        labels: NDArray[np.int64],
        channels: NDArray[np.int64],
        rows: NDArray[np.int64],
        copies: NDArray[np.int64],
        *,
        augmentation: albumentations.Compose | None,
        seed: int | None,
        points: NDArray[np.float32] | None = None,
    ) -> None:
        self.pixels, self.labels, self.channels, self.rows, self.copies = pixels, labels, channels, rows, copies
        self.augmentation, self.seed, self.points = augmentation, seed, points

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, draw: int) -> NDArray[np.uint8]:
        """Image ``(C, S, S)`` for one draw: what is random is the same for all its channels."""
        return self._image(draw)[0]

    def __getitems__(self, draws: list[int]) -> Batch:
        """Fetch a whole batch: PyTorch's loader calls this instead of collating sample by sample."""
        rows = self.rows[np.asarray(draws) % len(self)]
        label = torch.from_numpy(self.labels[rows])
        if self.augmentation is None:
            whole = np.asarray(self.pixels[self.channels[rows]])
            batch: Batch = {"image": torch.from_numpy(whole), "label": label}
            return batch if self.points is None else batch | {"points": torch.from_numpy(self.points[rows])}
        images, points = zip(*map(self._image, draws), strict=True)
        batch = {"image": torch.from_numpy(np.stack(images)), "label": label}
        return batch if self.points is None else batch | {"points": torch.from_numpy(np.stack(points))}

    def _image(self, draw: int) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        epoch, position = divmod(draw, len(self))
        row, copy = self.rows[position], self.copies[position]
        drawn = [self._drawn(channel, epoch, row, copy) for channel in self.channels[row]]
        return np.stack([image for image, _ in drawn]), drawn[0][1]

    def _drawn(
        self, channel: int, epoch: int, row: int, copy: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        image, points = np.asarray(self.pixels[channel]), None if self.points is None else self.points[row]
        # A constant says what lacks, and no augmentation has a part in it; the points move all the same.
        constant = image if channel >= len(self.labels) else None
        is_still = self.augmentation is None or (self.seed is None and not copy)
        if is_still or (constant is not None and points is None):
            return image, points
        seed = (copy, row) if self.seed is None else (self.seed, epoch, row, copy)
        image, points = _moved(self.augmentation, image, points, seed=seed)
        return (image if constant is None else constant), points


def _moved(
    pipeline: albumentations.Compose,
    image: NDArray[np.uint8],
    points: NDArray[np.float32] | None,
    *,
    seed: tuple[int, ...],
) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
    """One augmented image, with the points ``(M, 2)`` where it has put them; NaN where they have left it."""
    if points is None or not pipeline.transforms:
        return draw(pipeline, image, seed=seed)["image"], points
    # What has no place stands somewhere meanwhile: not every transform passes NaN on.
    found = draw(pipeline, image, seed=seed, keypoints=np.nan_to_num(points[:, ::-1]))
    moved = np.asarray(found["keypoints"], np.float32).reshape(-1, 2)[:, ::-1]
    height, width = found["image"].shape[:2]
    ends = np.array([height - 0.5, width - 0.5])
    is_inside = np.all((moved >= -0.5) & (moved < ends) & np.isfinite(points), axis=1)
    return found["image"], np.where(is_inside[:, None], moved, np.float32(np.nan))


class KeptDataset(Dataset):
    """Slices that are the same in every epoch, as tensors that are kept; asked for as a `SliceDataset` is.

    `whole` is what batches are made of, by the names of a `Batch`, each ``(M, ...)``: features of a frozen network, or
    images on a card.
    """

    def __init__(self, **whole: Tensor) -> None:
        self.whole = whole

    def __len__(self) -> int:
        return len(self.whole["label"])

    def __getitems__(self, draws: list[int]) -> Batch:
        """Fetch a whole batch: all that goes to a card are its numbers."""
        positions = (torch.tensor(draws) % len(self)).to(self.whole["label"].device, non_blocking=True)
        return cast(Batch, {name: values[positions] for name, values in self.whole.items()})


def on_card(slices: SliceDataset, device: torch.device) -> KeptDataset:
    """Slices of which none is drawn anew, on a card as a whole; jittered copies are made once."""
    every = range(len(slices))
    some: list[Any] = [slices.__getitems__(list(every[at : at + AT_ONCE])) for at in every[::AT_ONCE]]
    return KeptDataset(**{name: torch.cat([part[name].to(device) for part in some]) for name in some[0]})
