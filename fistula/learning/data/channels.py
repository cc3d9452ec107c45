"""Several sequences as the channels of one image: which slices they are, and what is blank because it is not there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from torch import nn

from fistula.cohort.manifest import BESIDE
from fistula.errors import ConfigError, refuse_other
from fistula.learning.adjacent import ADJACENT, channel_rows

SEQUENCES, LATE = "sequences", "late"
OF_SEQUENCES = SEQUENCES, LATE
CHANNELS = {"sum": 1, "replicate": 3, ADJACENT: 3, SEQUENCES: 0, LATE: 1}  # of the first layer; 0: as many as there are


def chosen_sequences(asked: Sequence[str] | None, available: Sequence[str]) -> tuple[str, ...]:
    """The sequences that an image is made of, in the cohort's order.

    Args:
        asked: Some of the cohort's; None takes all.
        available: The cohort's, the first being the grid.

    Raises:
        ConfigError: If the cohort has none, or not those.
    """
    if not available:
        remedy = "Ingest with keep.sequences={t1c: ..., t2: ...}, or use model.channels=sum"
        raise ConfigError("model.channels", "needs a cohort with several sequences", remedy=remedy)
    names = list(available) if asked is None else asked
    if isinstance(names, str) or not names or len(set(names)) < len(names) or not set(names) <= set(available):
        rule = f"must be names out of {', '.join(available)}, each once, or null for all"
        raise ConfigError("model.sequences", rule, found=asked)
    return tuple(name for name in available if name in names)


class Stem(NamedTuple):
    """How images enter a network.

    Attributes:
        names: Of the sequences that are channels, empty for one without a name.
        width: Channels of the network's first layer.
        num_slices: Channels of an image, as `image_rows` gives them.
        is_late: Whether the network looks at each sequence by itself.
    """

    names: tuple[str, ...]
    width: int
    num_slices: int
    is_late: bool = False

    def constants(self, means: Sequence[float], stds: Sequence[float]) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel, from those of three colours in [0, 1]; 0 and 1 of what lacks."""
        if self.width > 1 and not self.names:
            return list(means), list(stds)
        known = min(self.width, max(1, len(self.names)))
        blank = self.width - known
        return [sum(means) / len(means)] * known + [0.0] * blank, [sum(stds) / len(stds)] * known + [1.0] * blank


GREY = Stem((), 1, 1)


def stem_of(channels: str, sequences: Sequence[str] | None, available: Sequence[str]) -> Stem:
    """How images enter a network; arguments as `fistula.learning.backbone.create_backbone` takes them.

    Raises:
        ConfigError: If there is no such way, or the sequences are not the cohort's.
    """
    refuse_other("model.channels", channels, CHANNELS)
    if channels in OF_SEQUENCES:
        names = chosen_sequences(sequences, available)
        width = len(names) + sum(name != available[0] for name in names)
        return Stem(names, CHANNELS[channels] or width, width, is_late=channels == LATE)
    if sequences is not None:
        raise ConfigError("model.sequences", f"is for model.channels={' or '.join(OF_SEQUENCES)}", found=sequences)
    return Stem((), CHANNELS[channels], 3 if channels == ADJACENT else 1)


def may_lack(names: Sequence[str], num_slices: int) -> Sequence[str]:
    """Those of the sequences of an image that may lack: all but the one on whose grid the others lie.

    Args:
        names: Of the sequences, that one first if it is among them.
        num_slices: Channels of the image: one a sequence, and one more for each that may lack.
    """
    return names[2 * len(names) - num_slices :]


def image_rows(slices: pl.DataFrame, num_slices: int, names: Sequence[str] = ()) -> NDArray[np.int64]:
    """Rows of the slices that are the channels of each slice's image, ``(N, C)``.

    Without names as `channel_rows`. With names one channel a sequence, in their order, whatever the order of the rows;
    then one for each that may lack: constant, 0 where the sequence is there and 255 where it is not, and between where
    it reaches a part of the slice. A row from N on stands for a constant image of value ``row - N``, so that what lacks
    is N, blank.

    Args:
        slices: All N, columns as in a manifest.
        num_slices: As `channel_rows` and `may_lack` take it.
        names: Of the sequences that an image is made of.
    """
    if not names:
        return channel_rows(slices, num_slices)
    slices = slices.with_columns(pl.lit(None, BESIDE[name]).alias(name) for name in {*BESIDE} - {*slices.columns})
    total, lacking = len(slices), may_lack(names, num_slices)
    known = slices.select(
        "sequence",
        pl.int_range(pl.len()).alias("row"),
        key=pl.coalesce("grid_key", "slice_key"),
        covered=pl.col("covered").fill_null(1.0),
    )
    rows, blanks = [], []
    for name in names:
        of = known.filter(pl.col("sequence") == name).drop("sequence")
        found = known.select("key").join(of, on="key", how="left", maintain_order="left")
        is_there = found["covered"].fill_null(0.0).to_numpy()
        rows.append(np.where(is_there > 0, found["row"].fill_null(0).to_numpy(), total))
        if name in lacking:
            blanks.append(total + np.rint(255 * (1 - is_there)).astype(np.int64))
    return np.stack([*rows, *blanks], axis=1).astype(np.int64)


@dataclass(frozen=True)
class WithConstants:
    """Slices, and behind them constant images: row ``count + v`` has the value v everywhere.

    Attributes:
        pixels: Slices by row, or an array of them.
        count: How many.
        size: Side.
    """

    pixels: Any
    count: int
    size: int

    def __len__(self) -> int:
        return self.count

    @property
    def shape(self) -> tuple[int, int, int]:
        """As that of an array of the slices."""
        return self.count, self.size, self.size

    def __getitem__(self, rows: Any) -> NDArray[np.uint8]:
        """One slice ``(size, size)``, or those of an array of rows ``(..., size, size)``."""
        if np.ndim(rows) == 0 and not isinstance(rows, slice):
            if rows < self.count:
                return np.asarray(self.pixels[rows])
            return np.full((self.size, self.size), rows - self.count, np.uint8)
        rows = np.arange(self.count)[rows] if isinstance(rows, slice) else np.asarray(rows)
        found = np.empty((*rows.shape, self.size, self.size), np.uint8)
        is_slice = rows < self.count
        found[is_slice] = self.pixels[rows[is_slice]]
        found[~is_slice] = (rows[~is_slice] - self.count)[:, None, None]
        return found


def with_constants(pixels: Any, names: Sequence[str], *, count: int, size: int) -> Any:
    """Slices with constant images behind them where images are made of sequences, else as they are."""
    return WithConstants(pixels, count, size) if names else pixels


def channels_of(backbone: Any) -> dict[str, list[str]]:
    """What the channels of an image are, in words, where they are sequences; else nothing."""
    names = backbone.sequences
    said = [
        f"{name} lacks: 255 where it is absent and its own channel is 0, else 0"
        for name in may_lack(names, backbone.num_slices)
    ]
    return {"channels": [*names, *said]} if names else {}


def widen_stem(network: nn.Module, stem: Stem) -> None:
    """Let a network for one grey channel take one a sequence, and further ones that say what lacks.

    Each sequence gets the grey kernel divided by their number: where all show the same picture, the network answers as
    it would to that picture alone. Each further channel gets the same; where nothing lacks it is 0, and plays no part.

    Args:
        network: Changed in place.
        stem: What it is to take.

    Raises:
        ConfigError: If its first layer is no convolution of one channel.
    """
    config: Any = network.pretrained_cfg
    names = config.get("first_conv") or ()
    for name in [names] if isinstance(names, str) else names:
        layer = network.get_submodule(name)
        if not isinstance(layer, nn.Conv2d) or layer.weight.shape[1] != 1:
            break
        layer.weight = nn.Parameter(layer.weight.detach().repeat(1, stem.width, 1, 1) / len(stem.names))
        layer.in_channels = stem.width
    else:
        if names:
            return
    rule = "has a first layer that cannot take several sequences"
    raise ConfigError(f"model.architecture={config['architecture']}", rule, remedy="Try another: docs/networks.md")
