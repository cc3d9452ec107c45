"""Learning modes: which parameters train in which epoch, at which rate, and how each is regularised."""

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from timm.models import group_parameters
from torch import nn

from fistula.errors import ConfigError


@dataclass(frozen=True)
class AllLayers:
    """Every layer trains from the first epoch on, at a rate that may decay towards the stem.

    Attributes:
        pretrained: True is the paper's *transfer* (every layer starts from pretrained weights), False its
            *end-to-end* (random initialisation). The backbone obeys it.
        layer_decay: Factor of the rate from one layer to the one below it, in timm's grouping; 1 is the same for all.

    Source:
        Decay by layer: Bao et al. 2021, BEiT, arXiv 2106.08254.
    """

    pretrained: bool
    layer_decay: float = 1.0

    def rates(self, network: nn.Module) -> dict[str, float]:
        """Factor of the optimiser's rate by parameter, where it is not 1."""
        if self.layer_decay == 1:
            return {}
        layer_of = group_parameters(network, network.group_matcher(coarse=False), reverse=True)  # type: ignore[operator]
        top = max(layer_of.values())
        return {name: self.layer_decay ** (top - layer) for name, layer in layer_of.items()}


@dataclass(frozen=True)
class LinearProbe:
    """The classifier alone trains; the network below it is frozen.

    Attributes:
        pretrained: Whether the frozen network has pretrained weights; anything else is a control.
    """

    pretrained: bool

    def trains(self, stage: int, *, num_stages: int, epoch: int) -> bool:
        """Whether a stage (0 is the stem, ``num_stages - 1`` the classifier) trains: the last one does, always."""
        return stage == num_stages - 1


@dataclass(frozen=True)
class FromTheTop:
    """The classifier trains first; the stages below it follow from the top, evenly, until all train.

    Attributes:
        pretrained: Whether the network has pretrained weights.
        epochs: Of the whole training.
        alone: Part of them in which the classifier trains alone, in [0, 1).
        all_by: Part of them after which every stage trains, in [alone, 1); `alone` itself thaws all at once.

    Raises:
        ConfigError: If a part is out of its range.

    Source:
        Howard and Ruder 2018, ULMFiT, arXiv 1801.06146 (gradual unfreezing).
    """

    pretrained: bool
    epochs: int
    alone: float
    all_by: float

    def __post_init__(self) -> None:
        if not 0 <= self.alone <= self.all_by < 1:
            raise ConfigError(
                "learning",
                "must have 0 <= alone <= all_by < 1",
                found=f"alone={self.alone}, all_by={self.all_by}",
                remedy="For example learning.alone=0.1",
            )

    def trains(self, stage: int, *, num_stages: int, epoch: int) -> bool:
        """Whether a stage (0 is the stem, ``num_stages - 1`` the classifier) trains in an epoch."""
        below = num_stages - 1 - stage  # 0 is the classifier, 1 the stage under it
        if below == 0:
            return True
        share = 0.0 if num_stages == 2 else (below - 1) / (num_stages - 2)
        thaws_at = (self.alone + share * (self.all_by - self.alone)) * self.epochs
        return epoch >= thaws_at - 1e-9  # 0.1 + 0.2 is more than 0.3


LearningMode = AllLayers | LinearProbe | FromTheTop


def stages(network: nn.Module) -> list[list[str]]:
    """Names of a timm network's parameters by stage, from the stem to the classifier, which is alone in the last."""
    classifier = {id(parameter) for parameter in network.get_classifier().parameters()}  # type: ignore[operator]
    by_stage = defaultdict(list)
    stage_of = group_parameters(network, network.group_matcher(coarse=True), reverse=True)  # type: ignore[operator]
    # The last group has what follows the blocks: the classifier, and where it is there, the norm before it.
    for name, parameter in network.named_parameters():
        by_stage[math.inf if id(parameter) in classifier else stage_of[name]].append(name)
    return [by_stage[stage] for stage in sorted(by_stage)]


def parameter_groups(mode: LearningMode, network: nn.Module) -> list[dict[str, Any]]:
    """Split the parameters that ever train by their rate, and into those that decay and those that must not.

    Norms and biases do not decay, known by their rank, nor what timm says must not (position embeddings).

    Returns:
        Groups for an optimiser; ``rate`` is the factor of its rate, ``weight_decay`` is given where it is 0.
    """
    rates = mode.rates(network) if isinstance(mode, AllLayers) else {}
    exempt = network.no_weight_decay() if hasattr(network, "no_weight_decay") else set()  # type: ignore[operator]
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and name not in exempt
            groups.setdefault((rates.get(name, 1.0), decays), []).append(parameter)
    return [
        {"params": params, "rate": rate} | ({} if decays else {"weight_decay": 0.0})
        for (rate, decays), params in sorted(groups.items(), key=lambda item: (-item[0][0], not item[0][1]))
    ]


def freeze(mode: LearningMode, network: nn.Module, *, epoch: int) -> None:
    """Let the stages train that the mode wants in this epoch, and hold the others: weights and batch norms alike."""
    if isinstance(mode, AllLayers):
        return
    by_stage = stages(network)
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
