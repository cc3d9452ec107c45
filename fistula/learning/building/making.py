"""Build what a configuration names: every mistake in it is one line that says where."""

import re
import warnings
from collections.abc import Callable
from typing import Any

from hydra.utils import instantiate
from omegaconf import Container, DictConfig, ListConfig, OmegaConf
from pydantic import ValidationError

from fistula.errors import ConfigError, FistulaError

PLACE = re.compile(r"full_key: (\S+)")
OTHERWISE = ".*(are not valid for transform|automatically adjusted)"  # albumentations goes on, with other values


def make(node: DictConfig, **given: Any) -> Any:
    """Call what `_target_` of a group names, with the group's keys and what is `given`, as plain lists and dicts.

    Raises:
        FistulaError: Its own; or a ConfigError for whatever else it raises, or where albumentations would only warn
            that it takes other arguments than were given.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # advice to those who write in Python
        warnings.filterwarnings("error", message=OTHERWISE)
        root = node._get_root()
        return one_line(node._get_full_key(None), lambda: instantiate(node, _convert_="all", **given), root=root)


def one_line(where: str, attempt: Callable[[], Any], *, root: Container | None = None) -> Any:
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
        is_extra = isinstance(cause, ImportError) and "locating target" not in str(error)
        if isinstance(cause, FistulaError) or is_extra:  # what is not installed the command line knows how to say
            raise cause from error
        place = PLACE.search(str(error))
        found = " ".join(_said(cause).split("\nfull_key")[0].split())[:300] or type(cause).__name__
        raise ConfigError(_indexed(place[1], root) if place else where, "cannot be built", found=found) from error


def _indexed(key: str, root: Container | None) -> str:
    """The key with brackets around the places in lists, as it is written on the command line."""

    def bracket(found: re.Match[str]) -> str:
        within = root is not None and OmegaConf.select(root, key[: found.start()])
        return f"[{found[0]}]" if isinstance(within, ListConfig) else found[0]

    return re.sub(r"(?<=[^\W\d])\d+(?=\.|$)", bracket, key)


def _said(error: BaseException) -> str:
    """What an error says; of pydantic's, which checks albumentations' arguments, each argument and its fault."""
    if not isinstance(error, ValidationError):
        return str(error)
    faults = ((".".join(map(str, one["loc"])), one["msg"]) for one in error.errors(include_url=False))
    return "; ".join(f"{argument}: {message[:1].lower()}{message[1:]}" for argument, message in faults)
