"""What runs are told of patients beside their images: covariates, from the headers of new images."""

import numpy as np
import polars as pl
from torch import Tensor

from fistula.errors import ConfigError
from fistula.learning.covariates import OF_HEADERS, values_of
from fistula.predict.model import LoadedRun


def refuse_unstated(run: LoadedRun) -> None:
    """Raise ConfigError if a run needs what no header states."""
    names = run.classifier.covariates.names if run.classifier.covariates else []
    if unstated := [name for name in names if name not in OF_HEADERS]:
        rule, remedy = "needs covariates that no header states", "Train one with covariates=[age,sex] or []"
        raise ConfigError(f"run={run.folder}", rule, found=", ".join(unstated), remedy=remedy)


def known_of_slices(run: LoadedRun, table: pl.DataFrame) -> Tensor | None:
    """Covariates of slices ``(N, C)``, where a run scores patients those of their patient; None where it has none."""
    if run.classifier.covariates is None:
        return None
    groups = np.arange(len(table)) if run.unit == "slice" else table["patient_key"].to_numpy()
    _, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(place, kind="stable")
    return values_of(table[order.tolist()], run.classifier.covariates.names, sizes)[place]


def say_unknown(run: LoadedRun, table: pl.DataFrame) -> list[str]:
    """For each covariate, of how many slices it is not known."""
    known = known_of_slices(run, table)
    if known is None or run.classifier.covariates is None:
        return []
    counts = known.isnan().sum(dim=0).tolist()
    named = zip(run.classifier.covariates.names, counts, strict=True)
    return [
        f"{name} is not known of {count} of {len(known)} slices, and judged as missing"
        for name, count in named
        if count
    ]
