"""The channels of an image: one slice, it and its neighbours, or several sequences, and what is blank as it lacks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from torch import nn

from fistula.cohort.manifest import BESIDE
from fistula.cohort.order import unbroken
from fistula.errors import ConfigError, DataError, refuse_other

ADJACENT, SEQUENCES, LATE = "adjacent", "sequences", "late"
OF_SEQUENCES = SEQUENCES, LATE
CHANNELS = {"sum": 1, "replicate": 3, ADJACENT: 3, SEQUENCES: 0, LATE: 1}  # of the first layer; 0: as many as there are


def chosen_sequences(asked: Sequence[str] | None, available: Sequence[str]) -> tuple[str, ...]:
    """The sequences that an image is made of, in the cohort's order: those asked for, or with None all available.

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
    """How images enter a network."""

    names: tuple[str, ...]  # of the sequences that are channels, empty for one without a name
    width: int  # channels of the network's first layer
    num_slices: int  # channels of an image, as `image_rows` gives them
    is_late: bool = False  # whether the network looks at each sequence by itself

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
    """Those of the sequences of an image that may lack: all but that on whose grid the others lie, the first if there.

    An image has one channel a sequence, and one more for each that may lack.
    """
    return names[2 * len(names) - num_slices :]


def check_positions(slices: pl.DataFrame) -> None:
    """Raise DataError unless every slice has a position, without which it has no neighbours."""
    unplaced = slices["position_mm"].null_count()
    if unplaced:
        rule, found = "needs the position of every slice", f"{unplaced} of {len(slices)} without one"
        remedy = "Use model.channels=sum, or images whose headers say where they lie"
        raise DataError(f"model.channels={ADJACENT}", rule, found=found, remedy=remedy)


def channel_rows(slices: pl.DataFrame, num_slices: int) -> NDArray[np.int64]:
    """Rows of the slices that are the channels of each slice's image.

    Neighbours are those along the normal inside the same volume of the same series; at an end, and where a slice is
    missing, the edge slice is repeated. Gives ``(N, num_slices)``, by position, the slice itself in the middle. The N
    slices have columns of a manifest: ``slice_key series_key position_mm``, ``volume`` if there; the number of channels
    is odd, and 1 is the slice alone.

    Raises:
        DataError: If neighbours are wanted and a slice has no position.

    Example:
        >>> positions = {"slice_key": ["a", "b", "c"], "series_key": ["s"] * 3, "position_mm": [6.0, 0.0, 3.0]}
        >>> channel_rows(pl.DataFrame(positions), 3).tolist()
        [[2, 0, 0], [1, 1, 2], [1, 2, 0]]
    """
    own = np.arange(len(slices))
    if num_slices == 1:
        return own[:, None]
    check_positions(slices)
    reach = np.arange(num_slices) - num_slices // 2
    rows = np.empty((len(slices), num_slices), np.int64)
    volume = [name for name in ("series_key", "volume") if name in slices.columns]
    keys = slices.select(*volume, "position_mm", "slice_key", pl.Series("number", own))
    for _, group in keys.group_by(volume):
        group = group.sort("position_mm", "slice_key")
        ordered, run = group["number"].to_numpy(), unbroken(group["position_mm"].to_numpy())
        first, end = (np.searchsorted(run, run, side)[:, None] for side in ("left", "right"))
        rows[ordered] = ordered[(np.arange(len(ordered))[:, None] + reach).clip(first, end - 1)]
    return rows


def image_rows(slices: pl.DataFrame, num_slices: int, names: Sequence[str] = ()) -> NDArray[np.int64]:
    """Rows of the slices that are the channels of each slice's image, ``(N, C)``.

    Without names as `channel_rows`. With names one channel a sequence, in their order, whatever the order of the rows;
    then one for each that may lack: constant, 0 where the sequence is there and 255 where it is not, and between where
    it reaches a part of the slice. A row from N on stands for a constant image of value ``row - N``, so that what lacks
    is N, blank.
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
    """Slices by row, and behind all N of them constant images: row ``N + v`` has the value v everywhere."""

    pixels: Any

    @property
    def shape(self) -> tuple[int, int, int]:
        """As that of an array of the slices."""
        return self.pixels.shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[np.uint8]:
        """One slice ``(size, size)``, or those of an array of rows ``(..., size, size)``."""
        count, size = len(self), self.shape[1]
        if np.ndim(rows) == 0 and not isinstance(rows, slice):
            return np.asarray(self.pixels[rows]) if rows < count else np.full((size, size), rows - count, np.uint8)
        rows = np.arange(count)[rows] if isinstance(rows, slice) else np.asarray(rows)
        found = np.empty((*rows.shape, size, size), np.uint8)
        is_slice = rows < count
        found[is_slice] = self.pixels[rows[is_slice]]
        found[~is_slice] = (rows[~is_slice] - count)[:, None, None]
        return found


def with_constants(pixels: Any, names: Sequence[str]) -> Any:
    """Slices with constant images behind them where images are made of sequences, else as they are."""
    return WithConstants(pixels) if names else pixels


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
