"""Learning modes: which parameters train in which epoch, at which rate, and how each is regularised."""

import math
from dataclasses import dataclass
from typing import Any

from timm.optim import param_groups_layer_decay
from torch import nn

from fistula.errors import ConfigError
from fistula.learning.backbone import Backbone
from fistula.learning.building.timm_network import stages_of


@dataclass(frozen=True)
class AllLayers:
    """Every layer trains from the first epoch on, at a rate that may decay towards the stem."""

    # True is the paper's *transfer* (every layer starts from pretrained weights), False its *end-to-end* (random
    # initialization). The backbone obeys it.
    pretrained: bool
    # Factor of the rate from one layer to the one below it, in timm's grouping; 1 is the same for all.
    layer_decay: float = 1.0


@dataclass(frozen=True)
class LinearProbe:
    """The classifier alone trains; the network below it is frozen."""

    pretrained: bool  # whether the frozen network has pretrained weights; anything else is a control

    def trains(self, stage: int, *, num_stages: int, epoch: int) -> bool:
        """Whether a stage (0 is the stem, ``num_stages - 1`` the classifier) trains: the last one does, always."""
        return stage == num_stages - 1


@dataclass(frozen=True)
class FromTheTop:
    """The classifier trains first; the stages below it follow from the top, evenly, until all train.

    Raises:
        ConfigError: If a part is out of its range.

    Source:
        Howard and Ruder 2018, ULMFiT, arXiv 1801.06146 (gradual unfreezing).
    """

    pretrained: bool  # whether the network has pretrained weights
    epochs: int  # of the whole training
    alone: float  # part of them in which the classifier trains alone, in [0, 1)
    all_by: float  # part of them after which every stage trains, in [alone, 1); `alone` itself thaws all at once

    def __post_init__(self) -> None:
        if not 0 <= self.alone <= self.all_by < 1:
            rule, found = "must have 0 <= alone <= all_by < 1", f"alone={self.alone}, all_by={self.all_by}"
            raise ConfigError("learning", rule, found=found, remedy="For example learning.alone=0.1")

    def thaws_at(self, stage: int, *, num_stages: int) -> int:
        """The first epoch in which a stage trains; 0 is the stem, ``num_stages - 1`` the classifier."""
        below = num_stages - 1 - stage  # 0 is the classifier, 1 the stage under it
        if below == 0:
            return 0
        share = 0.0 if num_stages == 2 else (below - 1) / (num_stages - 2)
        thaws_at = (self.alone + share * (self.all_by - self.alone)) * self.epochs
        return math.ceil(thaws_at - 1e-9)  # 0.1 + 0.2 is more than 0.3

    def trains(self, stage: int, *, num_stages: int, epoch: int) -> bool:
        """Whether a stage trains in an epoch."""
        return epoch >= self.thaws_at(stage, num_stages=num_stages)


LearningMode = AllLayers | LinearProbe | FromTheTop


def parameter_groups(mode: LearningMode, backbone: Backbone) -> list[dict[str, Any]]:
    """Split the parameters by their rate, by when they begin to train, and by whether they decay.

    Returns:
        Groups for an optimiser; ``rate`` is the factor of its rate, ``starts`` the part of the training after which
        the group begins, from which on its rate rises; ``weight_decay`` is given where it is 0.

    Source:
        Decay of the rate by layer: Bao et al. 2021, BEiT, arXiv 2106.08254.
    """
    network, starts = backbone.network, dict[int, float]()
    if isinstance(mode, FromTheTop):
        by_stage, parameters = stages_of(network, backbone.heads), dict(network.named_parameters())
        for stage, names in enumerate(by_stage):
            thaws_at = mode.thaws_at(stage, num_stages=len(by_stage))
            starts |= {id(parameters[name]): thaws_at / mode.epochs for name in names}
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    # Norms and biases do not decay, known by their rank, nor what timm says must not (position embeddings).
    exempt = network.no_weight_decay() if hasattr(network, "no_weight_decay") else ()
    decay = mode.layer_decay if isinstance(mode, AllLayers) else 1.0
    for group in param_groups_layer_decay(network, weight_decay=1.0, no_weight_decay_list=exempt, layer_decay=decay):
        for parameter in group["params"]:
            key = group["lr_scale"], starts.get(id(parameter), 0.0), group["weight_decay"] > 0
            groups.setdefault(key, []).append(parameter)
    ordered = sorted(groups.items(), key=lambda one: (-one[0][0], one[0][1], not one[0][2]))
    return [
        {"params": params, "rate": rate, "starts": start} | ({} if decays else {"weight_decay": 0.0})
        for (rate, start, decays), params in ordered
    ]


def freeze(mode: LearningMode, backbone: Backbone, *, epoch: int) -> None:
    """Let the stages train that the mode wants in this epoch, and hold the others: weights and batch norms alike."""
    if isinstance(mode, AllLayers):
        return
    network, by_stage = backbone.network, stages_of(backbone.network, backbone.heads)
    parameters = dict(network.named_parameters())
    for stage, names in enumerate(by_stage):
        trains = mode.trains(stage, num_stages=len(by_stage), epoch=epoch)
        for name in names:
            parameters[name].requires_grad_(trains)
            if not trains:
                parameters[name].grad = None  # else the optimiser would go on with its last one
    network.train()
    for module in network.modules():
        own = list(module.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()  # a batch norm that trains would follow the cohort with its statistics
