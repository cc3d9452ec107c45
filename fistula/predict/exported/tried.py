"""What an exported model is tried on, and what the run itself says of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fistula.errors import DataError
from fistula.learning.building.judging import judge, see
from fistula.learning.data.covariates import values_of
from fistula.predict.runs.model import LoadedRun
from fistula.predict.source import ORDER

SLICES = 256  # of the cohort, at most
PATIENTS = 12  # likewise, with all their slices

Score = Callable[..., NDArray[np.float32]]


@dataclass(frozen=True)
class Example:
    """What an exported model is tried on: slices of a run's cohort, or all those of one patient."""

    rows: NDArray[np.int64]  # of the cohort, ``(N,)``
    given: list[NDArray[Any]]  # the model's inputs, in the order of `Graph.takes`
    sizes: list[int]  # slices of each bag that they make, ``(B,)``


def examples(run: LoadedRun, *, has_bags: bool) -> list[Example]:
    """What an exported model is tried on: a few slices, or a few patients, the first with two slices if one has."""
    manifest, known = run.cohort.manifest, run.classifier.covariates
    names = known.names if known else []
    if not has_bags:
        rows = run.cohort.grid["row"].to_numpy()[_sample(len(run.cohort.grid), SLICES)]
        stated = [values_of(manifest[rows.tolist()], names, np.ones(len(rows), np.int64)).numpy()] if names else []
        return [Example(rows, [given_slices(run, rows), *stated], [1] * len(rows))]
    patients = run.cohort.grid.sort(ORDER, nulls_last=True).partition_by("patient_key", maintain_order=True)
    found = []
    for place in _sample(len(patients), PATIENTS):
        table = patients[place]
        rows = table["row"].to_numpy().astype(np.int64)
        stated = [values_of(table, names, np.array([len(rows)])).numpy()] if names else []
        positions = table["position_mm"].fill_null(0.0).to_numpy().astype(np.float32)
        found.append(Example(rows, [given_slices(run, rows), positions, *stated], [len(rows)]))
    # An exporter takes the length of the first one for any, unless it is 1.
    return sorted(found, key=lambda example: len(example.rows) == 1)


@torch.inference_mode()
def probabilities(run: LoadedRun, example: Example, takes: Sequence[str]) -> NDArray[np.float32]:
    """As the run itself scores: slices, or the one patient whose they are."""
    given = {name: torch.from_numpy(values) for name, values in zip(takes, example.given, strict=True)}
    known, positions = given.get("covariates"), given.get("positions", torch.zeros(len(example.rows)))
    seen, _ = see(run.classifier, run.images(example.rows), known)
    return judge(run.classifier, seen, example.sizes, positions, known)[0].numpy()


def given_slices(run: LoadedRun, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Slices of its cohort as the exported model takes them, ``(N, size, size)``; of C channels ``(N, C, ...)``."""
    images = np.asarray(run.pixels[run.channels[rows]])
    return images[:, 0] if images.shape[1] == 1 else images


def _sample(num_slices: int, most: int) -> NDArray[np.intp]:
    """Evenly spaced rows of a cohort."""
    if num_slices == 0:
        raise DataError("cohort", "has no slices to try the export on")
    return np.unique(np.linspace(0, num_slices - 1, min(most, num_slices)).astype(np.intp))
