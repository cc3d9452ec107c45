"""Which slices an epoch sees, and in what order: decided by the seed and the epoch's number alone."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from fistula.errors import ConfigError

# A slice that an epoch draws again is drawn as if in an epoch of its own, so far away that no training reaches it.
REPEAT = 2**24


class EpochSampler(Sampler[int], ABC):
    """A sampler whose draws follow from the number of the epoch."""

    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Tell the epoch; Lightning calls this before each."""
        self.epoch = epoch

    @abstractmethod
    def __len__(self) -> int: ...


class EpochShuffle(EpochSampler):
    """Every slice once, in a new order each epoch.

    `slices` is the training set, one row a slice, in the dataset's order.
    """

    def __init__(self, slices: pl.DataFrame, *, seed: int) -> None:
        self.num_samples, self.seed = len(slices), seed

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.num_samples)
        return iter((self.epoch * self.num_samples + order).tolist())


class Balanced(EpochSampler):
    """As many draws as there are slices, with replacement, so that every group is drawn as often as any other.

    A slice that is drawn twice in an epoch is augmented anew.

    Args:
        slices: The training set, one row a slice, in the dataset's order.
        by: Columns that form the groups: ``[label]``, ``[patient_key]``, or both, one within the other: classes
            evenly, the patients of a class evenly, the slices of a patient evenly.
        seed: Of the draws.

    Raises:
        ConfigError: If the manifest has no such column.
    """

    def __init__(self, slices: pl.DataFrame, *, by: Sequence[str], seed: int) -> None:
        unknown = [column for column in by if column not in slices.columns]
        if unknown or not by:
            raise ConfigError("sampler.by", "must name columns", found=list(by), remedy="For example [label]")
        self.chance, self.seed = chances(slices, by), seed

    def __len__(self) -> int:
        return len(self.chance)

    def __iter__(self) -> Iterator[int]:
        size = len(self.chance)
        drawn = np.random.default_rng((self.seed, self.epoch)).choice(size, size, p=self.chance)
        repeat = pl.DataFrame({"slice": drawn}).select(pl.int_range(pl.len()).over("slice")).to_series().to_numpy()
        return iter(((self.epoch + REPEAT * repeat) * size + drawn).tolist())


class ProcessSampler(EpochSampler):
    """What one of several processes has of an epoch: every `world`-th draw, as many as each of the others.

    The last draws of the whole are left out where they do not go round.
    """

    def __init__(self, whole: EpochSampler, *, rank: int, world: int) -> None:
        self.whole, self.rank, self.world = whole, rank, world

    def set_epoch(self, epoch: int) -> None:
        """Tell all of it the epoch."""
        super().set_epoch(epoch)
        self.whole.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.whole) // self.world

    def __iter__(self) -> Iterator[int]:
        return islice(self.whole, self.rank, len(self) * self.world, self.world)


class AheadLoader(DataLoader):
    """A loader whose processes begin with the next epoch before the last step of this one, and its validation.

    Each process makes a batch of its own: those of a card would else wait for the whole first one in every epoch.
    `epochs` are those of the whole training, behind which none is begun; None where nobody knows.
    """

    _begun: tuple[int, Iterator[Any]] | None = None  # an epoch, and its batches

    def __init__(self, *given: Any, epochs: int | None = None, **settings: Any) -> None:
        self.epochs = epochs
        super().__init__(*given, **settings)

    def __iter__(self) -> Any:
        if not self.persistent_workers or not isinstance(self.sampler, EpochSampler):  # Lightning may put in another
            return super().__iter__()
        epoch, begun = self.sampler.epoch, self._begun
        self._begun = None
        batches = begun[1] if begun and begun[0] == epoch else super().__iter__()
        is_last = self.epochs is not None and epoch + 1 >= self.epochs
        return batches if is_last else self._and_begin(epoch + 1, batches, self.sampler)

    def _and_begin(self, epoch: int, batches: Iterator[Any], sampler: EpochSampler) -> Iterator[Any]:
        yield from islice(batches, len(self) - 1)
        last = next(batches)
        sampler.set_epoch(epoch)
        self._begun = epoch, super().__iter__()
        yield last


def chances(slices: pl.DataFrame, by: Sequence[str]) -> NDArray[np.float64]:
    """Chance ``(M,)`` of each slice at a draw; sums to 1.

    Example:
        >>> chances(pl.DataFrame({"label": [0, 0, 0, 1]}), ["label"]).round(3).tolist()
        [0.167, 0.167, 0.167, 0.5]
    """
    chance = pl.lit(1.0)
    for depth, column in enumerate(by):
        groups = pl.col(column).n_unique()
        chance = chance / (groups.over(list(by[:depth])) if depth else groups)
    chance = chance / pl.len().over(list(by))
    values = slices.select(chance.alias("chance")).to_series().to_numpy()
    return values / values.sum()
