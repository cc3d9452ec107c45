"""Build what a configuration names: every mistake in it is one line that says where."""

import re
import warnings
from collections.abc import Callable
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from fistula.errors import ConfigError, FistulaError

PLACE = re.compile(r"full_key: (\S+)")


def make(node: DictConfig, **given: Any) -> Any:
    """Call what `_target_` of a group names, with the group's keys and what is `given`, as plain lists and dicts.

    Raises:
        FistulaError: Its own; or a ConfigError for whatever else it raises, or where albumentations would only warn of
            an argument that it does not know.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*are not valid for transform.*")
        return one_line(node._get_full_key(None), lambda: instantiate(node, _convert_="all", **given))


def one_line(where: str, attempt: Callable[[], Any]) -> Any:
    """What an attempt gives; whatever it raises is the user's mistake in `where`.

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
        found = " ".join(str(cause).split("\nfull_key")[0].split())[:300] or type(cause).__name__
        raise ConfigError(place[1] if place else where, "cannot be built", found=found) from error
