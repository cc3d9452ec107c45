"""What tests of weights ask for, in one call."""

import timm
import torch

from fistula.learning.weights.finding import find_weights


def weights_of(name, **options):
    """The weights that are found for a network of timm."""
    with torch.device("meta"):
        network = timm.create_model(name)
    return find_weights(name, network, **({"download": False} | options))
