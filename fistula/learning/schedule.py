"""Learning rate schedules, stepped once a batch."""

import math
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def cosine(optimizer: Optimizer, *, num_steps: int, warmup: float) -> LambdaLR:
    """Rise linearly over the first part of training, then fall to zero along half a cosine.

    A group of parameters that begins later rises from where it begins: its first steps are as small as the others'.

    Args:
        optimizer: Its rate is the highest one; ``starts`` of a group is the part of training after which it begins.
        num_steps: Batches in the whole training, at least 1.
        warmup: Part of them that rises, in [0, 1).

    Source:
        Loshchilov and Hutter 2017, SGDR, arXiv 1608.03983 (without restarts).
    """
    rise = round(warmup * num_steps)

    def factor(step: int, begin: int) -> float:
        fall = 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, num_steps - rise))) if step >= rise else 1.0
        return fall * min(1.0, max(0, step - begin + 1) / (rise + 1))

    begins = [round(group.get("starts", 0.0) * num_steps) for group in optimizer.param_groups]
    return LambdaLR(optimizer, [partial(factor, begin=begin) for begin in begins])


def constant(optimizer: Optimizer, *, num_steps: int) -> LambdaLR:
    """Keep the optimiser's rate for all `num_steps`."""
    return LambdaLR(optimizer, lambda step: 1.0)
