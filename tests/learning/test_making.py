import inspect
from functools import partial

import pytest
import timm.optim
import torch

from fistula.errors import ConfigError
from fistula.learning.building.making import try_optimizer

REFUSED = {
    "LBFGS": "LBFGS doesn't support per-parameter options",
    "Muon": "Muon only supports 2D parameters",
    "SparseAdam": "SparseAdam does not support dense gradients",
    "Adahessian": "does not require grad",  # it differentiates twice
    "Lookahead": "unexpected keyword argument 'lr'",  # it wraps another one
}
OPTIMIZERS = {
    found
    for library in (torch.optim, timm.optim)
    for found in vars(library).values()
    if inspect.isclass(found) and issubclass(found, torch.optim.Optimizer) and found is not torch.optim.Optimizer
}


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS, key=str), ids=lambda one: one.__name__)
def test_an_optimizer_of_torch_or_timm_takes_a_step_or_is_refused_in_one_line(optimizer):
    said = REFUSED.get(optimizer.__name__)
    if optimizer is timm.optim.Muon:  # which gives other weights to another one
        said = None
    if said is None:
        assert isinstance(try_optimizer(partial(optimizer, lr=0.001)), optimizer)
        return
    with pytest.raises(ConfigError, match=rf"^optimizer: cannot be built, found .*{said}.*torch\.optim\.AdamW"):
        try_optimizer(partial(optimizer, lr=0.001))
