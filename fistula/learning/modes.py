"""Learning modes: which parameters train, and how each is regularised."""

from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class AllLayers:
    """Every layer trains at the same rate.

    Attributes:
        pretrained: True is the paper's *transfer* (every layer starts from pretrained weights), False its
            *end-to-end* (random initialisation). The backbone obeys it.
    """

    pretrained: bool

    def parameter_groups(self, network: nn.Module) -> list[dict[str, Any]]:
        """Split the parameters into those that decay and those that must not: norms and biases, by their rank."""
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        return [
            {"params": [parameter for parameter in parameters if parameter.ndim > 1]},
            {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
        ]
