"""Features of a frozen network: computed once for each distinct image, and kept in memory."""

import logging

import torch
from torch import Tensor

from fistula.learning.backbone import Backbone
from fistula.learning.data.datamodule import FistulaDataModule
from fistula.learning.modes import LearningMode, LinearProbe

log = logging.getLogger(__name__)


def cache_features(
    backbone: Backbone, data: FistulaDataModule, *, learning: LearningMode, device: torch.device
) -> None:
    """Give the data the features of train and val, where every epoch would compute the same ones again.

    That is so where the classifier alone trains and no augmentation draws new images.
    """
    if not isinstance(learning, LinearProbe):
        return
    if data.draws or data.mixed:
        log.info("augmentation draws new images each epoch: features cannot be kept")
        return
    if not _is_whole(backbone.to(device), data):
        log.info("this network does more with its features than classify them: they cannot be kept")
        return
    data.features = {part: part_features(backbone.to(device), data, part) for part in ("train", "val")}


@torch.no_grad()
def _is_whole(backbone: Backbone, data: FistulaDataModule) -> bool:
    """Whether features and classifier together are the network: some add an auxiliary classifier of their maps."""
    backbone.eval()
    image = next(iter(data.part_dataloader("val")))["image"].to(backbone.scale.device)
    with torch.autocast(image.device.type, enabled=False):  # half of the digits would make two passes differ
        kept, whole = backbone.classify(backbone.features(image)), backbone(image)
    backbone.train()
    return torch.allclose(kept, whole, rtol=1e-3, atol=1e-4)


@torch.no_grad()  # not inference_mode: the classifier's gradients need these tensors
def part_features(backbone: Backbone, data: FistulaDataModule, part: str) -> Tensor:
    """Features of a part's slices, unaugmented, ``(M, F)``, in the manifest's order, on the CPU."""
    backbone.eval()
    device = backbone.scale.device
    features = [backbone.features(batch["image"].to(device)).cpu() for batch in data.part_dataloader(part)]
    backbone.train()  # as it was; what is frozen goes back to eval when the first epoch begins
    return torch.cat(features)
