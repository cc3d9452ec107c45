"""How far a slice is, in a network's own features, from those that the network learned from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from fistula.learning.backbone import Backbone
from fistula.predict.runs.model import LoadedRun

SAMPLE = 256  # slices of the cohort on each side, which bounds the cost
NEIGHBOURS = 5
BATCH = 64
LIMIT = 0.99  # share of the slices that the run did not learn from which are within reach


@dataclass(frozen=True)
class Neighbourhood:
    """Features of slices that a run learned from."""

    features: Tensor  # of length 1, ``(M, F)``
    reach: float  # distance to the fifth neighbour that 99 % of the slices of its own val and test do not pass

    def are_far(self, found: Tensor) -> NDArray[np.bool_]:
        """Whether each slice with features ``(N, F)`` is out of reach."""
        return (distances(self.features, found) > self.reach).numpy()


def neighbourhood(run: LoadedRun) -> Neighbourhood:
    """Features of a sample of a run's training slices, and the reach by a sample of its val and test slices.

    Source:
        Sun et al. (2022), Out-of-distribution detection with deep nearest neighbors, ICML.
    """
    learned, labelled = run.learned["row"].to_numpy(), run.cohort.labelled["row"].to_numpy()
    random = np.random.default_rng(0)
    sides = learned, np.setdiff1d(labelled, learned)
    known, others = (np.sort(random.permutation(side)[:SAMPLE]) for side in sides)
    # A split may leave one side all but empty: then the other one judges itself.
    known = known if len(known) > NEIGHBOURS else others
    near = features(run, known)
    reach = torch.quantile(distances(near, features(run, others)), LIMIT)
    return Neighbourhood(near, float(reach))


@torch.inference_mode()
def features(run: LoadedRun, rows: NDArray[np.intp]) -> Tensor:
    """Features of slices of its cohort, ``(N, F)``."""
    backbone = run.classifier.backbone
    with backbone.noting_features() as noted:
        for start in range(0, len(rows), BATCH):
            run.classifier(run.images(rows[start : start + BATCH]).to(run.classifier.device))
    return joined(backbone, noted)


def joined(backbone: Backbone, noted: Sequence[Tensor]) -> Tensor:
    """What a network has noted of all batches, scaled to length 1, ``(N, F)``: one sequence or head after another."""
    parts = backbone.num_late or len(backbone.heads)
    batches = [torch.cat(list(noted[start : start + parts]), dim=1) for start in range(0, len(noted), parts)]
    return normalize(torch.cat(batches).float().cpu())


def distances(known: Tensor, new: Tensor) -> Tensor:
    """Distance of each new feature vector to its fifth neighbour among the known ones, itself not counted."""
    found = torch.cdist(new, known)
    found[found < 1e-6] = torch.inf  # the slice itself
    nearest = found.topk(min(NEIGHBOURS, len(known)), largest=False).values
    return nearest[:, -1].nan_to_num(posinf=0.0)
