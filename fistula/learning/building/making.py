"""Build what a configuration names, and try it once before training: every mistake is one line that says where."""

import copy
import re
import warnings
from collections.abc import Callable
from contextlib import suppress
from difflib import get_close_matches
from functools import partial
from inspect import signature
from typing import Any, cast

import albumentations
import numpy as np
import torch
from hydra.utils import get_object, instantiate
from omegaconf import Container, DictConfig, ListConfig, OmegaConf
from pydantic import ValidationError
from torch import nn
from torch.optim import Optimizer

from fistula.errors import ConfigError, FistulaError

PLACE = re.compile(r"full_key: (\S+)")
DRAWS = 8
SHAPES = (4, 1, 3, 3), (4, 2), (4,)  # of a convolution's weights, a linear layer's, and of a bias
WITHOUT_EFFECT = ".*(not applicable to grayscale|already gray)"  # what albumentations would only warn of, at each image
OTHERWISE = ".*(are not valid for transform|automatically adjusted)"  # albumentations goes on, with other values


def make(node: DictConfig, **given: Any) -> Any:
    """Call what `_target_` of a group names, with the group's keys and what is `given`, as plain lists and dicts.

    Raises:
        FistulaError: Its own; or a ConfigError for whatever else it raises, or where albumentations would only warn
            that it takes other arguments than were given.
    """

    def made() -> Any:
        one = instantiate(node, _convert_="all", **given)
        if isinstance(one, partial):  # which says only when it is called that it does not take an argument
            with suppress(ValueError):  # a function in C tells nothing of its arguments
                signature(one.func).bind_partial(*one.args, **one.keywords)
        return one

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # advice to those who write in Python
        warnings.filterwarnings("error", message=OTHERWISE)
        root = node._get_root()
        return one_line(node._get_full_key(None), made, root=root)


def one_line(where: str, attempt: Callable[[], Any], *, root: Container | None = None, remedy: str = "") -> Any:
    """What an attempt gives; whatever it raises is the user's mistake in `where`, unless Hydra names another key.

    With its `root` the configuration says which places are in lists: Hydra writes them as a digit after the key.

    Raises:
        FistulaError: If it raises anything.
    """
    try:
        return attempt()
    except Exception as error:  # libraries raise of every kind
        cause: BaseException = error
        while not isinstance(cause, FistulaError):
            if cause.__cause__ is None:
                break
            cause = cause.__cause__
        is_extra = where == "logger" and isinstance(cause, ImportError) and "locating target" not in str(error)
        if isinstance(cause, FistulaError) or is_extra:  # which extra brings it the command line knows how to say
            raise cause from error
        place = PLACE.search(str(error))
        found = " ".join(_said(cause).split("\nfull_key")[0].split())[:300] or type(cause).__name__
        key = _indexed(place[1], root) if place else where
        if isinstance(cause, TypeError | ValidationError | UserWarning):
            remedy = remedy or _taken(key, root)
        elif "locating target" in str(error):
            remedy = _near(key, root)
        raise ConfigError(key, "cannot be built", found=found, remedy=remedy) from error


def _taken(key: str, root: Container | None) -> str:
    """The arguments of what a key's `_target_` names, as far as they can be told."""
    with suppress(Exception):  # a target may be anything
        target = OmegaConf.select(cast(Container, root), f"{key}._target_")
        return f"{target.rpartition('.')[2]} takes {', '.join(signature(get_object(target)).parameters)}"
    return ""


def _near(key: str, root: Container | None) -> str:
    """What of the module that a key's `_target_` names may have been meant; names change from version to version."""
    with suppress(Exception):
        module, _, name = OmegaConf.select(cast(Container, root), f"{key}._target_").rpartition(".")
        (meant,) = get_close_matches(name, dir(get_object(module)), n=1, cutoff=0.5)
        return f"Did you mean {module}.{meant}?"
    return ""


def _indexed(key: str, root: Container | None) -> str:
    """The key with brackets around the places in lists, as it is written on the command line."""

    def bracket(found: re.Match[str]) -> str:
        within = root is not None and OmegaConf.select(root, key[: found.start()])
        return f"[{found[0]}]" if isinstance(within, ListConfig) else found[0]

    return re.sub(r"(?<=[^\W\d])\d+(?=\.|$)", bracket, key)


def _said(error: BaseException) -> str:
    """What an error says; of pydantic's, which checks albumentations' arguments, each argument and its fault."""
    if not isinstance(error, ValidationError):
        return str(error).removeprefix("got ")
    faults = ((".".join(map(str, one["loc"])), one["msg"]) for one in error.errors(include_url=False))
    return "; ".join(f"{argument}: {message[:1].lower()}{message[1:]}" for argument, message in faults)


def try_pipeline(pipeline: Any, size: int) -> None:
    """Draw images of a pipeline, by its own chances and with every transform at work.

    Raises:
        ConfigError: If it is no pipeline, or changes the dtype, the shape or the range of an image: training would see
            other pixels than validation.
    """
    if not isinstance(pipeline, albumentations.Compose):
        raise ConfigError("augmentation", "must be a pipeline of albumentations", found=type(pipeline).__name__)
    image = np.random.default_rng(0).integers(0, 256, (size, size), dtype=np.uint8)
    certain = copy.deepcopy(pipeline)
    for transform in _all_of(certain):
        transform.p = 1.0
    for one in (certain, copy.deepcopy(pipeline)):
        one.set_random_seed(0)
        for _ in range(DRAWS if one.transforms else 0):
            with warnings.catch_warnings():
                warnings.filterwarnings("error", message=WITHOUT_EFFECT)
                drawn = one_line("augmentation", partial(one, image=image.copy()))["image"]
            if (drawn.dtype, drawn.shape) != (image.dtype, image.shape):
                rule = f"must keep dtype and shape of an image, uint8 {image.shape}"
                remedy = "Remove transforms that crop, pad or normalize: the network does that itself"
                raise ConfigError("augmentation", rule, found=f"{drawn.dtype} {drawn.shape}", remedy=remedy)


def try_training(classifier: Any, choose_threshold: Callable[..., Any], *, num_classes: int) -> None:
    """Compute one loss as a `FistulaClassifier` would, take a step, and choose one threshold.

    Raises:
        ConfigError: If the loss gives no number, or one of them cannot be called.
    """
    weight = nn.Parameter(torch.zeros(num_classes, 2))
    labels = torch.tensor([0, 1])
    value = one_line("loss", lambda: classifier.loss((torch.eye(2) @ weight.T), labels))
    if not (isinstance(value, torch.Tensor) and value.ndim == 0 and value.isfinite() and value.requires_grad):
        raise ConfigError("loss", "must give one finite number for a batch", found=value)
    one_line("loss", value.backward)
    made = try_optimizer(classifier.make_optimizer)
    remedy = "A schedule is called with the optimizer and num_steps, and takes a step after each batch"
    one_line("schedule", lambda: classifier.make_schedule(made, num_steps=10), remedy=remedy)
    if num_classes == 2:
        one_line("operating_point", lambda: choose_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])))


def try_optimizer(make_optimizer: Callable[[list], Optimizer]) -> Optimizer:
    """Take two steps of weights of several shapes as a training does: in groups, of plain gradients.

    Raises:
        ConfigError: If it cannot.
    """
    weights = [nn.Parameter(torch.ones(shape)) for shape in SHAPES]
    remedy = "It must take groups of weights of any shape, and gradients, as torch.optim.AdamW or timm.optim.Lamb"
    groups = [{"params": [weight], "rate": 1.0, "starts": 0.0} for weight in weights]
    made = one_line("optimizer", lambda: make_optimizer(groups), remedy=remedy)

    def closure() -> float:
        made.zero_grad()
        loss = torch.stack([weight.square().sum() for weight in weights]).sum()
        loss.backward()
        return loss.item()

    for _ in range(2):  # the first one may only begin
        one_line("optimizer", lambda: made.step(closure), remedy=remedy)
    return made


def _all_of(pipeline: Any) -> list[Any]:
    """A pipeline's transforms, those inside others included."""
    return [one for each in getattr(pipeline, "transforms", ()) for one in [each, *_all_of(each)]]
