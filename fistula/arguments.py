"""The words after a command's name, as Hydra takes them."""

import difflib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from fistula.errors import ConfigError

# Hydra takes a key for a group wherever conf/ has a folder of that name: these commands mean a folder on disk.
RENAMED = {
    "ingest": {"labels": "labels.file"},
    "doctor": {"labels": "labels.file"},
    "weights": {"model": "models"},
    "report": {"study": "study_folder"},
    "status": {"study": "study_folder"},
}

# Commands whose first word says what to do: `fistula weights pull`.
WITH_ACTION = ("weights",)

# Keys that name a file or a folder. Its name may hold what Hydra takes only in quotes: = in that of a run, brackets,
# any letter outside ASCII.
PATHS = (
    "adjudicated",
    "archive",
    "asked",
    "cohort",
    "covariates_table",
    "hydra.run.dir",
    "hydra.sweep.dir",
    "json",
    "labels.file",
    "model.weights",
    "out",
    "patient",
    "pilot",
    "readers",
    "reuse",
    "run",
    "scores",
    "source",
    "study_folder",
    "to",
)
NAMES = "columns."  # of a table's columns, which hold what their author liked
PLAIN = re.compile(r"[A-Za-z0-9_/\\+.$%*@?|: -]*")
FOREIGN = re.compile(r"[^][{}(),:=$]*[^\x00-\x7f][^][{}(),:=$]*")  # a word outside ASCII
SWEPT = ("cohort", "model.weights")  # of these a comma makes a list
AS_TYPED = re.compile(r"(['\"]).*\1|\[.*\]", re.DOTALL)  # quotes, or a list, which is refused by its own line

# Hydra's own options that stand alone; the word after any other one belongs to it.
ALONE = ("-m", "--multirun", "-r", "--run", "--resolve")


def for_hydra(command: str, arguments: list[str], keys: Sequence[str]) -> list[str]:
    """Write a command's arguments as Hydra takes them.

    Args:
        command: One of fistula's.
        arguments: As they were typed.
        keys: That the command knows, as they are typed.

    Raises:
        ConfigError: If one is neither an option nor key=value.
    """
    arguments = _options_first(_spelled_out(command, arguments))
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if before.startswith("-") and before not in ALONE:
            continue
        key = argument.partition("=")[0].lstrip("-")
        typed_as_option = argument.startswith("-") and key in keys
        if typed_as_option or ("=" not in argument and not argument.startswith(("-", "~"))):
            remedy = f"For example {key}=VALUE" if key in keys else "A value that holds spaces needs quotes around it"
            raise ConfigError(argument or "an empty word", "must be written as key=value", remedy=remedy)
    return [_as_hydra_takes(argument, RENAMED.get(command, {})) for argument in arguments]


def suggest(word: str, words: Iterable[str]) -> str:
    """Which of `words` may have been meant by `word`."""
    words = list(words)
    near = difflib.get_close_matches(word, words, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(near)}?" if near else f"Choose from {', '.join(words)}"


def _spelled_out(command: str, arguments: list[str]) -> list[str]:
    """Write an action (`fistula weights pull`) as the key it sets, as Hydra wants it."""
    first = arguments[:1]
    if command not in WITH_ACTION or not first or "=" in first[0] or first[0].startswith("-"):
        return arguments
    return [f"action={first[0]}", *arguments[1:]]


def _options_first(arguments: list[str]) -> list[str]:
    """Put Hydra's own options before the overrides: those after one that stands between them Hydra would not know."""
    options: list[str] = []
    others: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        belongs = before.startswith("-") and before not in ALONE and "=" not in before and "=" not in argument
        (options if argument.startswith("-") or belongs else others).append(argument)
    return [*options, *others]


def _as_hydra_takes(argument: str, names: dict[str, str]) -> str:
    key, equals, value = argument.partition("=")
    key = names.get(key, key)
    is_list = key in SWEPT and PLAIN.fullmatch(value.replace(",", ""))
    if (key in PATHS and not is_list) or key.startswith(NAMES):
        return f"{key}{equals}{_quoted(value)}"
    if "'" not in value and '"' not in value:
        value = FOREIGN.sub(lambda word: f"'{word[0].strip()}'", value)
    return f"{key}{equals}{value}"


def _quoted(path: str) -> str:
    r"""A path in the quotes that Hydra needs, if it does; a tilde that the shell has left is the user's home.

    Example:
        >>> _quoted("data/MR 2024"), _quoted("data/MR (2024)"), _quoted("O'Brien")
        ('data/MR 2024', "'data/MR (2024)'", "'O\\'Brien'")
    """
    if AS_TYPED.fullmatch(path):
        return path
    if path.startswith(("~/", f"~{os.sep}")):
        path = str(Path(path).expanduser())
    if PLAIN.fullmatch(path):
        return path
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", path)
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"
