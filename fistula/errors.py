"""The errors a user meets: one line that says where, which rule, what was found, and what to do."""

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from functools import partial

PLAIN = re.compile(r"[\w./:=+@~%-]+" if os.name != "nt" else r"[\w./:=+@~\\-]+")
POINT = re.compile(r"(?<=[^\s.])\.$")  # of what a library has said; a list that goes on, or a path, ends otherwise
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def printable(text: object) -> str:
    """A text from a file for the terminal, which would obey the control characters in it."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(text))


class FistulaError(Exception):
    """Something the user can mend.

    Args:
        where: The file (with its line), folder or configuration key concerned.
        rule: What has to hold there.
        found: The value that breaks the rule; left out where the rule already says it.
        remedy: What to do, as an imperative.
    """

    exit_code = 2

    def __init__(self, where: object, rule: str, *, found: object = None, remedy: str = "") -> None:
        self.where, self.rule, self.found, self.remedy = str(where), rule, found, remedy
        message = f"{where}: {rule}"
        if found is not None:
            message += f", found {found}"
        if remedy:
            message = f"{POINT.sub('', message)}. {remedy}"
        super().__init__(" ".join(message.split()))

    def __reduce__(self) -> tuple:
        """Survive pickling between processes: the default would call the constructor with the message alone."""
        return partial(type(self), found=self.found, remedy=self.remedy), (self.where, self.rule)


class ConfigError(FistulaError):
    """A key of the configuration has a value that cannot work."""


def as_typed(word: str) -> str:
    """A word of a command, as bash, zsh, PowerShell and cmd all take it, wherever one way suits all of them.

    Example:
        >>> as_typed("out=data/cohort"), as_typed("classes=[a,b]")
        ('out=data/cohort', '"classes=[a,b]"')
    """
    if PLAIN.fullmatch(word):
        return word
    # Single quotes mean nothing to cmd; what double quotes leave a meaning on this machine is quoted as it is here.
    return shlex.quote(word) if re.search(r'["$`!]' if os.name == "nt" else r'["$`!\\]', word) else f'"{word}"'


def classes_as_typed(names: Iterable[str]) -> str:
    """The option that names classes in their order, each in quotes where it holds what parts a list.

    Example:
        >>> print(classes_as_typed(["normal", "abscess, drained"]))
        "classes=[normal,'abscess, drained']"
    """
    quoted = (f"'{name}'" if set(name) & set(",[]{}=") and "'" not in name else name for name in names)
    return as_typed(f"classes=[{','.join(quoted)}]")


def refuse_outside(where: str, value: float, low: float, high: float) -> None:
    """Raise ConfigError unless `low <= value <= high`."""
    if not low <= value <= high:
        raise ConfigError(where, f"must be at least {low} and at most {high}", found=value)


def refuse_other(where: str, value: object, known: Iterable[object]) -> None:
    """Raise ConfigError unless a value is one of those that are known."""
    words = [str(one) for one in known]
    if str(value) not in words:
        rule = f"one of {', '.join(words)}" if len(words) > 2 else " or ".join(words)
        raise ConfigError(where, f"must be {rule}", found="nothing" if value == "" else value)


def count(number: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> count(1, "patient"), count(0, "patient"), count(12, "slice")
        ('1 patient', '0 patients', '12 slices')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def first_of(names: Sequence[object], most: int = 3) -> str:
    """The first few names, and dots where there are more.

    Example:
        >>> first_of(["a", "b", "c"], 2), first_of([3, 5])
        ('a, b, ...', '3, 5')
    """
    return ", ".join([*map(str, names[:most]), *["..."] * (len(names) > most)])


def in_words(seconds: float) -> str:
    """How long something takes, as short as it can be said.

    Example:
        >>> in_words(42.4), in_words(200), in_words(7500)
        ('42 s', '3 min', '2 h 05 min')
    """
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


class DataError(FistulaError):
    """A file, a table of labels, or a cohort folder is not what it has to be."""


class WeightsError(FistulaError):
    """Pretrained weights are missing, damaged, or do not fit the network."""


class TrainingError(FistulaError):
    """Training reached a state from which it cannot go on."""


class OutOfMemoryError(TrainingError):
    """A graphics card has less memory than a run takes; has the name of PyTorch's, which it stands for."""


class ArchiveError(FistulaError):
    """An archive does not answer, refuses, or does not have what is asked for."""


class SideProductError(FistulaError):
    """What was asked for is there, but for something beside it that could not be made."""

    exit_code = 4


class LeakageError(FistulaError):
    """The split lets a patient, a slice or a copy of it stand on two sides."""

    exit_code = 3


def say_class(name: str) -> str:
    """A class as sentences and tables call it: one named by a number alone would be taken for a count.

    Example:
        >>> say_class("fistula"), say_class("1"), say_class("not 1")
        ('fistula', 'class 1', 'not class 1')
    """
    return re.sub(r"^(not )?([\d.]+)$", r"\1class \2", name)
