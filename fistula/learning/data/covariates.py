"""What else is known of a patient (age, sex, further numbers): standardised, and joined after the pooling."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from fistula.cohort.manifest import COVARIATE, OF_HEADERS
from fistula.errors import ConfigError, DataError
from fistula.learning.data.slices import Batch


class Covariates(nn.Module):
    """What covariates ``(B, C)`` add to the logits of a bag ``(B, K)``: the same as if they stood beside its features.

    A linear layer of each value, standardised, and of whether it is missing; a missing value is at the mean. The layer
    starts at 0, and so nothing is added for a lack that training never saw.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, names: Sequence[str], *, num_classes: int) -> None:
        super().__init__()
        self.names = list(names)
        self.register_buffer("mean", torch.zeros(len(names)))
        self.register_buffer("std", torch.ones(len(names)))
        self.layer = nn.Linear(2 * len(names), num_classes, bias=False)
        nn.init.zeros_(self.layer.weight)

    def standardise(self, values: Tensor) -> None:
        """Take mean and standard deviation from the training set's values ``(B, C)``, NaN where one is not known.

        Raises:
            DataError: If a covariate has fewer than two values there.
        """
        for index, (name, column) in enumerate(zip(self.names, values.double().T, strict=True)):
            known = column[~column.isnan()]
            if len(known.unique()) < 2:
                found = f"{known[0]:g} alone" if len(known) else "none"
                rule, remedy = ("must have two values in the training set", "Omit it: it carries no information")
                raise DataError(f"covariates: {name}", rule, found=found, remedy=remedy)
            self.mean[index], self.std[index] = known.mean(), known.std(correction=0)

    def standard(self, values: Tensor) -> Tensor:
        """Values ``(B, C)`` as the layer takes them, ``(B, 2C)``: standardised, then 1 for each that is missing."""
        missing = values.isnan()
        return torch.cat([((values - self.mean) / self.std).masked_fill(missing, 0.0), missing.to(values.dtype)], dim=1)

    def forward(self, values: Tensor) -> Tensor:
        """Map values ``(B, C)``, NaN where one is not known, to what is added to the logits ``(B, K)``."""
        return self.layer(self.standard(values))


class Accompanied(Dataset):
    """Bags, or slices that are bags of one, with their covariates ``(M, C)``."""

    def __init__(self, bags: Any, values: Tensor) -> None:
        self.bags, self.values = bags, values

    def __len__(self) -> int:
        return len(self.values)

    def __getitems__(self, draws: list[int]) -> Batch:
        """Fetch a whole batch."""
        return self.bags.__getitems__(draws) | {"covariates": self.values[torch.tensor(draws) % len(self)]}


def spread(known: Any, sizes: Sequence[int]) -> Any:
    """Give each slice what is known of its bag, ``(B, ...)`` to ``(N, ...)``; None of what is None."""
    if known is None:
        return None
    # Told how many there are, a card need not be asked.
    counts = torch.tensor(sizes).to(known.device, non_blocking=True)
    return known.repeat_interleave(counts, dim=0, output_size=sum(sizes))


def accompanied(bags: Dataset, values: Tensor | None) -> Dataset:
    """Bags with their covariates, where there are any."""
    return bags if values is None else Accompanied(bags, values)


def check_covariates(names: object, columns: Sequence[str]) -> None:
    """Raise ConfigError if a cohort lacks a covariate, or `names` is no list of different names."""
    known = [*OF_HEADERS, *(name.removeprefix(COVARIATE) for name in columns if name.startswith(COVARIATE))]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ConfigError("covariates", "must be a list of different names", found=names, remedy="[] for none")
    for name in names:
        if name not in known:
            raise ConfigError("covariates", f"must be of {', '.join(known)}", found=name)


def values_of(table: pl.DataFrame, names: Sequence[str], sizes: NDArray[np.int64]) -> Tensor:
    """Covariates of bags, float32 ``(B, C)``: the mean of what is known of a bag's slices, NaN where nothing is.

    Args:
        table: The slices, one bag's after another's, columns as in a manifest. Of sex, F is 1, M is 0, and all else
            is not known.
        names: C of them.
        sizes: Slices of each bag, ``(B,)``.
    """
    found = np.full((len(sizes), len(names)), np.nan)
    starts = np.cumsum(sizes) - sizes
    for index, name in enumerate(names):
        column = table[name if name in OF_HEADERS else f"{COVARIATE}{name}"]
        if name == "sex":
            column = column.replace_strict({"F": 1.0, "M": 0.0}, default=None, return_dtype=pl.Float64)
        values = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
        known = np.isfinite(values)
        counts = np.add.reduceat(known.astype(np.int64), starts)
        sums = np.add.reduceat(np.where(known, values, 0.0), starts)
        np.divide(sums, counts, out=found[:, index], where=counts > 0)
    return torch.from_numpy(found.astype(np.float32))
