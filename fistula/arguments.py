"""The words after a command's name, as Hydra takes them."""

import difflib
import os
import re
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from fistula.errors import ConfigError, refuse_other

# Hydra takes a key for a group wherever conf/ has a folder of that name: these commands mean a folder on disk.
RENAMED = {
    "ingest": {"labels": "labels.file"},
    "doctor": {"labels": "labels.file"},
    "weights": {"model": "models"},
    "report": {"study": "study_folder"},
    "status": {"study": "study_folder"},
}

# Keys that name a file or a folder, or hold a text, in which may be what Hydra takes only in quotes: = in the name of a
# run, brackets, any letter outside ASCII.
PATHS = (
    "adjudicated", "aid", "archive", "archive.ca_file", "asked", "audit.accept", "cohort", "covariates_table",
    "finding.meaning", "finding.value", "hydra.run.dir", "hydra.sweep.dir", "json", "keep.description", "key",
    "labels.file", "labels.segment", "model.weights", "name", "only", "out", "patient", "pilot", "reader", "readers",
    "run", "run_name", "scores", "send", "source", "study_folder", "study_name", "to", "workspace",
)  # fmt: skip
NAMES = "columns."  # of a table's columns, which hold what their author liked
PLAIN = re.compile(r"[A-Za-z0-9_/\\+.$%*@?|: -]*")
FOREIGN = re.compile(r"[^][{}(),:=$]*[^\x00-\x7f][^][{}(),:=$]*")  # a word outside ASCII
SWEPT = ("cohort", "model.weights")  # of these a comma makes a list
# Keys whose lists hold names that somebody else has given: of files, classes, columns, segments.
LISTS = (*PATHS, "classes", "covariates", "labels", "labels.covariates", "labels.segment", "points")
WIDE = re.compile("([\\w.+~-]+)(\uff1d|=\uff3b)")  # the signs that an East Asian keyboard makes of = and [
KEY = re.compile(r"( *)(- )?([\w.]+):(?: +([^ #][^#]*?))?(?: +# (.*))?")  # a line of a configuration
NUMBER = re.compile(r"[-+]?[\d_.]+(e[-+]?\d+)?", re.IGNORECASE)  # as a folder may be called
LIST = re.compile(r"\[([^][{}]*)\]")
AS_TYPED = re.compile(r"(['\"]).*\1|\[.*\]", re.DOTALL)  # quotes, or a list, which is refused by its own line

# Hydra's own options that stand alone; the word after any other one belongs to it.
HYPHENS = "-\u2013\u2014"  # and the dashes that a word processor makes of them
SWEEPS = ("-m", "--multirun")
ALONE = (*SWEEPS, "-r", "--run", "--resolve", "-h", "--help", "--hydra-help", "--version", "-sc", "--shell-completion")
VALUED = ("--cfg", "-c", "--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p")


def refuse_unreadable(arguments: Iterable[str]) -> None:
    """Raise ConfigError if a word holds letters that Python was told not to read: a class would not be a table's."""
    if sys.getfilesystemencoding() == "ascii":
        for argument in arguments:
            if not argument.isascii():
                remedy = "Unset PYTHONUTF8, or set LC_ALL=C.UTF-8"
                raise ConfigError(argument, "has letters that cannot be read where only ASCII is set", remedy=remedy)


def for_hydra(command: str, arguments: list[str], keys: Sequence[str]) -> list[str]:
    """Write a command's arguments, as they were typed, as Hydra takes them; `keys` are those that it knows.

    Raises:
        ConfigError: If one is neither an option nor key=value.
    """
    if command == "weights" and arguments and not arguments[0].startswith("-") and "=" not in arguments[0]:
        arguments = [f"action={arguments[0]}", *arguments[1:]]  # as in `fistula weights pull`
    arguments = _options_first(arguments)
    for before, argument, after in zip(["", *arguments], arguments, [*arguments[1:], "="], strict=False):
        wide = WIDE.match(argument)
        if wide and (wide[2] == "\uff1d" or RENAMED.get(command, {}).get(wide[1], wide[1]) not in PATHS):
            remedy = f"Write it with half-width signs: {unicodedata.normalize('NFKC', argument)}"
            raise ConfigError(argument, "must be written as key=value, with plain = and [ ]", remedy=remedy)
        if before.startswith("-") and before not in ALONE:
            continue
        option, equals, _ = argument.partition("=")
        key = option.lstrip(HYPHENS)
        is_option = option != key
        if is_option and key not in keys:
            _refuse_option(argument, f"-{key}", command, after)
        elif is_option or not (equals or argument.startswith("~")):
            remedy = f"For example {key}=VALUE" if key in keys else "A value that holds spaces needs quotes around it"
            raise ConfigError(argument or "an empty word", "must be written as key=value", remedy=remedy)
        elif option.lstrip("+") == "hydra.mode":
            raise ConfigError(
                argument, "is said by -m", remedy="A sweep is fistula train -m ...; for one run leave it out"
            )
        elif argument.startswith("~") and option[1:] in keys:
            raise ConfigError(argument, f"takes out what `fistula {command}` needs", remedy="Set it to another value")
        elif argument.startswith("+") and option[1:] in keys:
            raise ConfigError(option, "is a key already", remedy=f"Leave out the +: {argument[1:]}")
    return [_as_hydra_takes(argument, RENAMED.get(command, {})) for argument in arguments]


def _refuse_option(argument: str, plain: str, command: str, after: str) -> None:
    """Raise ConfigError for what begins with a hyphen and is no option of Hydra's, or lacks its value."""
    option, equals, value = argument.partition("=")
    if option not in (*ALONE, *VALUED):
        raise ConfigError(
            option, f"is not an option of `fistula {command}`", remedy=suggest(plain.lower(), (*ALONE, *VALUED))
        )
    if option in SWEEPS and command != "train":
        raise ConfigError(option, "is only for `fistula train`", remedy="Leave it out")
    if option in ALONE and equals:
        raise ConfigError(argument, "takes no value", remedy=f"Write {option}")
    if option in VALUED and not equals and "=" in after:
        raise ConfigError(option, "needs a value", remedy=f"For example {option} VALUE")
    if option in ("--cfg", "-c"):
        refuse_other(option, value if equals else after, ("job", "hydra", "all"))


def suggest(word: str, words: Iterable[str]) -> str:
    """Which of `words` may have been meant by `word`."""
    words = list(words)
    near = difflib.get_close_matches(word, words, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(near)}?" if near else f"Choose from {', '.join(words)}"


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
    if key in LISTS and (listed := LIST.fullmatch(value)):
        names_in = [name.strip() for name in listed[1].split(",")]
        # Unless a comma stands inside of quotes.
        if all(AS_TYPED.fullmatch(name) or name[:1] not in ("'", '"') for name in names_in):
            return f"{key}{equals}[{','.join(map(_quoted, names_in))}]"
    if key in SWEPT and PLAIN.fullmatch(value.replace(",", "")):
        return f"{key}{equals}{','.join(map(_quoted, value.split(',')))}"
    if key in PATHS or key.startswith(NAMES):
        return f"{key}{equals}{_quoted(value)}"
    if "'" not in value and '"' not in value:
        value = FOREIGN.sub(lambda word: f"'{word[0].strip()}'", value)
    return f"{key}{equals}{value}"


def _quoted(path: str) -> str:
    r"""A path in the quotes that Hydra needs, if it does; a tilde that the shell has left is the user's home.

    Example:
        >>> _quoted("data/MR 2024"), _quoted("2024"), _quoted("O'Brien")
        ('data/MR 2024', "'2024'", "'O\\'Brien'")
    """
    if AS_TYPED.fullmatch(path):
        return path
    if path.startswith(("~/", f"~{os.sep}")):
        path = str(Path(path).expanduser())
    if PLAIN.fullmatch(path) and not NUMBER.fullmatch(path):
        return path
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", path)
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"


def with_comments(shown: str, path: Path) -> str:
    """A command's help, with what its configuration file says beside each key."""
    said: dict[tuple[str, str], str] = {}
    place = ("", "")
    for line in path.read_text(encoding="utf-8").splitlines():
        if found := KEY.fullmatch(line):
            space, is_group, key, value, comment = found.groups(default="")
            place = (place[0], key) if space and not is_group else (key, "")
            said.setdefault(place, f"default {value}; {comment}" if is_group and comment else comment)
        elif line.startswith("#   ") and said.get(place):
            said[place] += f" {line[1:].strip()}"
    head, options, body = shown.partition("options (key=value), with their defaults:\n")
    lines = body.splitlines()
    for index, line in enumerate(lines):
        if (found := KEY.fullmatch(line)) and found[1] in ("", "  "):
            place = (place[0], found[3]) if found[1] else (found[3], "")
            lines[index] += f" # {said[place]}" if said.get(place) else ""
    return head + options + "\n".join(lines)


def wrapped(shown: str, width: int) -> str:
    """A command's help for a terminal of `width` columns: what a line does not hold goes on below it, a comment as one.

    Example:
        >>> print(wrapped("  device: auto # a GPU if there is one; cpu, cuda:1", 32))
          device: auto # a GPU if there
              # is one; cpu, cuda:1
    """
    lines = []
    for line in shown.splitlines():
        indent = " " * (len(line) - len(line.lstrip()) + 4) + ("# " if " # " in line else "")
        folded = textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        lines += folded if len(line) > width else [line]
    return "\n".join(lines)
