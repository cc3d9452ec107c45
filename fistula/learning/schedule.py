"""Learning rate schedules, stepped once a batch."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def cosine(optimizer: Optimizer, *, num_steps: int, warmup: float) -> LambdaLR:
    """Rise linearly over the first part of training, then fall to zero along half a cosine.

    Args:
        optimizer: Its rate is the highest one.
        num_steps: Batches in the whole training, at least 1.
        warmup: Part of them that rises, in [0, 1).

    Source:
        Loshchilov and Hutter 2017, SGDR, arXiv 1608.03983 (without restarts).
    """
    rise = round(warmup * num_steps)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, num_steps - rise)))

    return LambdaLR(optimizer, factor)


def constant(optimizer: Optimizer, *, num_steps: int) -> LambdaLR:
    """Keep the optimiser's rate for all `num_steps`."""
    return LambdaLR(optimizer, lambda step: 1.0)
